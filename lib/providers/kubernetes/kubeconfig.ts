import { dirname, isAbsolute, join } from "@std/path";
import { type ConfigProblem, defined, Secret } from "../../model/mod.ts";
import { ConfigObject, ConfigReport, goField, goString, isFields } from "../../formats/mod.ts";

/** A PEM text: inline, or in a file that may be rotated. */
export type PemSource =
  | { readonly kind: "inline"; readonly pem: Secret }
  | { readonly kind: "file"; readonly path: string };

/** An exec credential plugin (`users[].user.exec`). */
export interface ExecConfig {
  /** An absolute path, or a name to find in `PATH`. */
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly apiVersion: string;
  readonly provideClusterInfo: boolean;
}

/** Authentication of the client (`AuthInfo` in client-go); a client certificate may be added. */
export type AuthInfo =
  | { readonly kind: "anonymous" }
  | { readonly kind: "token"; readonly token: Secret }
  | { readonly kind: "token-file"; readonly path: string }
  | { readonly kind: "exec"; readonly exec: ExecConfig };

/** Configuration of a client: an API server and how to authenticate to it (`rest.Config`). */
export interface ClientConfig {
  readonly server: string;
  readonly ca?: PemSource;
  readonly cert?: PemSource;
  readonly key?: PemSource;
  readonly skipVerify: boolean;
  readonly serverName?: string;
  readonly proxyUrl?: Secret;
  readonly auth: AuthInfo;
}

const SERVICE_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * Returns the configuration for the API server of the cluster that this pod runs in, or undefined
 * outside a pod (client-go `rest.InClusterConfig`).
 */
export function inClusterConfig(env: Readonly<Record<string, string>>): ClientConfig | undefined {
  const host = env["KUBERNETES_SERVICE_HOST"] ?? "";
  const port = env["KUBERNETES_SERVICE_PORT"] ?? "";
  if (host === "" || !/^\d{1,5}$/.test(port)) return undefined;
  const server = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
  if (!URL.canParse(server)) return undefined;
  return {
    server,
    ca: { kind: "file", path: `${SERVICE_ACCOUNT_DIR}/ca.crt` },
    skipVerify: false,
    auth: { kind: "token-file", path: `${SERVICE_ACCOUNT_DIR}/token` },
  };
}

/** The configuration of the current context, or all problems. */
export type KubeconfigResult =
  | { readonly kind: "config"; readonly config: ClientConfig }
  | { readonly kind: "invalid"; readonly problems: readonly ConfigProblem[] };

const EXEC_VERSIONS = [
  "client.authentication.k8s.io/v1",
  "client.authentication.k8s.io/v1beta1",
];

/**
 * Reads a kubeconfig file like client-go (`clientcmd/loader.go`): relative paths are relative to the
 * file. Only what the current context uses is validated. Problems contain no values.
 */
export function readKubeconfig(text: string, path: string): KubeconfigResult {
  const report = new ConfigReport(path);
  const file = report.parse(text, "write a kubeconfig");
  const config = file && currentContext(file);
  return config === undefined || report.problems.length > 0
    ? { kind: "invalid", problems: report.problems }
    : { kind: "config", config };
}

function currentContext(file: ConfigObject): ClientConfig | undefined {
  const name = file.string("current-context");
  const remedy = "set it to the name of a context";
  if (name === "") return file.problem("current-context", "it is not set", remedy);
  const context = find(file, "context", name);
  if (context === undefined) {
    const problem = `there is no context ${JSON.stringify(name)}`;
    return file.problem("current-context", problem, remedy);
  }
  const cluster = referenced(file, context, "cluster");
  const hasUser = context.string("user") !== "";
  const user = hasUser ? referenced(file, context, "user") : undefined;
  if (cluster === undefined || (user === undefined && hasUser)) return undefined;
  return clientConfig(cluster, user);
}

/** Returns the content of the entry with a name in the list of a kind. */
function find(
  file: ConfigObject,
  kind: "cluster" | "user" | "context",
  name: string,
): ConfigObject | undefined {
  const entries = file.list(`${kind}s`, "write `- name: …`");
  const index = entries.findIndex((entry) =>
    isFields(entry) && goString(goField(entry, "name")) === name
  );
  const entry = entries[index];
  const content = isFields(entry) ? goField(entry, kind) ?? {} : undefined;
  if (!isFields(content)) return undefined;
  return new ConfigObject(file.report, content, `${kind}s[${index}].${kind}`);
}

function referenced(
  file: ConfigObject,
  context: ConfigObject,
  kind: "cluster" | "user",
): ConfigObject | undefined {
  const name = context.string(kind);
  return find(file, kind, name) ??
    context.problem(kind, `there is no ${kind} ${JSON.stringify(name)}`, `add it to ${kind}s`);
}

function clientConfig(cluster: ConfigObject, user: ConfigObject | undefined): ClientConfig {
  const ca = pem(cluster, "certificate-authority");
  const cert = user && pem(user, "client-certificate");
  const key = user && pem(user, "client-key");
  const skipVerify = cluster.get("insecure-skip-tls-verify") === true;
  if (skipVerify && ca !== undefined) {
    const problem = "it conflicts with the certificate authority";
    cluster.problem("insecure-skip-tls-verify", problem, "remove one of them");
  }
  if (user && (cert === undefined) !== (key === undefined)) {
    const missing = cert === undefined ? "client-certificate" : "client-key";
    const problem = "a client certificate needs both the certificate and the key";
    user.problem(missing, problem, `add ${missing} or ${missing}-data`);
  }
  const serverName = cluster.string("tls-server-name") || undefined;
  const proxyUrl = proxyOf(cluster);
  if (proxyUrl && (skipVerify || serverName !== undefined)) {
    const problem = "it cannot be used with insecure-skip-tls-verify or tls-server-name";
    cluster.problem("proxy-url", problem, "remove proxy-url or the TLS setting");
  }
  return {
    server: serverOf(cluster),
    skipVerify,
    auth: user === undefined ? { kind: "anonymous" } : authInfo(user, cert !== undefined),
    ...defined({ ca, cert, key, proxyUrl, serverName }),
  };
}

function serverOf(cluster: ConfigObject): string {
  const text = cluster.string("server");
  const url = URL.parse(text.includes("://") ? text : `https://${text}`);
  const isHttp = url !== null && (url.protocol === "https:" || url.protocol === "http:");
  if (text !== "" && isHttp && url.username === "" && url.search === "" && url.hash === "") {
    return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
  }
  cluster.problem("server", "it is not the URL of an API server", "write https://host:port");
  return "";
}

function proxyOf(cluster: ConfigObject): Secret | undefined {
  const text = cluster.string("proxy-url");
  if (text === "") return undefined;
  if (/^(?:https?|socks5):$/.test(URL.parse(text)?.protocol ?? "")) return new Secret(text);
  const remedy = "use http://, https:// or socks5://";
  return cluster.problem("proxy-url", "it is not the URL of a proxy", remedy);
}

/** Inline data takes precedence over a file. */
function pem(object: ConfigObject, name: string): PemSource | undefined {
  const data = object.string(`${name}-data`);
  if (data === "") {
    const path = object.string(name);
    return path === "" ? undefined : { kind: "file", path: resolvePath(object, path) };
  }
  try {
    const bytes = Uint8Array.fromBase64(data.replace(/\s/g, ""));
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (text.includes("-----BEGIN ")) return { kind: "inline", pem: new Secret(text) };
  } catch {
    // Reported below.
  }
  return object.problem(`${name}-data`, "it is not a PEM text in base64", "encode it again");
}

/**
 * Precedence as in client-go: the token file, then the token; an exec plugin only without both and
 * without a client certificate.
 */
function authInfo(user: ConfigObject, hasCertificate: boolean): AuthInfo {
  for (const name of ["auth-provider", "username", "as"]) {
    if (user.get(name) === undefined) continue;
    user.problem(name, "it is not supported", "use a token, a certificate or exec");
  }
  const tokenFile = user.string("tokenFile");
  if (tokenFile !== "") return { kind: "token-file", path: resolvePath(user, tokenFile) };
  const token = user.string("token");
  if (token !== "") return { kind: "token", token: new Secret(token) };
  const exec = user.get("exec");
  if (hasCertificate || !isFields(exec)) return { kind: "anonymous" };
  const object = new ConfigObject(user.report, exec, user.place("exec"));
  return { kind: "exec", exec: execConfig(object) };
}

function execConfig(exec: ConfigObject): ExecConfig {
  const command = exec.string("command");
  const apiVersion = exec.string("apiVersion");
  if (command === "") {
    exec.problem("command", "it is missing", "set it to a credential plugin");
  }
  if (!EXEC_VERSIONS.includes(apiVersion)) {
    const problem = "this version of the protocol is not supported";
    exec.problem("apiVersion", problem, `use ${EXEC_VERSIONS[0]}`);
  }
  if (exec.string("interactiveMode") === "Always") {
    const problem = "the plugin requires a terminal, and the agent has none";
    exec.problem("interactiveMode", problem, "use a plugin that works without a terminal");
  }
  return {
    command: command.includes("/") ? resolvePath(exec, command) : command,
    args: exec.strings("args"),
    env: Object.fromEntries(exec.list("env", "write `- name: …`").flatMap(variable)),
    apiVersion,
    provideClusterInfo: exec.get("provideClusterInfo") === true,
  };
}

function resolvePath({ report }: ConfigObject, path: string): string {
  return isAbsolute(path) ? path : join(dirname(report.file), path);
}

function variable(item: unknown): [string, string][] {
  if (!isFields(item)) return [];
  const name = goString(goField(item, "name")) ?? "";
  const value = goString(goField(item, "value") ?? "") ?? "";
  return name === "" || /[=\0]/.test(name) || value.includes("\0") ? [] : [[name, value]];
}
