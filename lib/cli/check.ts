import { type CheckFindings, probeImage, runChecks } from "../agent/mod.ts";
import { type Flags, loadConfig } from "../config/mod.ts";
import { alignColumns, EXIT, formatProblem } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { queryAgent } from "./agent_client.ts";
import { printable } from "./terminal_text.ts";

/** Options of `check`. */
export interface CheckOptions {
  /** Images to query every provider for. */
  readonly refs: readonly string[];
  /** An image whose registry is probed with each credential for it. */
  readonly probe?: string;
}

/**
 * `check`: prints what is wrong with the configuration, the host and the node. Exit code 0, or 2
 * when a problem keeps the agent from working; with `probe`, 1 when the registry serves the image
 * for no credential.
 */
export async function check(
  context: Context,
  flags: Flags,
  { refs, probe }: CheckOptions,
): Promise<number> {
  const { host } = context;
  const config = await loadConfig(context, flags);
  const reply = await queryAgent(context, config).catch(() => undefined);
  // Another program at the configured address may answer with JSON of its own.
  const running = Array.isArray(reply?.health.checks) ? reply : undefined;
  const findings = await runChecks(context, config, { refs, running });
  printFindings(context, findings);
  const isUsable = findings.problems.length === 0;
  const files = config.files.length === 0 ? "defaults only" : config.files.join(", ");
  if (isUsable) host.out(`ok: ${files} (configuration ${config.hash.slice(0, 12)})\n`);
  if (probe === undefined) return isUsable ? EXIT.ok : EXIT.badConfig;
  const { image, url, profile, credentials, isServed } = await probeImage(context, config, probe);
  host.out(`\nimage     ${image}\nregistry  ${url}\n`);
  if (profile !== undefined) host.out(`kind      ${profile}\n`);
  const rows = credentials.map(({ provider, verdict, origin, meaning }) => [
    provider,
    verdict.kind,
    printable(origin),
    printable(`${meaning} (${verdict.detail})`),
  ]);
  host.out(`\n${alignColumns(rows)}`);
  if (!isUsable) return EXIT.badConfig;
  return isServed ? EXIT.ok : EXIT.failed;
}

function printFindings({ host }: Context, { passed, warnings, problems }: CheckFindings): void {
  for (const text of passed) host.out(`ok: ${printable(text)}\n`);
  for (const warning of warnings) host.out(`warning: ${printable(formatProblem(warning))}\n`);
  for (const problem of problems) host.err(`error: ${printable(formatProblem(problem))}\n`);
}
