import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { asset, type AssetName, assetNames } from "../../../lib/assets/mod.ts";
import { install, type InstallOptions, type InstallPorts } from "../../../lib/cli/install.ts";
import { uninstall } from "../../../lib/cli/uninstall.ts";
import { type InstallFiles, systemInstallFiles } from "../../../lib/platform/install_files.ts";
import { AgentError, type ProcessResult } from "../../../lib/model/mod.ts";

const PROGRAM_BYTES = "#!/bin/sh\nexit 0\n";
const DONE: ProcessResult = { kind: "exited", code: 0, stdout: "", stderr: "" };
const NO: ProcessResult = { kind: "exited", code: 3, stdout: "", stderr: "" };

/** A host in a temporary folder, with a program to install and a systemctl that succeeds. */
class Machine implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly errors: string[] = [];
  readonly calls: string[] = [];
  problems: string[] = [];
  answer: (call: string) => ProcessResult = () => DONE;
  files: InstallFiles = systemInstallFiles();
  readonly root: string;
  readonly source: string;

  constructor(folder: string) {
    this.root = `${folder}/root`;
    this.source = `${folder}/program`;
  }

  static async make(): Promise<Machine> {
    const folder = await Deno.makeTempDir();
    const machine = new Machine(folder);
    await Deno.writeTextFile(machine.source, PROGRAM_BYTES);
    await Deno.mkdir(machine.root);
    return machine;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.root.replace(/\/root$/, ""), { recursive: true });
  }

  ports(): InstallPorts {
    return {
      files: this.files,
      processRunner: {
        run: ({ args }) => {
          const call = args.join(" ");
          this.calls.push(call);
          return Promise.resolve(this.answer(call));
        },
      },
      out: (line) => this.lines.push(line.replaceAll(this.root, "")),
      err: (line) => this.errors.push(line.replaceAll(this.root, "")),
      self: { path: this.source, standalone: true, uid: Deno.uid() ?? 0 },
      checkConfiguration: () => Promise.resolve(this.problems),
      textOf: (name) => assetNames().includes(name as AssetName) ? asset(name as AssetName) : name,
    };
  }

  options(more: Partial<InstallOptions> = {}): InstallOptions {
    return {
      prefix: "/usr/local",
      root: this.root,
      dryRun: false,
      dockerCredentialHelper: false,
      now: false,
      ...more,
    };
  }

  install(more: Partial<InstallOptions> = {}): Promise<number> {
    return install(this.options(more), this.ports());
  }

  uninstall(purge = false, more: object = {}): Promise<number> {
    const options = { prefix: "/usr/local", root: this.root, dryRun: false, purge, ...more };
    return uninstall(options, this.ports());
  }

  /** Lists everything below the root: folders with a slash, links with their target. */
  async tree(): Promise<string[]> {
    const found: string[] = [];
    const walk = async (path: string) => {
      for await (const entry of Deno.readDir(this.root + path)) {
        const at = `${path}/${entry.name}`;
        if (entry.isDirectory) {
          found.push(`${at}/`);
          await walk(at);
        } else if (entry.isSymlink) found.push(`${at} -> ${await Deno.readLink(this.root + at)}`);
        else found.push(at);
      }
    };
    await walk("");
    return found.sort();
  }

  read(path: string): Promise<string> {
    return Deno.readTextFile(this.root + path);
  }

  async mode(path: string): Promise<number> {
    return ((await Deno.stat(this.root + path)).mode ?? 0) & 0o7777;
  }
}

const BINARY = "/usr/local/bin/nydus-auth-agent";
const TMPFILES = "/etc/tmpfiles.d/nydus-auth-agent.conf";
const UNIT = "/etc/systemd/system/nydus-auth-agent.service";
const CONFIG = "/etc/nydus-auth-agent/config.toml";
const MANUAL = "/usr/local/share/man/man1/nydus-auth-agent.1";
const EVERYTHING = [
  "/etc/",
  "/etc/nydus-auth-agent/",
  CONFIG,
  "/etc/systemd/",
  "/etc/systemd/system/",
  UNIT,
  "/etc/tmpfiles.d/",
  TMPFILES,
  "/usr/",
  "/usr/local/",
  "/usr/local/bin/",
  "/usr/local/bin/docker-credential-nydus-auth -> nydus-auth-agent",
  BINARY,
  "/usr/local/share/",
  "/usr/local/share/bash-completion/",
  "/usr/local/share/bash-completion/completions/",
  "/usr/local/share/bash-completion/completions/nydus-auth-agent",
  "/usr/local/share/fish/",
  "/usr/local/share/fish/vendor_completions.d/",
  "/usr/local/share/fish/vendor_completions.d/nydus-auth-agent.fish",
  "/usr/local/share/man/",
  "/usr/local/share/man/man1/",
  MANUAL,
  "/usr/local/share/zsh/",
  "/usr/local/share/zsh/site-functions/",
  "/usr/local/share/zsh/site-functions/_nydus-auth-agent",
];

Deno.test("install: installs everything, prints each step, and does not start the service", async () => {
  await using machine = await Machine.make();
  equal(await machine.install({ dockerCredentialHelper: true }), 0);
  deepEqual(await machine.tree(), [...EVERYTHING].sort());
  equal(await machine.read(BINARY), PROGRAM_BYTES);
  equal(await machine.read(CONFIG), asset("config.toml"));
  equal(await machine.read(UNIT), asset("nydus-auth-agent.service"));
  equal(await machine.read(TMPFILES), asset("nydus-auth-agent.tmpfiles.conf"));
  equal(await machine.read(MANUAL), "nydus-auth-agent.1");
  equal(await machine.mode(BINARY), 0o755);
  equal(await machine.mode(CONFIG), 0o600);
  equal(await machine.mode(UNIT), 0o644);
  equal(await machine.mode("/etc/nydus-auth-agent"), 0o755);
  for (const path of [BINARY, CONFIG, UNIT, TMPFILES]) {
    ok(machine.lines.some((line) => line.includes(path)), path);
  }
  deepEqual(machine.calls, []);
  deepEqual(machine.errors, []);
});

Deno.test("install: changes nothing the second time", async () => {
  await using machine = await Machine.make();
  await machine.install({ dockerCredentialHelper: true });
  const before = (await Deno.stat(machine.root + BINARY)).ino;
  machine.lines.length = 0;
  equal(await machine.install({ dockerCredentialHelper: true }), 0);
  equal(machine.lines.length, 9);
  for (const line of machine.lines) match(line, /^unchanged: /);
  equal((await Deno.stat(machine.root + BINARY)).ino, before);
});

Deno.test("install: writes the prefix into the unit", async () => {
  await using machine = await Machine.make();
  equal(await machine.install({ prefix: "/opt/agent" }), 0);
  match(await machine.read(UNIT), /^ExecStart=\/opt\/agent\/bin\/nydus-auth-agent run /m);
});

Deno.test("install --dry-run: only prints the steps", async () => {
  await using machine = await Machine.make();
  equal(await machine.install({ dryRun: true, dockerCredentialHelper: true }), 0);
  deepEqual(await machine.tree(), []);
  ok(machine.lines.length > 4);
  for (const line of machine.lines) match(line, /^would /);
});

Deno.test("install: keeps an existing configuration, and warns when it is invalid", async () => {
  await using machine = await Machine.make();
  await Deno.mkdir(`${machine.root}/etc/nydus-auth-agent`, { recursive: true });
  await Deno.writeTextFile(machine.root + CONFIG, "broken = [");
  machine.problems = ["config.toml: line 1: no end of the list"];
  equal(await machine.install(), 0);
  equal(await machine.read(CONFIG), "broken = [");
  deepEqual(machine.errors, ["warning: config.toml: line 1: no end of the list"]);
  ok(machine.lines.includes(`unchanged: ${CONFIG}`));
});

Deno.test("install: replaces a running binary without changing its file", async () => {
  await using machine = await Machine.make();
  await Deno.mkdir(`${machine.root}/usr/local/bin`, { recursive: true });
  await Deno.copyFile("/bin/sleep", machine.root + BINARY);
  await using running = new Deno.Command(machine.root + BINARY, { args: ["60"] }).spawn();
  equal(await machine.install(), 0);
  equal(await machine.read(BINARY), PROGRAM_BYTES);
  equal((await machine.tree()).filter((path) => path.includes(".tmp")).length, 0);
  running.kill("SIGKILL");
});

Deno.test("install: rejects a program that is not the compiled binary", async () => {
  await using machine = await Machine.make();
  const ports = { ...machine.ports(), self: { path: machine.source, standalone: false, uid: 0 } };
  equal(await install(machine.options(), ports), 2);
  match(machine.errors[0] ?? "", /only the compiled binary can be installed/);
  deepEqual(await machine.tree(), []);
});

Deno.test("install, uninstall: reject a host where a package owns the program", async () => {
  await using machine = await Machine.make();
  const unit = "/usr/lib/systemd/system/nydus-auth-agent.service";
  await Deno.mkdir(`${machine.root}/usr/lib/systemd/system`, { recursive: true });
  await Deno.writeTextFile(machine.root + unit, "");
  const before = await machine.tree();
  equal(await machine.install(), 2);
  equal(await machine.uninstall(true), 2);
  deepEqual(await machine.tree(), before);
  equal(machine.errors.length, 2);
  for (const line of machine.errors) {
    match(line, /\/nydus-auth-agent\.service: belongs to the package nydus-auth-agent \(use apt/);
  }
});

Deno.test("install: rejects invalid folders", async () => {
  await using machine = await Machine.make();
  for (const prefix of ["usr/local", "", "/usr local", "/a\nExecStartPre=/bin/x", "/%h"]) {
    equal(await machine.install({ prefix }), 2, prefix);
  }
  equal(await machine.install({ root: "root" }), 2);
  equal(await machine.install({ now: true }), 2);
  deepEqual(await machine.tree(), []);
});

Deno.test("install: keeps a foreign credential helper", async () => {
  await using machine = await Machine.make();
  const path = "/usr/local/bin/docker-credential-nydus-auth";
  await Deno.mkdir(`${machine.root}/usr/local/bin`, { recursive: true });
  await Deno.writeTextFile(machine.root + path, "theirs");
  equal(await machine.install({ dockerCredentialHelper: true }), 1);
  match(machine.errors[0] ?? "", /another file exists there/);
  equal(await machine.read(path), "theirs");
  equal((await machine.tree()).includes(BINARY), false);
});

type Failing = "makeDirectory" | "copyFile" | "writeText" | "makeLink";

/** Returns the real operations, of which the `nth` call of one fails as on a full disk. */
function failAt(name: Failing, nth: number): InstallFiles {
  const files = systemInstallFiles();
  let calls = 0;
  const guard = <A extends unknown[]>(run: (...args: A) => Promise<void>) => (...args: A) => {
    if (++calls === nth) throw new AgentError("io", `${name}: no space left`);
    return run(...args);
  };
  switch (name) {
    case "makeDirectory":
      return { ...files, makeDirectory: guard(files.makeDirectory) };
    case "copyFile":
      return { ...files, copyFile: guard(files.copyFile) };
    case "writeText":
      return { ...files, writeText: guard(files.writeText) };
    case "makeLink":
      return { ...files, symlink: guard(files.symlink) };
    default:
      return name satisfies never;
  }
}

const FAILURES: readonly (readonly [Failing, number])[] = [
  ["makeDirectory", 1],
  ["makeDirectory", 2],
  ["makeDirectory", 4],
  ["makeDirectory", 6],
  ["copyFile", 1],
  ["makeLink", 1],
  ["writeText", 1],
  ["writeText", 2],
];

for (const [name, nth] of FAILURES) {
  Deno.test(`install: undoes everything when ${name} fails at call ${nth}`, async () => {
    await using machine = await Machine.make();
    machine.files = failAt(name, nth);
    equal(await machine.install({ dockerCredentialHelper: true }), 1);
    deepEqual(await machine.tree(), []);
    match(machine.errors.join("\n"), /^error: .*no space left$/);
  });
}

for (const name of ["copyFile", "writeText"] as const) {
  Deno.test(`install: restores replaced files when ${name} fails`, async () => {
    await using machine = await Machine.make();
    await machine.install({ dockerCredentialHelper: true });
    await Deno.writeTextFile(machine.root + BINARY, "old program");
    await Deno.writeTextFile(machine.root + UNIT, "old unit");
    const before = await machine.tree();
    machine.files = failAt(name, 1);
    equal(await machine.install({ dockerCredentialHelper: true }), 1);
    deepEqual(await machine.tree(), before);
    equal(await machine.read(BINARY), "old program");
    equal(await machine.read(UNIT), "old unit");
  });
}

Deno.test("install: reports the path of a read-only folder in one line", async () => {
  await using machine = await Machine.make();
  const errors: string[] = [];
  // Not even root can create a folder there.
  const options = machine.options({ root: "/proc/self" });
  const code = await install(options, { ...machine.ports(), err: (line) => errors.push(line) });
  equal(code, 1);
  equal(errors.length, 1);
  match(errors[0] ?? "", /^error: failed to create folder \/proc\/self\/usr: .+/);
  equal(errors[0]?.includes("\n"), false);
});

/** Presents the host to the code under test with `/` as its root, and with systemd. */
function onSystemd(machine: Machine): InstallPorts {
  const real = systemInstallFiles();
  const at = (path: string) =>
    path.startsWith(machine.root) || path === machine.source ? path : machine.root + path;
  const files: InstallFiles = {
    stat: (path) =>
      path === "/run/systemd/system"
        ? Promise.resolve({ kind: "directory", mode: 0o755, uid: 0, gid: 0 })
        : path === "/usr/bin/systemctl"
        ? Promise.resolve({ kind: "file", mode: 0o755, uid: 0, gid: 0 })
        : real.stat(at(path)),
    readText: (path) => real.readText(at(path)),
    sameBytes: (a, b) => real.sameBytes(at(a), at(b)),
    makeDirectory: (path, mode) => real.makeDirectory(at(path), mode),
    copyFile: (from, to, mode) => real.copyFile(at(from), at(to), mode),
    writeText: (path, text, mode) => real.writeText(at(path), text, mode),
    symlink: (path, target) => real.symlink(at(path), target),
    backUp: (path) => real.backUp(at(path)),
    move: (from, to) => real.move(at(from), at(to)),
    remove: (path) => real.remove(at(path)),
    list: (path) => real.list(at(path)),
  };
  return { ...machine.ports(), files };
}

const QUERIES = ["is-enabled --quiet", "is-active --quiet"].map((q) =>
  `${q} nydus-auth-agent.service`
);
const SHOW = "show --property=MainPID,NeedDaemonReload nydus-auth-agent.service";

/** Answers for a running service; `runsOld` when its binary has been replaced since. */
function running(
  { runsOld = false, needsReload = false }: { runsOld?: boolean; needsReload?: boolean },
): (call: string) => ProcessResult {
  return (call) => {
    if (call === SHOW) {
      const stdout = `MainPID=77\nNeedDaemonReload=${needsReload ? "yes" : "no"}\n`;
      return { kind: "exited", code: 0, stdout, stderr: "" };
    }
    return call.includes("-ef") && runsOld ? NO : DONE;
  };
}

Deno.test("install --now: enables and starts the service, and does not restart one that is up to date", async () => {
  await using machine = await Machine.make();
  machine.answer = (call) => call.startsWith("is-") ? NO : DONE;
  equal(await install(machine.options({ root: "", now: true }), onSystemd(machine)), 0);
  deepEqual(machine.calls, [
    ...QUERIES,
    SHOW,
    "daemon-reload",
    "enable nydus-auth-agent.service",
    "start nydus-auth-agent.service",
  ]);
  machine.calls.length = 0;
  machine.answer = running({});
  equal(await install(machine.options({ root: "", now: true }), onSystemd(machine)), 0);
  deepEqual(machine.calls.filter((call) => !call.includes("-ef")), [...QUERIES, SHOW]);
});

Deno.test("install --now: restarts a service whose binary an earlier install has replaced", async () => {
  await using machine = await Machine.make();
  equal(await install(machine.options({ root: "" }), onSystemd(machine)), 0);
  machine.answer = running({ runsOld: true });
  equal(await install(machine.options({ root: "", now: true }), onSystemd(machine)), 0);
  deepEqual(machine.calls.at(-1), "restart nydus-auth-agent.service");
  ok(machine.calls.some((call) => call.endsWith(` /proc/77/exe ${BINARY}`)));
});

Deno.test("install --now: reloads and restarts when systemd has not read the unit file", async () => {
  await using machine = await Machine.make();
  equal(await install(machine.options({ root: "" }), onSystemd(machine)), 0);
  machine.answer = running({ needsReload: true });
  equal(await install(machine.options({ root: "", now: true }), onSystemd(machine)), 0);
  deepEqual(machine.calls.slice(-2), ["daemon-reload", "restart nydus-auth-agent.service"]);
});

Deno.test("install: rejects folders that other users can change", async () => {
  const cases: readonly (readonly [string, (root: string) => Promise<void>])[] = [
    ["world-writable", (root) => Deno.chmod(`${root}/usr/local/bin`, 0o777)],
    ["above it", (root) => Deno.chmod(`${root}/usr`, 0o777)],
    ["through a link", async (root) => {
      await Deno.mkdir(`${root}/shared`);
      await Deno.chmod(`${root}/shared`, 0o777);
      await Deno.remove(`${root}/usr/local/bin`);
      await Deno.symlink("../../shared", `${root}/usr/local/bin`);
    }],
  ];
  for (const [name, share] of cases) {
    await using machine = await Machine.make();
    await Deno.mkdir(`${machine.root}/usr/local/bin`, { recursive: true });
    await share(machine.root);
    const before = await machine.tree();
    equal(await machine.install(), 2, name);
    match(machine.errors[0] ?? "", /other users can write to it \(chmod go-w \//, name);
    deepEqual(await machine.tree(), before, name);
  }
});

Deno.test({
  name: "install: rejects a folder that belongs to another user (needs root)",
  ignore: Deno.uid() !== 0,
  async fn() {
    await using machine = await Machine.make();
    await Deno.mkdir(`${machine.root}/usr/local`, { recursive: true });
    await Deno.chown(`${machine.root}/usr/local`, 4711, 4711);
    equal(await machine.install(), 2);
    match(machine.errors[0] ?? "", /\/usr\/local: it belongs to user 4711 \(chown root /);
  },
});

Deno.test("install --now: restarts a service that runs an older binary", async () => {
  await using machine = await Machine.make();
  await install(machine.options({ root: "" }), onSystemd(machine));
  await Deno.writeTextFile(machine.source, "newer");
  equal(await install(machine.options({ root: "", now: true }), onSystemd(machine)), 0);
  deepEqual(machine.calls, [...QUERIES, SHOW, "daemon-reload", "restart nydus-auth-agent.service"]);
});

Deno.test("install --now: undoes everything when the service does not start", async () => {
  await using machine = await Machine.make();
  machine.answer = (call) => {
    if (call.startsWith("is-")) return NO;
    return call.startsWith("start")
      ? { kind: "exited", code: 1, stdout: "", stderr: "Job failed.\nmore" }
      : DONE;
  };
  equal(await install(machine.options({ root: "", now: true }), onSystemd(machine)), 1);
  deepEqual(machine.calls.slice(-2), [
    "stop nydus-auth-agent.service",
    "disable nydus-auth-agent.service",
  ]);
  deepEqual(await machine.tree(), []);
  match(machine.errors[0] ?? "", /systemctl start .*: exit code 1, Job failed\.$/);
});

Deno.test("uninstall: removes what install created, and keeps the configuration", async () => {
  await using machine = await Machine.make();
  await machine.install({ dockerCredentialHelper: true });
  equal(await machine.uninstall(), 0);
  const files = (await machine.tree()).filter((path) => !path.endsWith("/"));
  deepEqual(files, [CONFIG]);
  machine.lines.length = 0;
  equal(await machine.uninstall(), 0);
  deepEqual(machine.lines, ["nothing is installed here", `kept: ${CONFIG} (--purge removes it)`]);
});

Deno.test("uninstall --purge: removes the configuration, but no other files", async () => {
  await using machine = await Machine.make();
  await machine.install();
  equal(await machine.uninstall(true), 0);
  equal((await machine.tree()).includes("/etc/nydus-auth-agent/"), false);
  await machine.install();
  await Deno.writeTextFile(`${machine.root}/etc/nydus-auth-agent/token`, "theirs");
  equal(await machine.uninstall(true), 0);
  equal(await machine.read("/etc/nydus-auth-agent/token"), "theirs");
  equal((await machine.tree()).includes(CONFIG), false);
});

Deno.test("uninstall: removes the binary below the prefix of the unit", async () => {
  await using machine = await Machine.make();
  await machine.install({ prefix: "/opt/agent", dockerCredentialHelper: true });
  equal(await machine.uninstall(), 0);
  const files = (await machine.tree()).filter((path) => !path.endsWith("/"));
  deepEqual(files, [CONFIG]);
});

Deno.test("uninstall --purge: removes the credentials that were kept for a restart", async () => {
  await using machine = await Machine.make();
  await machine.install();
  const folder = `${machine.root}/run/nydus-auth-agent`;
  const options = { prefix: "/usr/local", root: "", dryRun: false, purge: true };
  const purge = () => uninstall(options, onSystemd(machine));
  // The service removes its sockets when it stops.
  machine.answer = (call) => {
    if (call.startsWith("stop")) Deno.removeSync(`${folder}/api.sock`);
    return DONE;
  };
  const names = [
    "api.sock",
    "cri-pulls.json",
    `.cri-pulls.json.${crypto.randomUUID()}.tmp`,
    "theirs",
  ];
  await Deno.mkdir(folder, { recursive: true });
  for (const name of names) await Deno.writeTextFile(`${folder}/${name}`, "");
  equal(await purge(), 0);
  deepEqual((await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name), ["theirs"]);
  ok(machine.lines.includes("kept: /run/nydus-auth-agent (it contains other files)"));
  await Deno.remove(`${folder}/theirs`);
  equal(await purge(), 0);
  equal((await machine.tree()).includes("/run/nydus-auth-agent/"), false);
});

Deno.test("uninstall: keeps a foreign credential helper", async () => {
  await using machine = await Machine.make();
  await machine.install();
  const path = "/usr/local/bin/docker-credential-nydus-auth";
  await Deno.symlink("other", machine.root + path);
  equal(await machine.uninstall(), 0);
  ok((await machine.tree()).includes(`${path} -> other`));
  ok(machine.lines.includes(`kept: ${path} (not created by install)`));
});

Deno.test("uninstall: restores everything when a removal fails", async () => {
  await using machine = await Machine.make();
  await machine.install({ dockerCredentialHelper: true });
  const before = await machine.tree();
  const files = systemInstallFiles();
  machine.files = {
    ...files,
    remove: (path) => {
      if (path.endsWith(BINARY)) throw new AgentError("io", `remove ${path}: no permission`);
      return files.remove(path);
    },
  };
  equal(await machine.uninstall(true), 1);
  deepEqual(await machine.tree(), before);
  equal(await machine.read(BINARY), PROGRAM_BYTES);
});

Deno.test("uninstall: stops and disables the service first", async () => {
  await using machine = await Machine.make();
  await install(machine.options({ root: "" }), onSystemd(machine));
  const options = { prefix: "/usr/local", root: "", dryRun: false, purge: false };
  equal(await uninstall(options, onSystemd(machine)), 0);
  match(machine.calls.shift() ?? "", /cmdline/, "finds a running kubelet");
  deepEqual(machine.calls, [
    "is-active --quiet nydus-auth-agent.service",
    "is-enabled --quiet nydus-auth-agent.service",
    "stop nydus-auth-agent.service",
    "disable nydus-auth-agent.service",
    "daemon-reload",
  ]);
});

const KUBELET_CONFIG = "/etc/kubernetes/providers.yaml";
const PLUGIN_LINK = "/opt/plugins/nydus-credential-provider";
const KUBELET = {
  imageCredentialProviderConfig: KUBELET_CONFIG,
  imageCredentialProviderBinDir: "/opt/plugins/",
};
const PROVIDERS = `# Managed by the node team.
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
  # The cloud's registry.
  - name: ecr-credential-provider
    matchImages: ["*.dkr.ecr.*.amazonaws.com"]
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    defaultCacheDuration: 12h # as recommended
    args: [get, "yes", 0o17]
    env:
      - { name: ROLE, value: on }
`;
const OTHER = `  - name: other
    matchImages: [registry.example.com]
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    defaultCacheDuration: 0s
`;

/** A host with a kubelet that has a plugin. */
async function machineWithKubelet(providers = PROVIDERS): Promise<Machine> {
  const machine = await Machine.make();
  for (const folder of ["/etc/kubernetes", "/opt/plugins"]) {
    await Deno.mkdir(machine.root + folder, { recursive: true });
  }
  await Deno.writeTextFile(machine.root + KUBELET_CONFIG, providers, { mode: 0o640 });
  await Deno.writeTextFile(`${machine.root}/opt/plugins/ecr-credential-provider`, "#!/bin/sh\n");
  return machine;
}

Deno.test("install --kubelet-plugin: wraps the plugin, and uninstall restores its entry", async () => {
  await using machine = await machineWithKubelet();
  const before = await machine.tree();
  equal(await machine.install({ ...KUBELET, kubeletPlugin: true }), 0);
  const text = await machine.read(KUBELET_CONFIG);
  const expected = PROVIDERS.replace("- name: ecr-", "- name: nydus-").replace(
    '[get, "yes", 0o17]',
    '["/opt/plugins/ecr-credential-provider", "get", "yes", "15"]',
  );
  equal(text.replace(/\[\s+/g, "[").replace(/\s+\]/g, "]").replace(/ {2,}"/g, '"'), expected);
  equal(await machine.mode(KUBELET_CONFIG), 0o640);
  const backup = `${KUBELET_CONFIG}.before-nydus-auth-agent`;
  deepEqual([await machine.read(backup), await machine.mode(backup)], [PROVIDERS, 0o640]);
  ok((await machine.tree()).includes(`${PLUGIN_LINK} -> ${BINARY}`));
  ok(machine.lines.some((line) => line.includes("systemctl restart kubelet")));

  machine.lines.length = 0;
  equal(await machine.install({ ...KUBELET, kubeletPlugin: "ecr-credential-provider" }), 0);
  ok(machine.lines.every((line) => line.startsWith("unchanged: ")), machine.lines.join());

  equal(await machine.uninstall(true, KUBELET), 0);
  match(await machine.read(KUBELET_CONFIG), /# as recommended/);
  match(await machine.read(KUBELET_CONFIG), /- name: ecr-credential-provider/);
  doesNotMatch(await machine.read(KUBELET_CONFIG), /nydus|\/opt\/plugins/);
  const left = (await machine.tree()).filter((path) => !before.includes(path));
  deepEqual(left.filter((path) => !path.endsWith("/")), [backup]);
});

Deno.test("install --kubelet-plugin --dry-run: only prints the steps", async () => {
  await using machine = await machineWithKubelet();
  const before = await machine.tree();
  equal(await machine.install({ ...KUBELET, kubeletPlugin: true, dryRun: true }), 0);
  deepEqual([await machine.tree(), await machine.read(KUBELET_CONFIG)], [before, PROVIDERS]);
  const action = "would replace ecr-credential-provider by nydus-credential-provider in";
  ok(machine.lines.includes(`${action} ${KUBELET_CONFIG}`), machine.lines.join("\n"));
});

Deno.test("install --kubelet-plugin: changes one of several plugins, in a folder with JSON", async () => {
  await using machine = await machineWithKubelet("theirs");
  const folder = `${machine.root}/etc/kubernetes/providers.d`;
  await Deno.mkdir(folder);
  const [kind, apiVersion] = ["CredentialProviderConfig", "kubelet.config.k8s.io/v1"];
  const ecr = { name: "ecr-credential-provider", matchImages: ["a.example.com"] };
  const rest = { apiVersion: REQUEST_VERSION, defaultCacheDuration: "1h" };
  const config = { kind, apiVersion, providers: [{ ...ecr, ...rest }] };
  await Deno.writeTextFile(`${folder}/a.json`, JSON.stringify(config));
  await Deno.writeTextFile(`${folder}/b.yaml`, PROVIDERS.replace(/ {2}# The[^]*/, OTHER));
  await Deno.writeTextFile(`${folder}/readme`, "");
  const options = { ...KUBELET, imageCredentialProviderConfig: "/etc/kubernetes/providers.d" };
  equal(await machine.install({ ...options, kubeletPlugin: true }), 2);
  match(machine.errors[0] ?? "", /--kubelet-plugin: name one of these: ecr-cred[^,]*, other$/);
  equal(await machine.install({ ...options, kubeletPlugin: "ecr-credential-provider" }), 0);
  deepEqual(JSON.parse(await machine.read("/etc/kubernetes/providers.d/a.json")).providers, [{
    ...ecr,
    name: "nydus-credential-provider",
    ...rest,
    args: ["/opt/plugins/ecr-credential-provider"],
  }]);
  equal(await machine.uninstall(false, options), 0);
  deepEqual(JSON.parse(await machine.read("/etc/kubernetes/providers.d/a.json")), config);
});

const REQUEST_VERSION = "credentialprovider.kubelet.k8s.io/v1";

Deno.test("install --kubelet-plugin: finds the paths in the flags of the running kubelet", async () => {
  await using machine = await machineWithKubelet();
  const argv = [
    "7",
    "/usr/bin/kubelet",
    `--image-credential-provider-config=${KUBELET_CONFIG}`,
    "--image-credential-provider-bin-dir",
    "/opt/plugins",
  ];
  machine.answer = (call) =>
    call.includes("cmdline") ? { ...DONE, stdout: `${argv.join("\u0001")}\u0001\n` } : DONE;
  equal(await install(machine.options({ root: "", kubeletPlugin: true }), onSystemd(machine)), 0);
  match(await machine.read(KUBELET_CONFIG), /nydus-credential-provider/);
  const options = { prefix: "/usr/local", root: "", dryRun: false, purge: false };
  equal(await uninstall(options, onSystemd(machine)), 0);
  doesNotMatch(await machine.read(KUBELET_CONFIG), /nydus-credential-provider/);
});

Deno.test("install --kubelet-plugin: refuses wrong input, and changes nothing", async () => {
  const cases: [string, string, object, RegExp][] = [
    ["no kubelet", PROVIDERS, { imageCredentialProviderConfig: undefined }, /no kubelet with/],
    ["relative", PROVIDERS, { imageCredentialProviderBinDir: "opt" }, /opt: not an absolute path/],
    ["no file", PROVIDERS, { imageCredentialProviderConfig: "/etc/no" }, /no: it does not exist/],
    ["invalid", "providers: []\n  x", {}, /it is not YAML or JSON/],
    ["no such plugin", PROVIDERS, { kubeletPlugin: "gcr" }, /name one of these: ecr-cred/],
    ["not installed", PROVIDERS.replace("ecr-", "acr-"), {}, /acr-credential-provider: it does/],
    ["two documents", `${PROVIDERS}---\na: b\n`, {}, /cannot be changed one by one/],
    [
      "an alias",
      PROVIDERS.replace("[get,", "&a [get,").replace("env:", "env: []\n    x: *a\n    y:"),
      {},
      /cannot be changed/,
    ],
  ];
  for (const [name, text, more, expected] of cases) {
    await using machine = await machineWithKubelet(text);
    const before = await machine.tree();
    const options = { ...KUBELET, kubeletPlugin: true as const, ...more };
    equal(await machine.install(options), 2, name);
    match(machine.errors[0] ?? "", expected, name);
    deepEqual([await machine.tree(), await machine.read(KUBELET_CONFIG)], [before, text], name);
  }
});

Deno.test("install --kubelet-plugin: keeps a foreign link, and undoes everything after a failure", async () => {
  await using machine = await machineWithKubelet();
  await Deno.symlink("theirs", machine.root + PLUGIN_LINK);
  equal(await machine.install({ ...KUBELET, kubeletPlugin: true }), 1);
  match(machine.errors[0] ?? "", /nydus-credential-provider: another file exists there/);
  equal(await machine.uninstall(false, KUBELET), 0);
  ok((await machine.tree()).includes(`${PLUGIN_LINK} -> theirs`));
  await Deno.remove(machine.root + PLUGIN_LINK);
  const before = await machine.tree();
  const files = systemInstallFiles();
  machine.files = {
    ...files,
    writeText(path, text, mode) {
      if (path.endsWith(KUBELET_CONFIG)) throw new AgentError("io", "no space left");
      return files.writeText(path, text, mode);
    },
  };
  equal(await machine.install({ ...KUBELET, kubeletPlugin: true }), 1);
  deepEqual([await machine.tree(), await machine.read(KUBELET_CONFIG)], [before, PROVIDERS]);
});

Deno.test("uninstall: keeps an entry for the agent that install did not write", async () => {
  await using machine = await machineWithKubelet();
  await machine.install({ ...KUBELET, kubeletPlugin: true });
  const text = (await machine.read(KUBELET_CONFIG)).replace("/opt/plugins/ecr", "/usr/bin/ecr");
  await Deno.writeTextFile(machine.root + KUBELET_CONFIG, text);
  equal(await machine.uninstall(false, KUBELET), 0);
  equal(await machine.read(KUBELET_CONFIG), text);
  match(machine.errors.join(), /remove the entry nydus-credential-provider, which install did not/);
});
