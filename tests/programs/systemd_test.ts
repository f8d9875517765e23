/**
 * The unit as systemd itself runs it, in namespaces of its own: what happens to those who use the
 * link while the agent is killed, stopped, and crashes at every start. Takes root, the compiled
 * binary and a kernel that lets systemd be; without them it is skipped.
 */
import { equal, ok } from "node:assert/strict";
import { join } from "node:path";
import { pause } from "../e2e/stage.ts";

const BINARY = Deno.env.get("NYDUS_AUTH_AGENT_BINARY");
const SOCKET = "/run/nydus-auth-agent/cri.sock";
const UPSTREAM = "/run/containerd/containerd.sock";
const HERE = new URL(".", import.meta.url).pathname;
const TOOLS = [
  "/lib/systemd/systemd",
  "/usr/bin/systemctl",
  "/usr/bin/systemd-tmpfiles",
  "/usr/bin/nsenter",
  "/usr/bin/unshare",
  "/usr/bin/pgrep",
];

const canTry = BINARY !== undefined && Deno.uid() === 0 &&
  (await Promise.all(TOOLS.map((path) => Deno.stat(path).then(() => true, () => false))))
    .every((isThere) => isThere);

/** The process to enter, once systemd is up in there; undefined where it does not come up. */
async function systemdIn(dir: string): Promise<string | undefined> {
  for (let tries = 0; tries < 400; tries++) {
    const init = (await Deno.readTextFile(join(dir, "init")).catch(() => "")).trim();
    if (init !== "" && (await entered(init, "systemctl", "is-system-running")).out !== "offline") {
      if ((await entered(init, "test", "-S", "/run/systemd/private")).code === 0) return init;
    }
    await pause(25);
  }
  return undefined;
}

/** Ends whatever has come up, and with it the script that started it. */
async function end(dir: string): Promise<void> {
  const init = (await Deno.readTextFile(join(dir, "init")).catch(() => "")).trim();
  if (init === "") return;
  // A service that is stopped takes its PrivateTmp= along.
  await entered(init, "systemctl", "stop", "nydus-auth-agent");
  try {
    Deno.kill(Number(init), "SIGKILL");
  } catch {
    // It has ended.
  }
}

async function entered(init: string, ...words: readonly string[]) {
  const args = ["-t", init, "-m", "-p", "-i", "-u", "-C", ...words];
  const { code, stdout, stderr } = await new Deno.Command("nsenter", { args }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  return { code, out: text(stdout), err: text(stderr) };
}

Deno.test({
  name: "systemd: whoever uses the link reaches the tap or the runtime, whatever becomes of us",
  ignore: !canTry,
  async fn() {
    const dir = await Deno.makeTempDir({ prefix: "systemd-" });
    const config = '[snapshotter]\nconfig = "off"\n[providers.cri]\nenabled = true\n';
    await Deno.writeTextFile(join(dir, "agent.toml"), config);
    const dropIn = [
      "[Service]",
      "Environment=NYDUS_AUTH_AGENT_CONFIG=/run/agent/config.toml",
      "ExecStart=",
      "ExecStart=/usr/local/bin/nydus-auth-agent run",
      "RestartSec=200ms",
      "Environment=NYDUS_AUTH_AGENT_PROVIDERS_CRI_FALLBACK_DELAY=4s",
    ];
    await Deno.writeTextFile(join(dir, "drop-in.conf"), dropIn.join("\n"));
    const assets = new URL("../../lib/assets", import.meta.url).pathname;
    const stage = new Deno.Command("sh", {
      args: [join(HERE, "systemd_stage.sh"), dir, BINARY ?? "", assets],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const init = await systemdIn(dir);
    try {
      // deno-lint-ignore no-console -- a machine may not let it
      if (init === undefined) return console.log("skipped: systemd does not come up here");
      const client = [Deno.execPath(), "run", "-A", "--no-check", join(HERE, "systemd_client.ts")];
      const { code, out, err } = await entered(init, "env", "NO_COLOR=1", ...client);
      equal(code, 0, err);
      // deno-lint-ignore no-console -- the figures are the point
      console.log(out);
      const seen = JSON.parse(out);
      equal(seen.laid, UPSTREAM, "laid at boot");
      equal(seen.kubelet, SOCKET, "the kubelet found us in the path");
      equal(seen.leftPath, 0, "the link stays while the agent comes back");
      equal(seen.timer, "inactive", "nothing moves the link once the agent is back");
      equal(seen.after, SOCKET);
      equal(seen.stopped, SOCKET, "for as long as the fallback delay");
      equal(seen.crashing, UPSTREAM, "an agent that crashes at every start is not in the path");
      equal(seen.corrupted, 0);
      ok(seen.brokenByKills <= seen.ends, "one client, one call in flight for each end");
    } finally {
      await end(dir);
      await stage.status;
      await Deno.remove(dir, { recursive: true });
    }
  },
});
