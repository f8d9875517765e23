import { join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { type ConfigProblem, formatProblem, messageOf } from "../model/mod.ts";
import { parseDockerConfig, readProviderConfig } from "../resolve/mod.ts";
import { dockerConfigPath } from "./chain.ts";
import { type CheckFindings, missing } from "./check_findings.ts";
import { checkHost } from "./check_host.ts";
import { checkImage } from "./check_image.ts";
import { checkNode } from "./check_node.ts";
import { type Context, EXIT, type Flags, loadConfig } from "./context.ts";
import { printable } from "./table.ts";

/** Options of `check`. */
export interface CheckOptions {
  /** Images to try every source for. */
  readonly refs: readonly string[];
}

/**
 * `check`: reads everything that `run` would, looks at the node and the host, tries every source
 * for the images that are named, and says what is wrong. Exit code 0 or 2; a snapshotter or a
 * docker configuration that is not there yet is no problem.
 */
export async function check(
  context: Context,
  flags: Flags,
  { refs }: CheckOptions = { refs: [] },
): Promise<number> {
  const { host } = context;
  const config = await loadConfig(context, flags);
  const findings: CheckFindings = { problems: [], warnings: [...config.warnings], fine: [] };
  await checkDocker(context, config, findings);
  await checkKubelet(context, config, findings);
  await checkHost(context, config, findings);
  await checkNode(context, config, findings);
  for (const ref of refs) await checkImage(context, config, ref, findings);
  for (const text of findings.fine) host.out(`fine: ${printable(text)}\n`);
  for (const warning of findings.warnings) host.out(`warning: ${said(warning)}\n`);
  for (const problem of findings.problems) host.err(`${said(problem)}\n`);
  const files = config.files.length === 0 ? "defaults only" : config.files.join(", ");
  if (findings.problems.length > 0) return EXIT.badConfig;
  host.out(`ok: ${files} (configuration ${config.hash.slice(0, 12)})\n`);
  return EXIT.ok;
}

function said(problem: ConfigProblem): string {
  return printable(formatProblem(problem));
}

async function checkDocker(context: Context, config: AgentConfig, findings: CheckFindings) {
  const file = dockerConfigPath(context, config);
  if (!config.providers.docker.enabled || file === undefined) return;
  try {
    const text = await context.files.readText(file);
    if (text !== undefined && text.trim() !== "") parseDockerConfig(text);
    const named = config.providers.docker.configPath !== undefined;
    if (text === undefined && named) {
      findings.warnings.push(missing(file, "write it with `docker login`, or mend its path"));
    }
  } catch (error) {
    findings.problems.push({ file, place: "", problem: messageOf(error), mend: "mend the file" });
  }
}

async function checkKubelet({ files }: Context, config: AgentConfig, findings: CheckFindings) {
  const { enabled, configPath: file, binDir } = config.providers.kubelet;
  if (!enabled) return;
  let text: string | undefined;
  try {
    text = await files.readText(file);
  } catch (error) {
    const mend = "make it readable for the agent";
    findings.problems.push({ file, place: "", problem: messageOf(error), mend });
    return;
  }
  if (text === undefined) {
    findings.problems.push(missing(file, "write it, or mend providers.kubelet.config"));
    return;
  }
  const { plugins, problems, warnings } = readProviderConfig(text, file);
  findings.problems.push(...problems);
  findings.warnings.push(...warnings);
  for (const { name } of plugins) {
    const path = join(binDir, name);
    const stat = await files.stat(path).catch(() => undefined);
    if (stat === undefined) findings.problems.push(missing(path, "install the plugin there"));
    else if (stat.kind !== "file" || (stat.mode & 0o111) === 0) {
      const mend = `chmod +x ${path}`;
      findings.problems.push({ file: path, place: "", problem: "it cannot be executed", mend });
    }
  }
}
