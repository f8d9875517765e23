/**
 * Every parser of external input. Add new ones here.
 *
 * @module
 */
import { loadConfig } from "../../lib/config/mod.ts";
import { redactText } from "../../lib/observability/redact.ts";
import { createNydusdApi, createSnapshotterApi } from "../../lib/platform/mod.ts";
import { inUseDelayMs } from "../../lib/delivery/mod.ts";
import { rewriteConfigText } from "../../lib/delivery/deliverer.ts";
import { mirrorsOf } from "../../lib/discovery/approved_hosts.ts";
import { listedBySystemApi, listRootFolder } from "../../lib/discovery/listed.ts";
import {
  decodeRegistryAuth,
  hostOf,
  ImagePattern,
  parseDurationMs,
  parseImageReference,
  parseImageTarget,
  printable,
  readBackendOfFile,
  repositoryReference,
  Secret,
  tokenExpiryOf,
  type UnixHttp,
} from "../../lib/model/mod.ts";
import { isAllowedHost } from "../../lib/observability/app.ts";
import { credentialsOf, findAuth, parseDockerConfig } from "../../lib/providers/mod.ts";
import { readPluginResponse } from "../../lib/providers/mod.ts";
import { readProviderConfig } from "../../lib/providers/exec_plugin/provider_config.ts";
import { readHelperResult } from "../../lib/providers/docker/docker_provider.ts";
import { readGoYaml } from "../../lib/formats/go_yaml.ts";
import { ExecAuthenticator } from "../../lib/providers/kubernetes/connection.ts";
import { readKubeconfig } from "../../lib/providers/kubernetes/kubeconfig.ts";
import { readPod } from "../../lib/providers/kubernetes/node_pods.ts";
import { readPullSecret } from "../../lib/providers/kubernetes/secret_provider.ts";
import { parseChallenges, readTokenResponse } from "../../lib/verification/probe.ts";
import { registryOfKey } from "../../lib/providers/docker/docker_config.ts";
import { registryOf } from "../../lib/cri/cri_messages.ts";
import { PullCredentialCache } from "../../lib/cri/mod.ts";
import { outcomeOf } from "../../lib/cri/reader.ts";
import { FakeClock } from "../fakes/clock.ts";
import { FakeFiles } from "../fakes/files.ts";
import { exited, FakeProcessRunner } from "../fakes/process.ts";

/** A parser; `refuses` if it may throw an `AgentError`, otherwise it must not throw. */
export interface TextParser {
  readonly name: string;
  readonly refuses: boolean;
  readonly parse: (text: string) => unknown;
}

const BASIC = { kind: "basic", username: "u", password: new Secret("p") } as const;

function json(text: string): Record<string, unknown> {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
  } catch {
    return { metadata: { name: text }, data: { ".dockerconfigjson": btoa("{}") } };
  }
}

/** An HTTP client that always returns the same response. */
function answering(text: string, status = 200): UnixHttp {
  const body = new Secret(text);
  return {
    request: () => Promise.resolve({ kind: "answered", status, body }),
    [Symbol.dispose]: () => {},
  };
}

async function rootFolder(text: string): Promise<unknown> {
  const files = new FakeFiles();
  files.set("/data/socket/d1/api.sock", "", "socket");
  files.set("/data/config/d1/config.json", text);
  return await listRootFolder("/data", files);
}

async function execCredential(text: string): Promise<unknown> {
  const files = new FakeFiles();
  files.set("/bin/exec", "");
  const environment = {
    files: { ...bound(files), stat: () => Promise.resolve(EXECUTABLE) },
    processRunner: new FakeProcessRunner(() => text),
    clock: new FakeClock(),
    env: {},
  };
  return await new ExecAuthenticator({
    command: "/bin/exec",
    args: [],
    env: {},
    apiVersion: "client.authentication.k8s.io/v1",
    provideClusterInfo: false,
  } as never, environment as never).get({});
}
const EXECUTABLE = { kind: "file", stamp: "", size: 1, mode: 0o755, uid: 0, gid: 0 } as const;

function bound(files: FakeFiles) {
  return { readText: files.readText.bind(files), list: files.list.bind(files) };
}

const never = (name: string, parse: TextParser["parse"]) => ({ name, refuses: false, parse });
const refuses = (name: string, parse: TextParser["parse"]) => ({ name, refuses: true, parse });

export const TEXT_PARSERS: readonly TextParser[] = [
  refuses("parseImageReference", parseImageReference),
  refuses("repositoryReference", (text) => repositoryReference(text, text)),
  refuses("parseImageTarget", parseImageTarget),
  refuses("ImagePattern.parse", (text) => ImagePattern.parse(text)),
  refuses(
    "ImagePattern.matches",
    (text) => ImagePattern.parse(`*${text}*`).matches(parseImageTarget(`${text}.io/x`)),
  ),
  refuses("parseDurationMs", parseDurationMs),
  refuses("decodeRegistryAuth", decodeRegistryAuth),
  never("tokenExpiryOf", (text) => tokenExpiryOf({ ...BASIC, password: new Secret(text) }, 0)),
  never("tokenExpiryOf of a JWT", (text) => {
    const part = new TextEncoder().encode(text).toBase64({ alphabet: "base64url" });
    return tokenExpiryOf({ ...BASIC, password: new Secret(`eyJ9.${part}.x`) }, 0);
  }),
  never("tokenExpiryOf of an ECR password", (text) => {
    const password = new Secret(new TextEncoder().encode(text).toBase64());
    return tokenExpiryOf({ ...BASIC, password }, 0);
  }),
  refuses("loadConfig of the configuration file", (text) => agentConfig(text, "")),
  refuses("loadConfig of the snapshotter's file", (text) => agentConfig("", text)),
  refuses("loadConfig of the environment", (text) =>
    loadConfig({
      host: {
        cwd: "/",
        env: {
          NYDUS_AUTH_AGENT_RENEWAL_CHECK_INTERVAL: text,
          NYDUS_AUTH_AGENT_SERVER_ADDRESS: text,
        },
      },
      files: { readText: () => Promise.resolve(undefined) },
    }, {})),
  never("readGoYaml", readGoYaml),
  never("readProviderConfig", (text) => readProviderConfig(text, "f")),
  never("readKubeconfig", (text) => readKubeconfig(text, "/f")),
  never("readPluginResponse", (text) => readPluginResponse(text, 0)),
  never("readHelperResult", (text) => readHelperResult(exited(text), 1)),
  never("readHelperResult of a failure", (text) => readHelperResult(exited(text, 1), 1)),
  refuses("parseDockerConfig", (text) => {
    const config = parseDockerConfig(text);
    return [...config.auths.values()].map(credentialsOf).concat(
      [findAuth(config, "a.io")] as never,
    );
  }),
  refuses("ExecAuthenticator", execCredential),
  never("readPod", (text) => readPod(json(text))),
  never("readPullSecret", (text) => readPullSecret(json(text))),
  never("readPullSecret of its data", (text) => {
    const data = { ".dockerconfigjson": new TextEncoder().encode(text).toBase64() };
    return readPullSecret({ metadata: { name: "a", namespace: "b" }, data });
  }),
  never("registryOfKey", registryOfKey),
  never("rewriteConfigText", (text) => rewriteConfigText(text, BASIC, true)),
  never("listRootFolder", rootFolder),
  never("mirrorsOf", (text) => {
    try {
      mirrorsOf(text);
    } catch {
      // an invalid file
    }
  }),
  never("hostOf", (text) => hostOf(text)),
  never("readBackendOfFile", (text) => readBackendOfFile(json(text))),
  never("parseChallenges", parseChallenges),
  never("readTokenResponse", (text) => {
    const answer = { kind: "answered", headers: new Map(), body: new Secret(text) } as const;
    return [200, 400, 403].map((status) => readTokenResponse({ ...answer, status }));
  }),
  never("isAllowedHost", (text) => isAllowedHost(text, text)),
  never("redactText", redactText),
  never("printable", printable),
  never("inUseDelayMs", inUseDelayMs),
  never("restore", (text) => new PullCredentialCache({ now: () => 0 }).restore(new Secret(text))),
  never("registryOf", registryOf),
  never("outcomeOf", (text) => outcomeOf(text, text)),
  never("nydusd's responses", async (text) => {
    const api = createNydusdApi(answering(text));
    return [await api.info("/s"), await api.readAuths("/s"), await api.backendReads("/s")];
  }),
  never("nydusd's errors", (text) => createNydusdApi(answering(text, 500)).info("/s")),
  never("the snapshotter's responses", async (text) => {
    const answer = await createSnapshotterApi(answering(text)).daemons("/s");
    return answer.kind === "ok" ? listedBySystemApi(answer.value) : answer;
  }),
];

async function agentConfig(ours: string, theirs: string): Promise<unknown> {
  const texts: Record<string, string> = { "/a.toml": ours, "/etc/nydus/config.toml": theirs };
  const files = { readText: (path: string) => Promise.resolve(texts[path]) };
  return await loadConfig({ host: { env: {}, cwd: "/" }, files }, { config: "/a.toml" });
}
