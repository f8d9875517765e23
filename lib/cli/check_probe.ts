import type { AgentConfig } from "../config/mod.ts";
import { createRegistryHttp } from "../platform/mod.ts";
import {
  type Candidate,
  credentialFingerprint,
  formatDuration,
  parseImageReference,
  type ProbeVerdict,
  type ProviderName,
} from "../model/mod.ts";
import { defaultProbeTarget, RegistryProbe } from "../verification/mod.ts";
import { profileOfHost } from "../model/mod.ts";
import { openChain } from "../agent/mod.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { alignColumns, printable } from "./table.ts";

/** A credential to ask about; without one it is asked whether the image is public. */
interface RenewalRequest {
  readonly provider: ProviderName | "none";
  readonly candidate?: Candidate;
}

/** What each verdict means for whoever runs the agent. */
const MEANINGS: Readonly<Record<ProbeVerdict["kind"], string>> = {
  "accepted": "the registry serves the image for this credential",
  "anonymous": "the registry serves the image to anyone",
  "refused": "the registry does not take this credential: it is wrong, or has expired",
  "forbidden": "the registry knows this credential and does not let it pull this repository",
  "not-found": "the registry takes this credential and has no such image",
  "unreachable": "the registry could not be asked",
  "throttled": "the registry wants to be asked later",
  "unknown": "nothing follows from the registry's answer",
};

/**
 * `check --probe REF`: asks the registry of an image about every credential that the providers have
 * for it, and says in words what it answered. Exit code 1 when it would serve the image for none.
 */
export async function checkProbe(
  context: Context,
  config: AgentConfig,
  ref: string,
): Promise<number> {
  const { host, clock } = context;
  const image = parseImageReference(ref);
  const target = defaultProbeTarget(image);
  const questions: RenewalRequest[] = [{ provider: "none" }];
  const chain = await openChain(context, config);
  try {
    const { attempts } = await chain.chain.resolve({ image, labels: {} }, { all: true });
    questions.push(
      ...attempts.flatMap(({ provider, outcome }) =>
        outcome.kind === "found"
          ? outcome.candidates.map((candidate) => ({ provider, candidate }))
          : []
      ),
    );
  } finally {
    await chain[Symbol.asyncDispose]();
  }
  const http = createRegistryHttp();
  const rows: string[][] = [];
  let served = false;
  try {
    const probe = new RegistryProbe({ http, clock });
    const asked = new Map<string, ProbeVerdict>();
    for (const { provider, candidate } of questions) {
      const key = candidate === undefined ? "" : credentialFingerprint(candidate.credential);
      const verdict = asked.get(key) ?? await probe.probe(target, candidate?.credential);
      asked.set(key, verdict);
      served ||= verdict.kind === "accepted" || verdict.kind === "anonymous";
      const whose = printable(candidate?.origin ?? "without a credential");
      const isPrivate = candidate === undefined && verdict.kind === "refused";
      const meaning = isPrivate ? "the image is not public" : MEANINGS[verdict.kind];
      rows.push([provider, verdict.kind, whose, wordsOf(meaning, verdict, clock.wallMs())]);
    }
  } finally {
    http[Symbol.dispose]();
  }
  const profile = profileOfHost(target.host);
  host.out(`\nimage     ${image.text}\nasked     ${target.scheme}://${target.host}\n`);
  if (profile !== undefined) host.out(`kind      ${profile.name}: ${profile.lifetime}\n`);
  host.out(`\n${alignColumns(rows)}`);
  return served ? EXIT.ok : EXIT.failed;
}

function wordsOf(meaning: string, verdict: ProbeVerdict, nowMs: number): string {
  const later = verdict.kind === "throttled"
    ? `, in ${formatDuration(Math.max(0, verdict.retryAtMs - nowMs))}`
    : "";
  return printable(`${meaning}${later} (${verdict.detail})`);
}
