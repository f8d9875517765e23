/**
 * Simulates nydus-snapshotter inside `systemd_machine.ts`: creates the same folders and sockets with
 * the same modes, and runs one nydusd with one mount. Runs as a bundle beside that of nydusd.
 *
 *   systemd_snapshotter.ts ROOT
 */
import { dirname } from "node:path";
import { SimDaemon } from "../../lib/simulator/sim_daemon.ts";
import { SimSnapshotter } from "../../lib/simulator/snapshotter.ts";

const [root = ""] = Deno.args;
const SYSTEM_SOCKET = "/run/containerd-nydus/system.sock";
const CONFIG = "/etc/nydus/config.toml";
const MAIN = new URL("daemon_process.js", import.meta.url).pathname;

await Deno.mkdir(dirname(SYSTEM_SOCKET), { recursive: true, mode: 0o700 });
await Deno.mkdir(root, { recursive: true, mode: 0o700 });
const runDir = await Deno.makeTempDir();
const daemon = new SimDaemon({
  id: "d1",
  mode: "dedicated",
  version: "2.4.4",
  pollMs: 100,
  root,
  runDir,
  selfCommand: [Deno.execPath(), "run", "-A", "--no-config", MAIN],
});
daemon.addInstance("s1", "registry.test/app:1", btoa("robot:old"));
await daemon.start();
const _snapshotter = new SimSnapshotter(SYSTEM_SOCKET, () => [daemon.listed()], () => undefined);
const config = await Deno.readTextFile(CONFIG).catch(() => "");
await Deno.chown(SYSTEM_SOCKET, 0, Number(/^gid = (\d+)$/m.exec(config)?.[1] ?? 0));
