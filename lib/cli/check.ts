import { join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { type ConfigProblem, formatProblem, messageOf } from "../model/mod.ts";
import { openProviderConfig, parseDockerConfig } from "../resolve/mod.ts";
import { dockerConfigPath } from "./chain.ts";
import { type Context, EXIT, type Flags, loadConfig } from "./context.ts";

/** Problems stop `run` from doing its job; warnings are worth a look. */
interface Findings {
  readonly problems: ConfigProblem[];
  readonly warnings: ConfigProblem[];
}

/**
 * `check`: reads everything that `run` would, and says what is wrong with it. Exit code 0 or 2; a
 * snapshotter or a docker configuration that is not there yet is no problem.
 */
export async function check(context: Context, flags: Flags): Promise<number> {
  const { host } = context;
  const config = await loadConfig(context, flags);
  const findings: Findings = { problems: [], warnings: [...config.warnings] };
  await checkDocker(context, config, findings);
  await checkKubelet(context, config, findings);
  await checkNode(context, config, findings);
  for (const warning of findings.warnings) host.out(`warning: ${formatProblem(warning)}\n`);
  for (const problem of findings.problems) host.err(`${formatProblem(problem)}\n`);
  const files = config.files.length === 0 ? "defaults only" : config.files.join(", ");
  if (findings.problems.length > 0) return EXIT.badConfig;
  host.out(`ok: ${files} (configuration ${config.hash.slice(0, 12)})\n`);
  return EXIT.ok;
}

async function checkDocker(context: Context, config: AgentConfig, findings: Findings) {
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

async function checkKubelet({ files }: Context, config: AgentConfig, findings: Findings) {
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
  const { plugins, problems, warnings } = await openProviderConfig(text, file);
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

async function checkNode({ files }: Context, { node }: AgentConfig, findings: Findings) {
  for (const path of [node.root, ...(node.systemSocket === undefined ? [] : [node.systemSocket])]) {
    const stat = await files.stat(path).catch(() => undefined);
    if (stat === undefined) {
      findings.warnings.push(missing(path, "start nydus-snapshotter, or mend the path"));
    }
  }
}

function missing(file: string, mend: string): ConfigProblem {
  return { file, place: "", problem: "it does not exist", mend };
}
