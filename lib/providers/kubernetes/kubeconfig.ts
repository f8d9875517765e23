import { dirname, isAbsolute, join } from "@std/path";
import { type ConfigProblem, defined, Secret } from "../../model/mod.ts";
import { type Fields, goField, goString, isFields, readGoYaml } from "../../formats/mod.ts";
import type { AuthInfo, ClientConfig, ExecConfig, PemSource } from "./client_config.ts";

/** A kubeconfig file. */
export interface KubeconfigFile {
  readonly path: string;
  readonly text: string;
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
 * Reads and merges kubeconfig files like client-go (`clientcmd/loader.go`): the first file that
 * defines a cluster, user, context or the current context wins, and relative paths are relative to
 * the file that contains them. Only what the current context uses is validated. Problems contain no
 * values.
 */
export function readKubeconfigs(files: readonly KubeconfigFile[]): KubeconfigResult {
  return new KubeconfigReader().read(files);
}

/** An entry of one of the three lists and its location. */
interface Entry {
  readonly file: string;
  readonly place: string;
  readonly fields: Fields;
}

type List = "clusters" | "users" | "contexts";
const CONTENT: Readonly<Record<List, string>> = {
  clusters: "cluster",
  users: "user",
  contexts: "context",
};

class KubeconfigReader {
  readonly #problems: ConfigProblem[] = [];
  readonly #lists: Readonly<Record<List, Map<string, Entry>>> = {
    clusters: new Map(),
    users: new Map(),
    contexts: new Map(),
  };
  #current: { readonly name: string; readonly file: string } | undefined;

  read(files: readonly KubeconfigFile[]): KubeconfigResult {
    for (const file of files) this.#merge(file);
    const config = this.#problems.length === 0 ? this.#currentContext(files) : undefined;
    return config === undefined || this.#problems.length > 0
      ? { kind: "invalid", problems: this.#problems }
      : { kind: "config", config };
  }

  #merge({ path, text }: KubeconfigFile): void {
    const reading = readGoYaml(text);
    if (reading.kind === "invalid") {
      const what = `it is not YAML or JSON: ${reading.detail}`;
      return this.#problem({ file: path, place: reading.place }, what, reading.remedy);
    }
    const body = reading.value ?? {};
    if (!isFields(body)) {
      return this.#problem({ file: path, place: "" }, "it is not an object", "write a kubeconfig");
    }
    const current = goString(goField(body, "current-context")) ?? "";
    if (current !== "") this.#current ??= { name: current, file: path };
    for (const list of ["clusters", "users", "contexts"] as const) {
      const entries = goField(body, list) ?? [];
      if (!Array.isArray(entries)) {
        this.#problem({ file: path, place: list }, "it is not a list", "write `- name: …`");
        continue;
      }
      entries.forEach((entry: unknown, i) => this.#entry(path, list, entry, i));
    }
  }

  #entry(file: string, list: List, entry: unknown, i: number): void {
    const name = isFields(entry) ? goString(goField(entry, "name")) : undefined;
    if (!isFields(entry) || name === undefined || this.#lists[list].has(name)) return;
    const content = goField(entry, CONTENT[list]) ?? {};
    const place = `${list}[${i}].${CONTENT[list]}`;
    if (isFields(content)) this.#lists[list].set(name, { file, place, fields: content });
  }

  #currentContext(files: readonly KubeconfigFile[]): ClientConfig | undefined {
    const current = this.#current;
    const at = { file: current?.file ?? files[0]?.path ?? "", place: "current-context" };
    const remedy = "set it to the name of a context";
    if (current === undefined) return this.#problem(at, "it is not set", remedy);
    const context = this.#lists.contexts.get(current.name);
    if (context === undefined) {
      return this.#problem(at, `there is no context ${JSON.stringify(current.name)}`, remedy);
    }
    const cluster = this.#named(context, "cluster", "clusters");
    const userName = this.#text(context, "user");
    const user = userName === "" ? undefined : this.#named(context, "user", "users");
    if (cluster === undefined || (user === undefined && userName !== "")) return undefined;
    return this.#join(cluster, user);
  }

  #named(context: Entry, field: "cluster" | "user", list: List): Entry | undefined {
    const name = this.#text(context, field);
    const found = this.#lists[list].get(name);
    if (found !== undefined) return found;
    const at = { file: context.file, place: `${context.place}.${field}` };
    return this.#problem(at, `there is no ${field} ${JSON.stringify(name)}`, `add it to ${list}`);
  }

  #join(cluster: Entry, user: Entry | undefined): ClientConfig {
    const ca = this.#pem(cluster, "certificate-authority");
    const cert = user && this.#pem(user, "client-certificate");
    const key = user && this.#pem(user, "client-key");
    const skipVerify = goField(cluster.fields, "insecure-skip-tls-verify") === true;
    if (skipVerify && ca !== undefined) {
      const at = place(cluster, "insecure-skip-tls-verify");
      this.#problem(at, "it conflicts with the certificate authority", "remove one of them");
    }
    if (user && (cert === undefined) !== (key === undefined)) {
      const missing = cert === undefined ? "client-certificate" : "client-key";
      const what = "a client certificate needs both the certificate and the key";
      this.#problem(place(user, missing), what, `add ${missing} or ${missing}-data`);
    }
    const serverName = this.#text(cluster, "tls-server-name");
    const proxyUrl = this.#proxy(cluster);
    if (proxyUrl && (skipVerify || serverName !== "")) {
      const what = "it cannot be used with insecure-skip-tls-verify or tls-server-name";
      this.#problem(place(cluster, "proxy-url"), what, "remove proxy-url or the TLS setting");
    }
    return {
      origin: cluster.file,
      server: this.#server(cluster),
      skipVerify,
      ...defined({ ca, cert, key, proxyUrl, execConfig: execConfigOf(cluster) }),
      ...(serverName !== "" && { serverName }),
      auth: user === undefined ? { kind: "anonymous" } : this.#auth(user, cert !== undefined),
      impersonation: user === undefined ? [] : impersonationOf(user.fields),
    };
  }

  #server(cluster: Entry): string {
    const text = this.#text(cluster, "server");
    const url = URL.parse(text.includes("://") ? text : `https://${text}`);
    const isHttp = url !== null && (url.protocol === "https:" || url.protocol === "http:");
    if (text !== "" && isHttp && url.username === "" && url.search === "" && url.hash === "") {
      return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
    }
    const at = place(cluster, "server");
    this.#problem(at, "it is not the URL of an API server", "write https://host:port");
    return "";
  }

  #proxy(cluster: Entry): Secret | undefined {
    const text = this.#text(cluster, "proxy-url");
    if (text === "") return undefined;
    if (/^(?:https?|socks5):$/.test(URL.parse(text)?.protocol ?? "")) return new Secret(text);
    const at = place(cluster, "proxy-url");
    return this.#problem(at, "it is not the URL of a proxy", "use http://, https:// or socks5://");
  }

  /** Inline data takes precedence over a file. */
  #pem(entry: Entry, name: string): PemSource | undefined {
    const data = this.#text(entry, `${name}-data`);
    if (data === "") {
      const path = this.#text(entry, name);
      return path === "" ? undefined : { kind: "file", path: resolvePath(entry.file, path) };
    }
    try {
      const bytes = Uint8Array.fromBase64(data.replace(/\s/g, ""));
      const pem = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
      if (pem.includes("-----BEGIN ")) return { kind: "inline", pem: new Secret(pem) };
    } catch {
      // Reported below.
    }
    const at = place(entry, `${name}-data`);
    return this.#problem(at, "it is not a PEM text in base64", "encode it again");
  }

  /**
   * Precedence as in client-go: the token file, the token, basic authentication; an exec plugin only
   * without any of them and without a client certificate.
   */
  #auth(entry: Entry, hasCertificate: boolean): AuthInfo {
    if (goField(entry.fields, "auth-provider") !== undefined) {
      const what = "Kubernetes has removed auth providers";
      this.#problem(place(entry, "auth-provider"), what, "use exec with a credential plugin");
    }
    const exec = goField(entry.fields, "exec");
    const token = this.#text(entry, "token");
    const tokenFile = this.#text(entry, "tokenFile");
    const username = this.#text(entry, "username");
    if (tokenFile !== "") {
      const path = resolvePath(entry.file, tokenFile);
      return { kind: "token-file", path, ...(token !== "" && { token: new Secret(token) }) };
    }
    if (token !== "") return { kind: "token", token: new Secret(token) };
    if (username !== "") {
      return { kind: "basic", username, password: new Secret(this.#text(entry, "password")) };
    }
    if (hasCertificate || !isFields(exec)) return { kind: "anonymous" };
    return { kind: "exec", exec: this.#exec(entry, exec) };
  }

  #exec(user: Entry, fields: Fields): ExecConfig {
    const entry = { file: user.file, place: `${user.place}.exec`, fields };
    const command = this.#text(entry, "command");
    const apiVersion = this.#text(entry, "apiVersion");
    if (command === "") {
      this.#problem(place(entry, "command"), "it is missing", "set it to a credential plugin");
    }
    if (!EXEC_VERSIONS.includes(apiVersion)) {
      const what = "this version of the protocol is not supported";
      this.#problem(place(entry, "apiVersion"), what, `use ${EXEC_VERSIONS[0]}`);
    }
    if (this.#text(entry, "interactiveMode") === "Always") {
      const what = "the plugin requires a terminal, and the agent has none";
      const remedy = "use a plugin that works without a terminal";
      this.#problem(place(entry, "interactiveMode"), what, remedy);
    }
    const args = goField(fields, "args") ?? [];
    const env = goField(fields, "env") ?? [];
    return {
      command: command.includes("/") ? resolvePath(user.file, command) : command,
      args: Array.isArray(args) ? args.map((arg) => goString(arg) ?? "") : [],
      env: Array.isArray(env) ? Object.fromEntries(env.flatMap(variable)) : {},
      apiVersion,
      provideClusterInfo: goField(fields, "provideClusterInfo") === true,
      installHint: this.#text(entry, "installHint"),
    };
  }

  #text(entry: Entry, name: string): string {
    const value = goField(entry.fields, name);
    const text = value === undefined ? "" : goString(value);
    if (text !== undefined) return text;
    this.#problem(place(entry, name), "it is not a string", "write a string");
    return "";
  }

  #problem(at: ProblemLocation, problem: string, remedy: string): undefined {
    this.#problems.push({ ...at, problem, remedy });
  }
}

type ProblemLocation = Pick<ConfigProblem, "file" | "place">;

function place({ file, place }: Entry, field: string): ProblemLocation {
  return { file, place: `${place}.${field}` };
}

function resolvePath(file: string, path: string): string {
  return isAbsolute(path) ? path : join(dirname(file), path);
}

function variable(item: unknown): [string, string][] {
  if (!isFields(item)) return [];
  const name = goString(goField(item, "name")) ?? "";
  const value = goString(goField(item, "value") ?? "") ?? "";
  return name === "" || /[=\0]/.test(name) || value.includes("\0") ? [] : [[name, value]];
}

/** Returns the cluster's extension for exec plugins, under the name that the protocol reserves. */
function execConfigOf({ fields }: Entry): unknown {
  const extensions = goField(fields, "extensions");
  const found = Array.isArray(extensions)
    ? extensions.find((one) => isFields(one) && one["name"] === "client.authentication.k8s.io/exec")
    : undefined;
  return isFields(found) ? found["extension"] : undefined;
}

/** Returns the impersonation headers of a user (`as`, `as-uid`, `as-groups`, `as-user-extra`). */
function impersonationOf(user: Fields): [name: string, value: Secret][] {
  const headers: [string, Secret][] = [];
  const add = (name: string, value: unknown) => {
    const text = goString(value) ?? "";
    if (text !== "") headers.push([name, new Secret(text)]);
  };
  add("Impersonate-User", goField(user, "as"));
  add("Impersonate-Uid", goField(user, "as-uid"));
  const groups = goField(user, "as-groups");
  for (const group of Array.isArray(groups) ? groups : []) add("Impersonate-Group", group);
  const extra = goField(user, "as-user-extra");
  for (const [name, values] of Object.entries(isFields(extra) ? extra : {})) {
    const header = `Impersonate-Extra-${encodeURIComponent(name.toLowerCase())}`;
    for (const value of Array.isArray(values) ? values : []) add(header, value);
  }
  return headers;
}
