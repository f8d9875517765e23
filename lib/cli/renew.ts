import { AgentError, parseImageReference } from "../model/mod.ts";
import { requireApi } from "./api_client.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { type Flags, loadClientConfig } from "../config/mod.ts";
import { alignColumns, printable } from "./table.ts";

/** Options of `renew`. */
export interface RenewOptions {
  readonly ref?: string;
  readonly all: boolean;
  readonly output: string;
}

interface Renewed {
  readonly images: readonly {
    readonly image: string;
    readonly endpoint?: string;
    readonly result: "changed" | "same" | "none" | "failed";
    readonly provider?: string;
    readonly detail?: string;
  }[];
}

const MEANINGS = {
  changed: "another credential",
  same: "the one that it had",
  none: "no source has one",
  failed: "failed",
} as const;

/**
 * `renew REF|--all`: the running agent asks the sources past caches and backoffs. Exit code 0 when
 * every image got an answer, 1 when one did not, or when no agent runs.
 *
 * @throws {AgentError} `usage` without exactly one of both; as `requireApi` does.
 */
export async function renew(
  context: Context,
  flags: Flags,
  options: RenewOptions,
): Promise<number> {
  const { ref, all, output } = options;
  if ((ref === undefined) === !all) {
    throw new AgentError("usage", "renew: name one image, or say --all");
  }
  const config = await loadClientConfig(context, flags);
  const { images } = await requireApi<Renewed>(config, {
    method: "POST",
    path: "/v1/renew",
    body: ref === undefined ? { all: true } : { ref: parseImageReference(ref).text },
  });
  const rows = images.map(({ image, endpoint, result, provider = "", detail = "" }) => [
    endpoint === undefined ? image : `${image} from ${endpoint}`,
    provider,
    MEANINGS[result],
    printable(detail),
  ]);
  context.host.out(
    output === "json"
      ? `${JSON.stringify({ images }, null, 2)}\n`
      : rows.length === 0
      ? "no image is mounted on this node: there is nothing to renew\n"
      : alignColumns([["IMAGE", "PROVIDER", "RESULT", ""], ...rows]),
  );
  return images.some(({ result }) => result === "failed") ? EXIT.failed : EXIT.ok;
}
