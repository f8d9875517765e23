/**
 * Boots a Debian with systemd from a cached tree for one test. Requires root, systemd-nspawn and, once,
 * debootstrap with a Debian mirror. The tree itself never changes.
 */
import { equal } from "node:assert/strict";
import { basename, join } from "node:path";
import { pause } from "../e2e/stage.ts";

const BINARY = Deno.env.get("NYDUS_AUTH_AGENT_BINARY");
const REPOSITORY = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
/** Path of the repository inside the machine. */
const SOURCES = "/src";
const SNAPSHOTTER_ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.nydus";
/** Outside the repository: all checkouts share it. */
export const TREE = Deno.env.get("NYDUS_AUTH_AGENT_SYSTEMD_TREE") ??
  join(Deno.env.get("HOME") ?? "/root", ".cache/nydus-auth-agent/systemd-bookworm-rpm");
const PACKAGES = "systemd,systemd-sysv,dbus,procps,rpm";
const BOOT_MS = 120_000;

/** Result of a command. */
export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** The requirement that is missing to boot a machine; undefined if there is none. */
export const missing: string | undefined = await missingRequirement();

async function missingRequirement(): Promise<string | undefined> {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return "root on Linux";
  if (BINARY === undefined) return "NYDUS_AUTH_AGENT_BINARY";
  const tools = ["systemd-nspawn", "nsenter", "unshare", "pgrep"];
  if (!await exists(join(TREE, "usr/bin/systemctl"))) tools.push("debootstrap");
  for (const tool of tools) {
    if ((await runOnHost("sh", "-c", `command -v ${tool}`)).code !== 0) return tool;
  }
  const { code } = await runOnHost("unshare", "--mount", "--pid", "--fork", "true");
  return code === 0 ? undefined : "permission to create namespaces";
}

function exists(path: string): Promise<boolean> {
  return Deno.stat(path).then(() => true, () => false);
}

/** Runs a command to completion, outside of a machine. */
export async function runOnHost(command: string, ...args: readonly string[]): Promise<Ended> {
  const child = new Deno.Command(command, { args: [...args], stdin: "null" });
  const { code, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  return { code, out: text(stdout), err: text(stderr) };
}

export async function buildTree(): Promise<void> {
  if (await exists(join(TREE, "usr/bin/systemctl"))) return;
  const building = `${TREE}.${crypto.randomUUID().slice(0, 8)}`;
  await Deno.mkdir(building, { recursive: true });
  const args = ["--variant=minbase", `--include=${PACKAGES}`, "bookworm", building];
  const { code, out, err } = await runOnHost("debootstrap", ...args);
  equal(code, 0, `debootstrap: ${out.slice(-2_000)}\n${err}`);
  await Deno.rename(building, TREE);
}

/** A running machine; its disk is discarded on disposal. */
export class SystemdMachine implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #init: string;

  private constructor(child: Deno.ChildProcess, init: string) {
    this.#child = child;
    this.#init = init;
  }

  /** Boots a machine, and waits until systemd has started its units. The binary is in `/opt/new`. */
  static async boot(options: readonly string[] = []): Promise<SystemdMachine> {
    await buildTree();
    const child = new Deno.Command("systemd-nspawn", {
      args: [
        "--boot",
        "--quiet",
        `--directory=${TREE}`,
        "--volatile=overlay",
        `--machine=agent-test-${crypto.randomUUID().slice(0, 8)}`,
        "--private-network",
        "--register=no",
        "--keep-unit",
        "--private-users=no",
        "--capability=all",
        "--console=pipe",
        `--bind-ro=${REPOSITORY}:${SOURCES}`,
        `--bind-ro=${Deno.execPath()}:/opt/deno`,
        `--bind-ro=${BINARY}:/opt/new/nydus-auth-agent`,
        ...options,
      ],
      env: { SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    let ended = false;
    void child.status.then(() => ended = true);
    const untilMs = Date.now() + BOOT_MS;
    while (true) {
      const { out: init } = await runOnHost("pgrep", "-P", String(child.pid));
      if (/^\d+$/.test(init)) {
        const machine = new SystemdMachine(child, init);
        const { out } = await machine.run("systemctl", "is-system-running");
        if (out === "running" || out === "degraded") return machine;
      }
      if (ended) throw new Error("systemd-nspawn exited before systemd was running");
      if (Date.now() > untilMs) {
        child.kill("SIGKILL");
        throw new Error("timed out waiting for systemd");
      }
      await pause(100);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    Deno.kill(Number(this.#init), "SIGKILL");
    await this.#child.status;
  }

  /** Runs a command to completion. */
  run(command: string, ...args: readonly string[]): Promise<Ended> {
    const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    return runOnHost(
      "nsenter",
      "-t",
      this.#init,
      "-a",
      "env",
      "-i",
      path,
      "HOME=/root",
      command,
      ...args,
    );
  }

  /** Runs a command that must succeed; returns what it printed. */
  async must(command: string, ...args: readonly string[]): Promise<string> {
    const { code, out, err } = await this.run(command, ...args);
    if (code !== 0) {
      const { out: journal } = await this.run("journalctl", "--no-pager", "-n", "60");
      throw new Error(`${[command, ...args].join(" ")}: exit ${code}\n${out}\n${err}\n${journal}`);
    }
    return out;
  }

  /** Runs an `sh` script that must succeed; returns what it printed. */
  sh(script: string): Promise<string> {
    return this.must("sh", "-euc", script);
  }

  read(path: string): Promise<string> {
    return this.must("cat", path);
  }

  async write(path: string, text: string): Promise<void> {
    const real = `/proc/${this.#init}/root${path}`;
    await Deno.mkdir(real.slice(0, real.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(real, text);
  }

  /** Returns a property of the agent's unit. */
  property(name: string): Promise<string> {
    return this.must("systemctl", "show", "--value", "--property", name, "nydus-auth-agent");
  }

  /** Waits for a condition with a generous limit; the error contains the journal. */
  async until(what: string, condition: () => Promise<boolean>): Promise<void> {
    for (const untilMs = Date.now() + 60_000; !await condition(); await pause(200)) {
      if (Date.now() < untilMs) continue;
      const { out } = await this.run("journalctl", "--no-pager", "-n", "80");
      throw new Error(`timed out waiting for ${what}\n${out}`);
    }
  }

  /** Installs a stand-in for nydus-snapshotter, with one mount, as a service. */
  async addSnapshotter(root = SNAPSHOTTER_ROOT): Promise<void> {
    const scripts = ["tests/programs/systemd_snapshotter.ts", "lib/simulator/daemon_process.ts"];
    for (const script of scripts) {
      const args = ["bundle", "--quiet", "--platform", "deno", join(REPOSITORY, script)];
      const { code, out, err } = await runOnHost(Deno.execPath(), ...args);
      equal(code, 0, err);
      await this.write(`/opt/simulator/${basename(script, ".ts")}.js`, out);
    }
    await this.write("/etc/nydus/config.toml", `root = "${root}"\n[system]\nenable = true\n`);
    await this.write(
      "/etc/systemd/system/nydus-snapshotter.service",
      `[Service]
Environment=DENO_DIR=/var/tmp/deno DENO_NO_UPDATE_CHECK=1
ExecStart=/opt/deno run -A --no-config /opt/simulator/systemd_snapshotter.js ${root}
`,
    );
    await this.must("systemctl", "daemon-reload");
  }

  /** Starts or restarts that service, and waits until its socket exists. */
  async startSnapshotter(): Promise<void> {
    // Removes the previous socket, so that only the new one counts.
    await this.sh("rm -f /run/containerd-nydus/system.sock; systemctl restart nydus-snapshotter");
    await this.until("the snapshotter", async () => {
      return (await this.run("test", "-S", "/run/containerd-nydus/system.sock")).code === 0;
    });
  }

  /** Writes the agent's credential for that mount: user `robot` with the password. */
  async setPassword(password: string, file = "/etc/nydus-auth-agent/docker.json"): Promise<void> {
    const auths = { "registry.test": { auth: btoa(`robot:${password}`) } };
    await this.write(file, JSON.stringify({ auths }));
  }

  /** Returns the output of `status --output json`. */
  async status() {
    const { out } = await this.run("/usr/local/bin/nydus-auth-agent", "status", "--output", "json");
    return JSON.parse(out === "" ? "{}" : out);
  }
}
