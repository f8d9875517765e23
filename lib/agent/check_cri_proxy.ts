import { dirname, join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import type { FileSystem } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { type CheckFindings, finding } from "./check_node.ts";

const UNIT = "/etc/systemd/system/nydus-auth-agent.service";
const TMPFILES = "/etc/tmpfiles.d";
const DOCS = "see docs/cri-proxy.md";

/**
 * Checks that the unit and tmpfiles.d, which set the CRI link while no agent runs, point it to the
 * configured container runtime. Pulls fail as soon as the agent stops when they do not.
 */
export async function checkCriProxy(
  { files }: Pick<Context, "files">,
  { providers: { cri } }: AgentConfig,
  findings: CheckFindings,
): Promise<void> {
  const { enabled, link, imageServiceSocket } = cri;
  if (!enabled || link === undefined) return;
  const before = findings.problems.length + findings.warnings.length;
  const unit = await linesOf(files, UNIT, `${UNIT}.d`);
  if (unit === undefined) {
    // The unit would create it.
    const folder = dirname(link);
    if (await files.stat(folder).catch(() => undefined) === undefined) {
      const remedy = `create ${folder}; ${DOCS}`;
      findings.warnings.push(finding(link, "its folder does not exist", remedy));
    }
  } else {
    const linked = { link, imageServiceSocket };
    checkUnit(unit, linked, findings);
    await checkTmpfiles(files, linked, findings);
  }
  if (findings.problems.length + findings.warnings.length > before) return;
  findings.passed.push(`CRI proxy: ${link} points to ${imageServiceSocket} while no agent serves`);
}

interface Linked {
  readonly link: string;
  readonly imageServiceSocket: string;
}

function checkUnit(unit: readonly string[], linked: Linked, findings: CheckFindings): void {
  const { link } = linked;
  const targets = targetsOf(assigned(unit, "ExecStopPost"), link);
  checkTargets(UNIT, targets, linked, findings, {
    when: "when the agent has stopped",
    remedy: `set ExecStopPost= in a drop-in of the unit; ${DOCS}`,
  });
  for (const directive of ["ExecStartPre", "ExecStopPost"]) {
    if (!assigned(unit, directive).some((command) => movesImmediately(command, link))) continue;
    const problem = `${directive}= moves ${link} immediately: a client that connects while the ` +
      "agent restarts keeps its connection to the container runtime, and its pulls are not observed";
    findings.warnings.push(finding(UNIT, problem, `change that line of a drop-in; ${DOCS}`));
  }
}

async function checkTmpfiles(
  files: FileSystem,
  linked: Linked,
  findings: CheckFindings,
): Promise<void> {
  const { link } = linked;
  const targets = (await linesOf(files, undefined, TMPFILES) ?? [])
    .filter((line) => /^L\S*\s/.test(line) && line.split(/\s+/)[1] === link)
    .map((line) => line.trim().split(/\s+/).at(-1) ?? "");
  if (targets.length > 0) {
    const remedy = `fix that line; ${DOCS}`;
    return checkTargets(TMPFILES, targets, linked, findings, { when: "at boot", remedy });
  }
  const problem = `no line creates ${link} at boot: a kubelet that starts before the agent ` +
    "exits at once";
  const remedy = `run: nydus-auth-agent show nydus-auth-agent.tmpfiles.conf > ${TMPFILES}/` +
    `nydus-auth-agent.conf; ${DOCS}`;
  findings.problems.push(finding(TMPFILES, problem, remedy));
}

function checkTargets(
  file: string,
  targets: readonly string[],
  { link, imageServiceSocket }: Linked,
  { problems, warnings }: CheckFindings,
  { when, remedy }: { readonly when: string; readonly remedy: string },
): void {
  if (targets.includes(imageServiceSocket)) return;
  const [other] = targets;
  if (other === undefined) {
    const problem = `nothing in it points ${link} to ${imageServiceSocket} ${when}`;
    warnings.push(finding(file, problem, remedy));
    return;
  }
  const problem = `it points ${link} to ${other} ${when}, but the container runtime is at ` +
    `${imageServiceSocket} (providers.cri.image_service): pulls then fail`;
  problems.push(finding(file, problem, remedy));
}

/** Returns the lines of a file and of its drop-ins; undefined when the file does not exist. */
async function linesOf(
  files: FileSystem,
  path: string | undefined,
  folder: string,
): Promise<readonly string[] | undefined> {
  const read = (path: string) => files.readText(path).catch(() => undefined);
  const first = path === undefined ? "" : await read(path);
  if (first === undefined) return undefined;
  const names = (await files.list(folder).catch(() => [])).filter((name) => name.endsWith(".conf"));
  const texts = [first, ...await Promise.all(names.map((name) => read(join(folder, name))))];
  return texts.flatMap((text) => (text ?? "").split("\n")).map((line) => line.trim());
}

/** Returns the values of a directive; an empty value resets those before it. */
function assigned(lines: readonly string[], directive: string): readonly string[] {
  const values = lines.filter((line) => line.startsWith(`${directive}=`))
    .map((line) => line.slice(directive.length + 1).trim());
  return values.slice(values.lastIndexOf("") + 1);
}

/** Returns whether a command moves a link without a delay. */
function movesImmediately(command: string, link: string): boolean {
  return command.split(/\s+/).at(-1) === link && !command.includes("--on-active=");
}

/** Returns the target of the last `ln … TARGET LINK` command for a link. */
function targetsOf(commands: readonly string[], link: string): readonly string[] {
  return commands.map((command) => command.split(/\s+/))
    .filter((words) => words.at(-1) === link)
    .map((words) => words.at(-2) ?? "").reverse().slice(0, 1);
}
