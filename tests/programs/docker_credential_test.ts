/**
 * Tests the docker credential helper protocol with Debian's programs: skopeo calls our helper, and the
 * agent calls docker-credential-pass.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { AgentProcess, PROGRAM, simNode } from "../e2e/stage.ts";
import { PASSWORD, pushImage, startRegistry, USER } from "./containerd_stage.ts";

const PATH = Deno.env.get("PATH") ?? "";

function isInstalled(...programs: readonly string[]): boolean {
  return programs.every((name) =>
    PATH.split(":").some((folder) => {
      try {
        return Deno.statSync(join(folder, name)).isFile;
      } catch {
        return false;
      }
    })
  );
}

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(
  [path = "", ...args]: readonly string[],
  env: Readonly<Record<string, string>>,
  input = "",
): Promise<Ran> {
  const child = new Deno.Command(path, {
    args,
    env,
    clearEnv: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input)).catch(() => {});
  await writer.close().catch(() => {});
  const { code, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

/** Sets up a plugin that issues a given password, and the helper under its own name. */
async function helperStage(dir: string, host: string) {
  const bin = join(dir, "bin");
  await Deno.mkdir(bin);
  const [program = "", ...words] = PROGRAM;
  const helper = join(bin, "docker-credential-nydus-auth");
  // The binary recognizes the name of the link.
  if (words.length === 0) await Deno.symlink(program, helper);
  else {
    const quoted = [program, ...words].map((word) => `'${word}'`).join(" ");
    await Deno.writeTextFile(helper, `#!/bin/sh\nexec ${quoted} docker-credential "$@"\n`);
    await Deno.chmod(helper, 0o755);
  }
  const issue = async (password: string) => {
    const auth = { [host]: { username: USER, password } };
    const kind = "CredentialProviderResponse";
    const apiVersion = "credentialprovider.kubelet.k8s.io/v1";
    const answer = { kind, apiVersion, cacheKeyType: "Registry", cacheDuration: "1h", auth };
    const text = `#!/bin/sh\ncat >/dev/null\ncat <<'END'\n${JSON.stringify(answer)}\nEND\n`;
    await Deno.writeTextFile(join(bin, "issuer"), text);
    await Deno.chmod(join(bin, "issuer"), 0o755);
  };
  const providers = join(dir, "providers.yaml");
  await Deno.writeTextFile(
    providers,
    JSON.stringify({
      apiVersion: "kubelet.config.k8s.io/v1",
      kind: "CredentialProviderConfig",
      providers: [{
        name: "issuer",
        matchImages: [host],
        defaultCacheDuration: "1h",
        apiVersion: "credentialprovider.kubelet.k8s.io/v1",
      }],
    }),
  );
  const authFile = join(dir, "auth.json");
  await Deno.writeTextFile(authFile, JSON.stringify({ credHelpers: { [host]: "nydus-auth" } }));
  const { HOME = "/root", DENO_DIR = join(HOME, ".cache", "deno") } = Deno.env.toObject();
  const plugins = {
    NYDUS_AUTH_AGENT_PROVIDERS_KUBELET_CONFIG: providers,
    NYDUS_AUTH_AGENT_PROVIDERS_KUBELET_BIN_DIR: bin,
    NYDUS_AUTH_AGENT_PROVIDERS_KUBELET_ENABLED: "true",
  };
  const socket = { NYDUS_AUTH_AGENT_API_SOCKET: join(dir, "api.sock") };
  const alone = { PATH: `${bin}:${PATH}`, HOME, DENO_DIR, ...socket };
  const env = { ...alone, ...plugins };
  const skopeoWith = (env: Readonly<Record<string, string>>) => (...words: readonly string[]) =>
    run(["skopeo", "--insecure-policy", ...words, "--authfile", authFile], env);
  return { env, issue, skopeo: skopeoWith(env), skopeoAlone: skopeoWith(alone), plugins, helper };
}

/** Inspects an image and copies it into a folder; returns the first failure, or the last result. */
async function inspectAndCopy(
  skopeo: (...words: readonly string[]) => Promise<Ran>,
  image: string,
  folder: string,
): Promise<Ran> {
  const inspected = await skopeo("inspect", "--tls-verify=false", `docker://${image}`);
  if (inspected.code !== 0) return inspected;
  equal(JSON.parse(inspected.out).Name, image.replace(/:[^:/]+$/, ""));
  const source = ["--src-tls-verify=false", `docker://${image}`];
  const copied = await skopeo("copy", ...source, `dir:${folder}`);
  if (copied.code === 0) ok((await Deno.stat(join(folder, "manifest.json"))).isFile);
  return copied;
}

Deno.test({
  name: "docker-credential: serves skopeo when a plugin issues the token",
  ignore: !isInstalled("skopeo", "docker-registry", "htpasswd"),
  async fn() {
    const dir = await Deno.makeTempDir({ prefix: "skopeo-" });
    await using stack = new AsyncDisposableStack();
    stack.defer(() => Deno.remove(dir, { recursive: true }));
    const { host, service } = await startRegistry(dir);
    stack.use(service);
    const image = await pushImage(host, "team/app");
    const { issue, skopeo, env, helper } = await helperStage(dir, host);

    await issue("wrong");
    const refused = await inspectAndCopy(skopeo, image, `${dir}/out`);
    ok(refused.code !== 0);
    match(refused.err, /unauthorized|authentication required/);

    await issue(PASSWORD);
    const done = await inspectAndCopy(skopeo, image, `${dir}/out`);
    equal(done.code, 0, done.err);

    const known = await run([helper, "get"], env, `${host}\n`);
    deepEqual(JSON.parse(known.out), { ServerURL: host, Username: USER, Secret: PASSWORD });
    const unknown = await run([helper, "get"], env, "unknown.example.com\n");
    deepEqual([unknown.code, unknown.out], [1, "credentials not found in native keychain\n"]);
  },
});

Deno.test({
  name: "docker-credential: serves skopeo when only the running agent has a plugin",
  ignore: !isInstalled("skopeo", "docker-registry", "htpasswd"),
  async fn() {
    const dir = await Deno.makeTempDir({ prefix: "skopeo-" });
    await using stack = new AsyncDisposableStack();
    stack.defer(() => Deno.remove(dir, { recursive: true }));
    const { host, service } = await startRegistry(dir);
    stack.use(service);
    const image = await pushImage(host, "team/app");
    const { issue, skopeoAlone, plugins } = await helperStage(dir, host);
    await issue(PASSWORD);
    const without = await inspectAndCopy(skopeoAlone, image, `${dir}/out`);
    ok(without.code !== 0, "the helper must not have a plugin of its own");
    await using node = simNode();
    await using agent = await AgentProcess.start(node, { env: { ...plugins, PATH } });
    await Deno.symlink(join(node.dir, "api.sock"), join(dir, "api.sock"));
    const done = await inspectAndCopy(skopeoAlone, image, `${dir}/out`);
    equal(done.code, 0, done.err);
    ok(!agent.log.includes(PASSWORD));
  },
});

Deno.test({
  name: "docker-credential: serves skopeo when the credential was stored in the running agent",
  ignore: !isInstalled("skopeo", "docker-registry", "htpasswd"),
  async fn() {
    const dir = await Deno.makeTempDir({ prefix: "skopeo-" });
    await using stack = new AsyncDisposableStack();
    stack.defer(() => Deno.remove(dir, { recursive: true }));
    const { host, service } = await startRegistry(dir);
    stack.use(service);
    const image = await pushImage(host, "team/app");
    const { issue, skopeo, env, helper } = await helperStage(dir, host);
    await issue("wrong");
    await using node = simNode();
    await using agent = await AgentProcess.start(node);
    const agentEnv = { ...env, NYDUS_AUTH_AGENT_API_SOCKET: join(node.dir, "api.sock") };
    const stored = JSON.stringify({ ServerURL: host, Username: USER, Secret: PASSWORD });
    const store = await run([helper, "store"], agentEnv, stored);
    deepEqual([store.code, store.out], [0, ""]);
    const list = await run([helper, "list"], agentEnv);
    deepEqual(JSON.parse(list.out), { [host]: USER });
    await Deno.symlink(join(node.dir, "api.sock"), join(dir, "api.sock"));
    const inspected = await skopeo("inspect", "--tls-verify=false", `docker://${image}`);
    equal(inspected.code, 0, inspected.err);
    const erase = await run([helper, "erase"], agentEnv, host);
    deepEqual([erase.code, erase.out], [0, ""]);
    deepEqual(JSON.parse((await run([helper, "list"], agentEnv)).out), {});
    for (const [wrong, words] of [["{}", "no credentials server URL"], ["no json", "not JSON"]]) {
      const answer = await run([helper, "store"], agentEnv, wrong);
      equal(answer.code, 1);
      match(answer.out, new RegExp(words ?? ""));
    }
    ok(!agent.log.includes(PASSWORD));
  },
});

Deno.test({
  name: "Docker provider: delivers a credential when docker-credential-pass stores it",
  ignore: !isInstalled("docker-credential-pass", "pass", "gpg"),
  async fn() {
    const dir = await Deno.makeTempDir({ prefix: "pass-" });
    const env = {
      PATH,
      HOME: dir,
      GNUPGHOME: join(dir, "gnupg"),
      PASSWORD_STORE_DIR: join(dir, "store"),
    };
    await Deno.mkdir(env.GNUPGHOME, { mode: 0o700 });
    await using stack = new AsyncDisposableStack();
    stack.defer(async () => {
      await run(["gpgconf", "--kill", "all"], env);
      await Deno.remove(dir, { recursive: true });
    });
    const done = async (words: readonly string[], input = "") => {
      const { code, out, err } = await run(words, env, input);
      equal(code, 0, `${words.join(" ")}: ${out}${err}`);
    };
    const batch = ["gpg", "--batch", "--passphrase", "", "--quick-generate-key"];
    await done([...batch, "agent@example.com", "default", "default", "never"]);
    await done(["pass", "init", "agent@example.com"]);
    await using node = simNode();
    const { host } = node.passwordRegistry;
    const keep = (password: string) =>
      done(
        ["docker-credential-pass", "store"],
        JSON.stringify({ ServerURL: host, Username: "robot", Secret: password }),
      );
    await keep("kept:by-pass");
    node.passwordRegistry.accept("robot", "kept:by-pass");
    await Deno.writeTextFile(node.dockerConfigPath, JSON.stringify({ credsStore: "pass" }));
    const image = `${host}/shop/app:1`;
    const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
    await using agent = await AgentProcess.start(node, {
      env,
      renewal: 'check_interval = "500ms"\nrefresh_interval = "1s"',
    });
    const currentAuth = () => daemon.currentAuth(daemon.instances[0]?.mountId ?? "");
    await agent.until(
      "the credential of pass",
      async () => await currentAuth() === "robot:kept:by-pass",
    );
    node.passwordRegistry.accept("robot", "changed");
    await keep("changed");
    await agent.until(
      "the changed credential of pass",
      async () => await currentAuth() === "robot:changed",
    );
  },
});
