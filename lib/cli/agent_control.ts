import type { ApiRenewed } from "../api/mod.ts";
import { loadClientConfig } from "../config/mod.ts";
import { AgentError, alignColumns, EXIT, parseImageReference, printable } from "../model/mod.ts";
import { requireApi } from "./agent_client.ts";
import { type CommandCall, type OutputFormat, printJson } from "./options.ts";

const RESULTS: Readonly<Record<ApiRenewed["result"], string>> = {
  changed: "changed",
  same: "unchanged",
  none: "no credential",
  failed: "failed",
};

/**
 * `renew REF|--all`: has the running agent query the providers, bypassing caches and backoffs. Exit
 * code 1 when that failed for an image, or when no agent runs.
 *
 * @throws {AgentError} `usage` without exactly one of `ref` and `all`; as `requireApi` does.
 */
export async function renew(
  { context, flags, args: [ref], options: { all = false, output } }: CommandCall<
    { readonly all?: boolean; readonly output: OutputFormat }
  >,
): Promise<number> {
  if ((ref === undefined) === !all) {
    throw new AgentError("usage", "renew: give either an image or --all");
  }
  const config = await loadClientConfig(context, flags);
  const { images } = await requireApi<{ readonly images: readonly ApiRenewed[] }>(config, {
    method: "POST",
    path: "/v1/renew",
    body: ref === undefined ? { all: true } : { ref: parseImageReference(ref).text },
  });
  const rows = images.map(({ image, endpoint, result, provider = "", detail = "" }) => [
    endpoint === undefined ? image : `${image} from ${endpoint}`,
    provider,
    RESULTS[result],
    printable(detail),
  ]);
  if (output === "json") printJson(context, { images });
  else {
    context.host.out(
      rows.length === 0
        ? "no image is mounted on this node: nothing to renew\n"
        : alignColumns([["IMAGE", "PROVIDER", "RESULT", ""], ...rows]),
    );
  }
  return images.some(({ result }) => result === "failed") ? EXIT.failed : EXIT.ok;
}

/**
 * `log-level get|set`: prints or changes the log level of the running agent, until it is reloaded or
 * restarted.
 *
 * @throws {AgentError} `usage` without a level to set; as `requireApi` does.
 */
export async function logLevel(
  { context, flags, args: [action, level], options: { output } }: CommandCall<
    { readonly output: OutputFormat }
  >,
): Promise<number> {
  if (action === "set" && level === undefined) {
    throw new AgentError("usage", "log-level set: the level is missing");
  }
  const config = await loadClientConfig(context, flags);
  const response = await requireApi<{ readonly level: string }>(config, {
    method: action === "get" ? "GET" : "PUT",
    path: "/v1/log-level",
    ...(action === "set" && { body: { level } }),
  });
  if (output === "json") printJson(context, { level: response.level });
  else context.host.out(`${response.level}\n`);
  return EXIT.ok;
}
