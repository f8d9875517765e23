import { basename, dirname } from "@std/path";
import type { ConfiguredDaemon } from "./agent_config.ts";
import type { Findings } from "./settings.ts";
import type { DaemonEntry } from "./validate.ts";
import { DAEMON_ID } from "./values.ts";

/** Gives every daemon that is listed by hand an id, and refuses what is there twice. */
export function resolveDaemons(
  entries: readonly DaemonEntry[],
  { problems }: Findings,
): readonly ConfiguredDaemon[] {
  const places = new Map<string, string>();
  const claim = (entry: DaemonEntry, name: "id" | "socket", value: string, remedy: string) => {
    const place = `${entry.origin.place}.${name}`;
    const other = places.get(`${name} ${value}`);
    if (other === undefined) return void places.set(`${name} ${value}`, place);
    const problem = `${JSON.stringify(value)} is taken by ${other}`;
    problems.push({ file: entry.origin.file, place, problem, remedy });
  };
  return entries.flatMap((entry, index) => {
    const { socket, ref } = entry;
    if (socket === undefined || ref === undefined) return [];
    const id = entry.id ?? deriveId(socket, index);
    claim(entry, "socket", socket, "list every socket once");
    claim(entry, "id", id, `set an id of its own, for example id = "${id}-${index + 1}"`);
    return [{ id, socket, ref }];
  });
}

/**
 * The snapshotter calls sockets `<root>/socket/<daemonID>/api.sock`, so there the folder names the
 * daemon; any other socket is named by its file. A glob names nothing: the place in the list does.
 */
function deriveId(socket: string, index: number): string {
  const file = basename(socket).replace(/\.sock$/, "");
  const name = /^api\d*$/.test(file) ? basename(dirname(socket)) : file;
  return DAEMON_ID.test(name) ? name : `configured-${index + 1}`;
}
