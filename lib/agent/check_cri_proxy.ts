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
  { problems, warnings, passed }: CheckFindings,
): Promise<void> {
  const { enabled, link, imageServiceSocket } = cri;
  if (!enabled || link === undefined) return;
  const before = problems.length + warnings.length;
  const wrong = (file: string, target: string, when: string, remedy: string) => {
    const problem = `it points ${link} to ${target} ${when}, but the container runtime is at ` +
      `${imageServiceSocket} (providers.cri.image_service): pulls then fail`;
    problems.push(finding(file, problem, `${remedy}; ${DOCS}`));
  };
  const unit = await files.readText(UNIT).catch(() => undefined);
  if (unit === undefined) {
    // The unit would create it.
    const folder = dirname(link);
    if (await files.stat(folder).catch(() => undefined) === undefined) {
      const remedy = `create ${folder}; ${DOCS}`;
      warnings.push(finding(link, "its folder does not exist", remedy));
    }
  } else {
    const stopped = stopTarget([unit, ...await dropIns(files, `${UNIT}.d`)], link);
    const remedy = "set ExecStopPost= in a drop-in of the unit";
    if (stopped === undefined) {
      const problem = `nothing in it points ${link} to ${imageServiceSocket} after the agent's end`;
      warnings.push(finding(UNIT, problem, `${remedy}; ${DOCS}`));
    } else if (stopped !== imageServiceSocket) {
      wrong(UNIT, stopped, "when the agent has stopped", remedy);
    }
    const booted = bootTarget(await dropIns(files, TMPFILES), link);
    if (booted === undefined) {
      const problem = `no line creates ${link} at boot: a kubelet that starts before the agent ` +
        "exits at once";
      const remedy = `run: nydus-auth-agent show nydus-auth-agent.tmpfiles.conf > ${TMPFILES}/` +
        `nydus-auth-agent.conf; ${DOCS}`;
      problems.push(finding(TMPFILES, problem, remedy));
    } else if (booted !== imageServiceSocket) wrong(TMPFILES, booted, "at boot", "fix that line");
  }
  if (problems.length + warnings.length > before) return;
  passed.push(`CRI proxy: ${link} points to ${imageServiceSocket} while no agent serves`);
}

/** Returns the texts of the `.conf` files in a folder. */
async function dropIns(files: FileSystem, folder: string): Promise<readonly string[]> {
  const names = (await files.list(folder).catch(() => [])).filter((name) => name.endsWith(".conf"));
  const read = (name: string) => files.readText(join(folder, name)).catch(() => undefined);
  return (await Promise.all(names.map(read))).map((text = "") => text);
}

function wordsOf(texts: readonly string[]): readonly (readonly string[])[] {
  return texts.flatMap((text) => text.split("\n")).map((line) => line.trim().split(/\s+/));
}

/** Returns the target of the last `ExecStopPost=… ln … TARGET LINK`; an empty value resets. */
function stopTarget(unit: readonly string[], link: string): string | undefined {
  const commands = wordsOf(unit).filter(([first = ""]) => first.startsWith("ExecStopPost="));
  const reset = commands.findLastIndex((words) => words.length === 1);
  return commands.slice(reset + 1).findLast((words) => words.at(-1) === link)?.at(-2);
}

/** Returns the target of the first line of tmpfiles.d that creates the link. */
function bootTarget(tmpfiles: readonly string[], link: string): string | undefined {
  return wordsOf(tmpfiles).find(([type = "", path]) => type.startsWith("L") && path === link)
    ?.at(-1);
}
