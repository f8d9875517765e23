import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { join } from "node:path";
import {
  PLUGIN_SCRIPT,
  pluginSettingsText,
  type SimPluginSettings,
} from "../../../lib/simulator/node_files.ts";

const SETTINGS: SimPluginSettings = {
  mode: "issue",
  lifetimeMs: 60_000,
  cacheDuration: "30s",
  cacheKeyType: "Registry",
  shape: "opaque",
  pattern: "127.0.0.1:5000",
};

interface Execution {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the script like the kubelet, but with an empty environment. */
async function execute(folder: string, image: string): Promise<Execution> {
  const child = new Deno.Command(join(folder, "plugin"), {
    clearEnv: true,
    env: { PATH: "" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const request = {
    kind: "CredentialProviderRequest",
    apiVersion: "credentialprovider.kubelet.k8s.io/v1",
    image,
  };
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(request)));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

async function inFolder(
  settings: Partial<SimPluginSettings>,
  test: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(folder, "plugin"), PLUGIN_SCRIPT, { mode: 0o755 });
    const text = pluginSettingsText({ ...SETTINGS, ...settings });
    await Deno.writeTextFile(join(folder, "settings"), text);
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function lines(folder: string, name: string): Promise<string[]> {
  return (await Deno.readTextFile(join(folder, name))).trimEnd().split("\n");
}

const IMAGE = "127.0.0.1:5000/team/app:v1";

Deno.test("PLUGIN_SCRIPT: implements the protocol with an empty PATH", async () => {
  await inFolder({}, async (folder) => {
    const { code, stdout, stderr } = await execute(folder, IMAGE);
    deepEqual([code, stderr], [0, ""]);
    const { auth, ...rest } = JSON.parse(stdout);
    deepEqual(rest, {
      kind: "CredentialProviderResponse",
      apiVersion: "credentialprovider.kubelet.k8s.io/v1",
      cacheKeyType: "Registry",
      cacheDuration: "30s",
    });
    deepEqual(Object.keys(auth), ["127.0.0.1:5000"]);
    equal(auth["127.0.0.1:5000"].username, "token");
  });
});

Deno.test("PLUGIN_SCRIPT: records every execution and issues a new token", async () => {
  await inFolder({}, async (folder) => {
    const first = JSON.parse((await execute(folder, IMAGE)).stdout);
    const second = JSON.parse((await execute(folder, "127.0.0.1:5000/b")).stdout);
    notEqual(first.auth[SETTINGS.pattern].password, second.auth[SETTINGS.pattern].password);
    deepEqual(await lines(folder, "executions"), [IMAGE, "127.0.0.1:5000/b"]);
    deepEqual((await lines(folder, "issued")).map((line) => line.split(" ")[1]), [
      first.auth[SETTINGS.pattern].password,
      second.auth[SETTINGS.pattern].password,
    ]);
  });
});

Deno.test("PLUGIN_SCRIPT: issues tokens with the configured lifetime", async () => {
  await inFolder({ lifetimeMs: 60_000 }, async (folder) => {
    const before = Date.now();
    await execute(folder, IMAGE);
    const after = Date.now();
    const end = Number((await lines(folder, "issued"))[0]?.split(" ")[0]);
    ok(end >= before + 60_000 && end <= after + 60_000, `${end} is not a minute after ${before}`);
  });
});

Deno.test("PLUGIN_SCRIPT: an ECR token contains its expiry in Unix seconds", async () => {
  await inFolder({ shape: "ecr" }, async (folder) => {
    const { stdout } = await execute(folder, IMAGE);
    const { password } = JSON.parse(stdout).auth[SETTINGS.pattern];
    const token = JSON.parse(new TextDecoder().decode(Uint8Array.fromBase64(password)));
    const end = Number((await lines(folder, "issued"))[0]?.split(" ")[0]);
    equal(token.expiration, Math.floor(end / 1000));
  });
});

Deno.test("PLUGIN_SCRIPT: omits an empty cacheDuration", async () => {
  await inFolder({ cacheDuration: "" }, async (folder) => {
    equal("cacheDuration" in JSON.parse((await execute(folder, IMAGE)).stdout), false);
  });
});

Deno.test("PLUGIN_SCRIPT: mode none prints a null auth and issues nothing", async () => {
  await inFolder({ mode: "none" }, async (folder) => {
    equal(JSON.parse((await execute(folder, IMAGE)).stdout).auth, null);
    deepEqual(await lines(folder, "executions"), [IMAGE]);
    equal(await Deno.stat(join(folder, "issued")).catch(() => "none"), "none");
  });
});

Deno.test("PLUGIN_SCRIPT: mode fail exits with 1, mode garbage prints no JSON", async () => {
  await inFolder({ mode: "fail" }, async (folder) => {
    const { code, stdout, stderr } = await execute(folder, IMAGE);
    deepEqual([code, stdout], [1, ""]);
    match(stderr, /token service/);
  });
  await inFolder({ mode: "garbage" }, async (folder) => {
    const { code, stdout } = await execute(folder, IMAGE);
    equal(code, 0);
    match(stdout, /^not JSON/);
  });
});
