import { dirname, join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import type { FileSystem } from "../model/mod.ts";
import { about, type CheckFindings } from "./check_findings.ts";
import type { Context } from "../platform/mod.ts";

const UNIT = "/etc/systemd/system/nydus-auth-agent.service";
const TMPFILES = "/etc/tmpfiles.d";
const DOCS = "docs/cri-proxy.md tells how";

/**
 * Whether those who move the clients' link while the agent is down move it to the runtime that the
 * CRI proxy stands before. Where they do not, pulls fail as soon as the agent ends.
 */
export async function checkCriProxy(
  { files }: Pick<Context, "files">,
  { providers: { cri } }: AgentConfig,
  findings: CheckFindings,
): Promise<void> {
  const { enabled, link, imageServiceSocket } = cri;
  if (!enabled || link === undefined) return;
  const before = findings.problems.length + findings.warnings.length;
  const told = (file: string, targets: readonly string[], what: string, remedy: string): void => {
    if (targets.includes(imageServiceSocket)) return;
    const [other] = targets;
    if (other === undefined) {
      const problem = `nothing in it leads ${link} to ${imageServiceSocket} ${what}`;
      findings.warnings.push(about(file, problem, remedy));
      return;
    }
    const problem = `it leads ${link} to ${other} ${what}, and the runtime is at ` +
      `${imageServiceSocket} (providers.cri.image_service): pulls fail then`;
    findings.problems.push(about(file, problem, remedy));
  };
  const unit = await linesOf(files, UNIT, `${UNIT}.d`);
  if (unit !== undefined) {
    const remedy = `set ExecStopPost= in a drop-in of the unit; ${DOCS}`;
    told(UNIT, targetsOf(assigned(unit, "ExecStopPost"), link), "when the agent has ended", remedy);
    const immediate = ["ExecStartPre", "ExecStopPost"].filter((directive) =>
      assigned(unit, directive).some((command) => movesNow(command, link))
    );
    for (const directive of immediate) {
      const problem = `${directive}= moves ${link} immediately: a client that connects while the ` +
        "agent restarts keeps its connection to the container runtime, and its pulls are not seen";
      findings.warnings.push(about(UNIT, problem, `change that line of a drop-in; ${DOCS}`));
    }
  }
  const laid = (await linesOf(files, undefined, TMPFILES) ?? [])
    .filter((line) => /^L\S*\s/.test(line) && line.split(/\s+/)[1] === link)
    .map((line) => line.trim().split(/\s+/).at(-1) ?? "");
  if (unit !== undefined && laid.length === 0) {
    const problem = `no line creates ${link} at boot: a kubelet that starts before the agent ` +
      "exits at once";
    const remedy = `run: nydus-auth-agent show nydus-auth-agent.tmpfiles.conf > ${TMPFILES}/` +
      `nydus-auth-agent.conf; ${DOCS}`;
    findings.problems.push(about(TMPFILES, problem, remedy));
  } else if (unit !== undefined) told(TMPFILES, laid, "at boot", `fix that line; ${DOCS}`);
  // The unit makes it when it starts.
  const folder = dirname(link);
  if (unit === undefined && await files.stat(folder).catch(() => undefined) === undefined) {
    findings.warnings.push(about(link, "its folder does not exist", `make ${folder}; ${DOCS}`));
  }
  if (findings.problems.length + findings.warnings.length > before) return;
  findings.fine.push(`CRI proxy: ${link} leads to ${imageServiceSocket} while no agent serves`);
}

/** The lines of a file and of the drop-ins in a folder; undefined when there is no such file. */
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

/** What a unit says under a name; an empty one takes back those before it. */
function assigned(lines: readonly string[], directive: string): readonly string[] {
  const values = lines.filter((line) => line.startsWith(`${directive}=`))
    .map((line) => line.slice(directive.length + 1).trim());
  return values.slice(values.lastIndexOf("") + 1);
}

/** Whether a command moves a link, and not after a delay. */
function movesNow(command: string, link: string): boolean {
  return command.split(/\s+/).at(-1) === link && !command.includes("--on-active=");
}

/** Where commands of the form `ln … TARGET LINK` lead a link, the last one first. */
function targetsOf(commands: readonly string[], link: string): readonly string[] {
  return commands.map((command) => command.split(/\s+/))
    .filter((words) => words.at(-1) === link)
    .map((words) => words.at(-2) ?? "").reverse().slice(0, 1);
}
