import { deepEqual, doesNotMatch, equal, match, ok, rejects } from "node:assert/strict";
import { ASSETS } from "../../../lib/assets/mod.ts";
import {
  install,
  type InstallOptions,
  uninstall,
  type UninstallOptions,
} from "../../../lib/cli/install.ts";
import { type Context, systemFiles } from "../../../lib/platform/mod.ts";
import { runProgram } from "../../../lib/cli/mod.ts";
import { AgentError } from "../../../lib/model/mod.ts";
import { FakeHost } from "../../fakes/host.ts";
import { exited, FakeProcessRunner } from "../../fakes/process.ts";
import { testInOwnProcess } from "../../fakes/own_process.ts";

const PROGRAM_BYTES = "#!/bin/sh\nexit 0\n";

/** A host in a temporary folder, with a program to install and a systemctl that succeeds. */
class Machine implements AsyncDisposable {
  readonly root: string;
  readonly source: string;
  readonly host: FakeHost;
  readonly systemctl = new FakeProcessRunner(() => "");

  constructor(folder: string) {
    this.root = `${folder}/root`;
    this.source = `${folder}/program`;
    this.host = Object.assign(new FakeHost(), { execPath: this.source, user: Deno.uid() ?? 0 });
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

  get context(): Context {
    const { host, systemctl: processRunner } = this;
    return { host, files: systemFiles, processRunner } as unknown as Context;
  }

  install(more: Partial<InstallOptions> = {}): Promise<number> {
    const options = { prefix: "/usr/local", root: this.root, dryRun: false, now: false };
    const textOf = (name: string) =>
      name in ASSETS ? ASSETS[name as keyof typeof ASSETS].text : name;
    return install(this.context, { dockerCredentialHelper: false, ...options, ...more }, textOf);
  }

  uninstall(more: Partial<UninstallOptions> = {}): Promise<number> {
    const options = { prefix: "/usr/local", root: this.root, dryRun: false, purge: false };
    return uninstall(this.context, { ...options, ...more });
  }

  /** Asserts that an installation is rejected with this problem, and changes nothing. */
  async rejects(problem: RegExp, more: Partial<InstallOptions> = {}): Promise<void> {
    const before = await this.tree();
    await rejects(this.install(more), (error) => {
      ok(error instanceof AgentError && error.code === "usage", String(error));
      match(error.message, problem);
      return true;
    });
    deepEqual(await this.tree(), before);
  }

  /** Returns the printed lines, and forgets them. */
  lines(): string[] {
    const { written } = this.host;
    this.host.written = "";
    return written.replaceAll(this.root, "").split("\n").slice(0, -1);
  }

  calls(): string[] {
    return this.systemctl.requests.splice(0).map(({ args }) => args.join(" "));
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
  equal(await machine.read(CONFIG), ASSETS["config.toml"].text);
  equal(await machine.read(UNIT), ASSETS["nydus-auth-agent.service"].text);
  equal(await machine.read(TMPFILES), ASSETS["nydus-auth-agent.tmpfiles.conf"].text);
  equal(await machine.read(MANUAL), "nydus-auth-agent.1");
  equal(await machine.mode(BINARY), 0o755);
  equal(await machine.mode(CONFIG), 0o600);
  equal(await machine.mode(UNIT), 0o644);
  equal(await machine.mode("/etc/nydus-auth-agent"), 0o755);
  const lines = machine.lines();
  for (const path of [BINARY, CONFIG, UNIT, TMPFILES]) ok(lines.includes(`write ${path}`), path);
  deepEqual(machine.calls(), []);
});

Deno.test("install: changes nothing the second time", async () => {
  await using machine = await Machine.make();
  await machine.install({ dockerCredentialHelper: true });
  const before = (await Deno.stat(machine.root + BINARY)).ino;
  machine.lines();
  equal(await machine.install({ dockerCredentialHelper: true }), 0);
  const lines = machine.lines();
  equal(lines.length, 9);
  for (const line of lines) match(line, /^unchanged: /);
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
  const lines = machine.lines();
  ok(lines.length > 4);
  for (const line of lines) match(line, /^would /);
});

const UMASK_NAME = "install: creates folders that every user can enter, with any umask";
testInOwnProcess(import.meta.url, UMASK_NAME, async () => {
  await using machine = await Machine.make();
  Deno.umask(0o077);
  await machine.install();
  for (const path of ["/etc", "/usr/local/share/man", BINARY]) {
    equal(await machine.mode(path), 0o755, path);
  }
});

Deno.test("install: keeps an existing configuration", async () => {
  await using machine = await Machine.make();
  await Deno.mkdir(`${machine.root}/etc/nydus-auth-agent`, { recursive: true });
  await Deno.writeTextFile(machine.root + CONFIG, "broken = [");
  equal(await machine.install(), 0);
  equal(await machine.read(CONFIG), "broken = [");
  ok(machine.lines().includes(`unchanged: ${CONFIG}`));
});

Deno.test("install: replaces files that differ, and only those", async () => {
  await using machine = await Machine.make();
  await machine.install();
  await Deno.writeTextFile(machine.root + BINARY, "old program");
  await Deno.writeTextFile(machine.root + UNIT, "old unit");
  machine.lines();
  equal(await machine.install(), 0);
  const written = machine.lines().filter((line) => !line.startsWith("unchanged: "));
  deepEqual(written, [`write ${BINARY}`, `write ${UNIT}`]);
  equal(await machine.read(BINARY), PROGRAM_BYTES);
  equal(await machine.read(UNIT), ASSETS["nydus-auth-agent.service"].text);
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
  Object.assign(machine.host, { standalone: false });
  await machine.rejects(/only the compiled binary can be installed/);
});

Deno.test("install, uninstall: reject a user other than root, except for another root folder", async () => {
  await using machine = await Machine.make();
  machine.host.user = 4711;
  await machine.rejects(/run it with sudo/, { root: "" });
  await rejects(machine.uninstall({ root: "" }), /run it with sudo/);
  equal(await machine.install({ root: "", dryRun: true }), 0);
});

Deno.test("install, uninstall: reject a host where a package owns the program", async () => {
  await using machine = await Machine.make();
  const unit = "/usr/lib/systemd/system/nydus-auth-agent.service";
  await Deno.mkdir(`${machine.root}/usr/lib/systemd/system`, { recursive: true });
  await Deno.writeTextFile(machine.root + unit, "");
  const problem = /\/nydus-auth-agent\.service: belongs to the package nydus-auth-agent \(use apt/;
  await machine.rejects(problem);
  const before = await machine.tree();
  await rejects(machine.uninstall({ purge: true }), problem);
  deepEqual(await machine.tree(), before);
});

Deno.test("install: rejects invalid folders", async () => {
  await using machine = await Machine.make();
  for (const prefix of ["usr/local", "", "/usr local", "/a\nExecStartPre=/bin/x", "/%h"]) {
    await machine.rejects(/^--prefix .*: not an absolute path/s, { prefix });
  }
  await machine.rejects(/^--root root: not an absolute path/, { root: "root" });
});

Deno.test("install --now: is not possible for another root folder", async () => {
  const host = Object.assign(new FakeHost(), { args: ["install", "--now", "--root", "/mnt"] });
  equal(await runProgram({ host } as unknown as Context), 2);
  match(host.complained, /^error: option '--now' cannot be used with option '--root <folder>'/);
});

Deno.test("install: keeps a foreign credential helper", async () => {
  await using machine = await Machine.make();
  const path = "/usr/local/bin/docker-credential-nydus-auth";
  await Deno.mkdir(`${machine.root}/usr/local/bin`, { recursive: true });
  await Deno.writeTextFile(machine.root + path, "theirs");
  await rejects(machine.install({ dockerCredentialHelper: true }), /not a symbolic link/);
  equal(await machine.read(path), "theirs");
});

Deno.test("install: reports the path of a folder that cannot be created", async () => {
  await using machine = await Machine.make();
  // Not even root can create a folder there.
  await rejects(machine.install({ root: "/proc/self" }), {
    message: /^failed to create folder \/proc\/self\/usr: [^\n]+$/,
  });
});

const START = [
  "daemon-reload",
  "enable nydus-auth-agent.service",
  "restart nydus-auth-agent.service",
];

Deno.test("install --now: enables and restarts the service, also when no file changed", async () => {
  await using machine = await Machine.make();
  for (let times = 0; times < 2; times++) {
    equal(await machine.install({ now: true }), 0);
    deepEqual(machine.calls(), START);
    deepEqual(machine.lines().slice(-3), START.map((call) => `run systemctl ${call}`));
  }
});

Deno.test("install --now: reports why the service does not start", async () => {
  await using machine = await Machine.make();
  machine.systemctl.answer = ({ args }) =>
    args[0] === "restart" ? { ...exited("", 1), stderr: "Job failed.\nmore" } : "";
  await rejects(machine.install({ now: true }), {
    message: "failed to run systemctl restart nydus-auth-agent.service: it exited with code 1: " +
      "Job failed.; see journalctl -u nydus-auth-agent",
  });
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
  for (const [, share] of cases) {
    await using machine = await Machine.make();
    await Deno.mkdir(`${machine.root}/usr/local/bin`, { recursive: true });
    await share(machine.root);
    await machine.rejects(/other users can write to it \(chmod go-w \//);
  }
});

Deno.test({
  name: "install: rejects a folder that belongs to another user (needs root)",
  ignore: Deno.uid() !== 0,
  async fn() {
    await using machine = await Machine.make();
    await Deno.mkdir(`${machine.root}/usr/local`, { recursive: true });
    await Deno.chown(`${machine.root}/usr/local`, 4711, 4711);
    await machine.rejects(/\/usr\/local: it belongs to user 4711 \(chown root /);
  },
});

Deno.test("uninstall: removes what install created, and keeps the configuration", async () => {
  await using machine = await Machine.make();
  await machine.install({ dockerCredentialHelper: true });
  equal(await machine.uninstall(), 0);
  const files = (await machine.tree()).filter((path) => !path.endsWith("/"));
  deepEqual(files, [CONFIG]);
  machine.lines();
  equal(await machine.uninstall(), 0);
  deepEqual(machine.lines(), ["nothing is installed here", `kept: ${CONFIG} (--purge removes it)`]);
});

Deno.test("uninstall --purge: removes the configuration, but no other files", async () => {
  await using machine = await Machine.make();
  await machine.install();
  equal(await machine.uninstall({ purge: true }), 0);
  equal((await machine.tree()).includes("/etc/nydus-auth-agent/"), false);
  await machine.install();
  await Deno.writeTextFile(`${machine.root}/etc/nydus-auth-agent/token`, "theirs");
  equal(await machine.uninstall({ purge: true }), 0);
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
  const names = [
    "api.sock",
    "cri-pulls.json",
    `.cri-pulls.json.${crypto.randomUUID()}.tmp`,
    "theirs",
  ];
  await Deno.mkdir(folder, { recursive: true });
  for (const name of names) await Deno.writeTextFile(`${folder}/${name}`, "");
  equal(await machine.uninstall({ purge: true }), 0);
  deepEqual((await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name), ["theirs"]);
  ok(machine.lines().includes("kept: /run/nydus-auth-agent (it contains other files)"));
  await Deno.remove(`${folder}/theirs`);
  equal(await machine.uninstall({ purge: true }), 0);
  equal((await machine.tree()).includes("/run/nydus-auth-agent/"), false);
});

Deno.test("uninstall: keeps a foreign credential helper", async () => {
  await using machine = await Machine.make();
  await machine.install();
  const path = "/usr/local/bin/docker-credential-nydus-auth";
  await Deno.symlink("other", machine.root + path);
  equal(await machine.uninstall(), 0);
  ok((await machine.tree()).includes(`${path} -> other`));
});

Deno.test("uninstall: stops and disables the service first", async () => {
  await using machine = await Machine.make();
  await machine.install();
  await machine.uninstall({ dryRun: true });
  deepEqual(machine.calls(), [], "systemd does not run here");
  await Deno.mkdir(`${machine.root}/run/systemd/system`, { recursive: true });
  machine.lines();
  equal(await machine.uninstall(), 0);
  deepEqual(machine.calls(), ["disable --now nydus-auth-agent.service", "daemon-reload"]);
  const lines = machine.lines();
  equal(lines[0], "run systemctl disable --now nydus-auth-agent.service");
  equal(lines.at(-2), "run systemctl daemon-reload");
});

Deno.test("uninstall: mentions the link that a kubelet may use", async () => {
  await using machine = await Machine.make();
  await machine.install();
  await Deno.mkdir(`${machine.root}/run/nydus-auth-agent-cri`, { recursive: true });
  await Deno.symlink("/absent", `${machine.root}/run/nydus-auth-agent-cri/image.sock`);
  await machine.uninstall();
  match(machine.lines().join("\n"), /note: .*image\.sock disappears at the next boot/);
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
  match(machine.lines().join(), /systemctl restart kubelet/);

  equal(await machine.install({ ...KUBELET, kubeletPlugin: "ecr-credential-provider" }), 0);
  for (const line of machine.lines()) match(line, /^unchanged: /);

  equal(await machine.uninstall({ ...KUBELET, purge: true }), 0);
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
  ok(machine.lines().includes(`${action} ${KUBELET_CONFIG}`));
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
  const several = /^--kubelet-plugin: name one of these: ecr-credential-provider, other$/;
  await machine.rejects(several, { ...options, kubeletPlugin: true });
  equal(await machine.install({ ...options, kubeletPlugin: "ecr-credential-provider" }), 0);
  deepEqual(JSON.parse(await machine.read("/etc/kubernetes/providers.d/a.json")).providers, [{
    ...ecr,
    name: "nydus-credential-provider",
    ...rest,
    args: ["/opt/plugins/ecr-credential-provider"],
  }]);
  equal(await machine.uninstall(options), 0);
  deepEqual(JSON.parse(await machine.read("/etc/kubernetes/providers.d/a.json")), config);
});

const REQUEST_VERSION = "credentialprovider.kubelet.k8s.io/v1";

Deno.test("install --kubelet-plugin: finds the paths in the flags of the running kubelet", async () => {
  await using machine = await machineWithKubelet();
  const argv = [
    "/usr/bin/kubelet",
    `--image-credential-provider-config=${machine.root}${KUBELET_CONFIG}`,
    "--image-credential-provider-bin-dir",
    `${machine.root}/opt/plugins`,
  ];
  machine.systemctl.answer = () => `7\u0001${argv.join("\u0001")}\u0001\n`;
  equal(await machine.install({ root: "", dryRun: true, kubeletPlugin: true }), 0);
  ok(machine.lines().includes(`would link ${PLUGIN_LINK} to ${BINARY}`));
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
    await machine.rejects(expected, { ...KUBELET, kubeletPlugin: true, ...more });
    equal(await machine.read(KUBELET_CONFIG), text, name);
  }
});

Deno.test("install --kubelet-plugin: keeps a foreign file and the configuration", async () => {
  await using machine = await machineWithKubelet();
  await Deno.writeTextFile(machine.root + PLUGIN_LINK, "theirs");
  const installed = machine.install({ ...KUBELET, kubeletPlugin: true });
  await rejects(installed, /not a symbolic link/);
  equal(await machine.uninstall(KUBELET), 0);
  equal(await machine.read(PLUGIN_LINK), "theirs");
  equal(await machine.read(KUBELET_CONFIG), PROVIDERS);
});

Deno.test("uninstall: keeps an entry for the agent that install did not write", async () => {
  await using machine = await machineWithKubelet();
  await machine.install({ ...KUBELET, kubeletPlugin: true });
  const text = (await machine.read(KUBELET_CONFIG)).replace("/opt/plugins/ecr", "/usr/bin/ecr");
  await Deno.writeTextFile(machine.root + KUBELET_CONFIG, text);
  equal(await machine.uninstall(KUBELET), 0);
  equal(await machine.read(KUBELET_CONFIG), text);
  match(
    machine.host.complained,
    /remove the entry nydus-credential-provider, which install did not/,
  );
});
