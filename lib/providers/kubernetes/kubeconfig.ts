import { dirname, isAbsolute, join } from "@std/path";
import { type ConfigProblem, Secret } from "../../model/mod.ts";
import { type Fields, goField, isFields } from "../../formats/mod.ts";
import { goString, readGoYaml } from "../../formats/mod.ts";
import { impersonationOf } from "./kube_impersonation.ts";
import type { ExecSettings, KubeTarget, KubeUser, PemSource } from "./kube_target.ts";

/** One kubeconfig file as text. */
export interface KubeconfigFile {
  readonly path: string;
  readonly text: string;
}

/** The API server of the current context, or every reason why there is none. */
export type KubeconfigReading =
  | { readonly kind: "target"; readonly target: KubeTarget }
  | { readonly kind: "invalid"; readonly problems: readonly ConfigProblem[] };

const EXEC_VERSIONS = [
  "client.authentication.k8s.io/v1",
  "client.authentication.k8s.io/v1beta1",
];

/**
 * Reads kubeconfigs as client-go merges them: of several files the first that names a cluster, a
 * user, a context or the current context wins, and relative paths start at the file that says them
 * (`clientcmd/loader.go`). Only what the current context uses is checked. No value is ever quoted.
 */
export function readKubeconfigs(files: readonly KubeconfigFile[]): KubeconfigReading {
  return new Reader().read(files);
}

/** An entry of one of the three lists, and where it stands. */
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

class Reader {
  readonly #problems: ConfigProblem[] = [];
  readonly #lists: Readonly<Record<List, Map<string, Entry>>> = {
    clusters: new Map(),
    users: new Map(),
    contexts: new Map(),
  };
  #current: { readonly name: string; readonly file: string } | undefined;

  read(files: readonly KubeconfigFile[]): KubeconfigReading {
    for (const file of files) this.#merge(file);
    const target = this.#problems.length === 0 ? this.#target(files) : undefined;
    return target === undefined || this.#problems.length > 0
      ? { kind: "invalid", problems: this.#problems }
      : { kind: "target", target };
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

  #target(files: readonly KubeconfigFile[]): KubeTarget | undefined {
    const named = this.#current;
    const file = named?.file ?? files[0]?.path ?? "";
    if (named === undefined) {
      const remedy = "name one of the contexts";
      return this.#none({ file, place: "current-context" }, "no context is chosen", remedy);
    }
    const context = this.#lists.contexts.get(named.name);
    if (context === undefined) {
      const what = `there is no context ${JSON.stringify(named.name)}`;
      return this.#none({ file, place: "current-context" }, what, "name one that is there");
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
    return this.#none(at, `there is no ${field} ${JSON.stringify(name)}`, `add it to ${list}`);
  }

  #join(cluster: Entry, user: Entry | undefined): KubeTarget {
    const ca = this.#pem(cluster, "certificate-authority");
    const cert = user && this.#pem(user, "client-certificate");
    const key = user && this.#pem(user, "client-key");
    const skipVerify = goField(cluster.fields, "insecure-skip-tls-verify") === true;
    if (skipVerify && ca !== undefined) {
      const at = place(cluster, "insecure-skip-tls-verify");
      this.#problem(at, "it contradicts the certificate authority beside it", "keep one of them");
    }
    if (user && (cert === undefined) !== (key === undefined)) {
      const missing = cert === undefined ? "client-certificate" : "client-key";
      const what = "certificate and key go together, and one is missing";
      this.#problem(place(user, missing), what, `add ${missing} or ${missing}-data`);
    }
    const serverName = this.#text(cluster, "tls-server-name");
    const proxyUrl = this.#proxy(cluster);
    if (proxyUrl && (skipVerify || serverName !== "")) {
      const what = "it cannot be used with insecure-skip-tls-verify or tls-server-name";
      this.#problem(place(cluster, "proxy-url"), what, "reach the server without a proxy");
    }
    return {
      origin: cluster.file,
      server: this.#server(cluster),
      ...(ca && { ca }),
      ...(cert && { cert }),
      ...(key && { key }),
      skipVerify,
      ...(serverName !== "" && { serverName }),
      ...(proxyUrl && { proxyUrl }),
      user: user === undefined ? { kind: "anonymous" } : this.#user(user, cert !== undefined),
      impersonation: user === undefined ? [] : impersonationOf(user.fields),
      ...execConfigOf(cluster),
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
    this.#problem(at, "it is not the URL of an API server", "such as https://10.0.0.1:6443");
    return "";
  }

  #proxy(cluster: Entry): Secret | undefined {
    const text = this.#text(cluster, "proxy-url");
    if (text === "") return undefined;
    if (/^(?:https?|socks5):$/.test(URL.parse(text)?.protocol ?? "")) return new Secret(text);
    const at = place(cluster, "proxy-url");
    this.#problem(at, "it is not the URL of a proxy", "http://, https:// or socks5://");
    return undefined;
  }

  /** Inline data wins over the file beside it. */
  #pem(entry: Entry, name: string): PemSource | undefined {
    const data = this.#text(entry, `${name}-data`);
    if (data === "") {
      const path = this.#text(entry, name);
      return path === "" ? undefined : { kind: "file", path: besides(entry.file, path) };
    }
    try {
      const bytes = Uint8Array.fromBase64(data.replace(/\s/g, ""));
      const pem = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
      if (pem.includes("-----BEGIN ")) return { kind: "inline", pem: new Secret(pem) };
    } catch {
      // Told below, with whatever else is no PEM text.
    }
    this.#problem(place(entry, `${name}-data`), "it is not base64 of a PEM text", "encode it anew");
    return undefined;
  }

  /**
   * As in client-go: the token's file before the token beside it, and an exec plugin only where
   * nothing else says who we are.
   */
  #user(entry: Entry, hasCertificate: boolean): KubeUser {
    if (goField(entry.fields, "auth-provider") !== undefined) {
      const what = "this older way to log in is gone from Kubernetes";
      this.#problem(place(entry, "auth-provider"), what, "use exec with a credential plugin");
    }
    const exec = goField(entry.fields, "exec");
    const token = this.#text(entry, "token");
    const tokenFile = this.#text(entry, "tokenFile");
    const username = this.#text(entry, "username");
    if (tokenFile !== "") {
      const path = besides(entry.file, tokenFile);
      return { kind: "token-file", path, ...(token !== "" && { token: new Secret(token) }) };
    }
    if (token !== "") return { kind: "token", token: new Secret(token) };
    if (username !== "") {
      return { kind: "basic", username, password: new Secret(this.#text(entry, "password")) };
    }
    if (hasCertificate || !isFields(exec)) return { kind: "anonymous" };
    return { kind: "exec", exec: this.#exec(entry, exec) };
  }

  #exec(user: Entry, fields: Fields): ExecSettings {
    const entry = { file: user.file, place: `${user.place}.exec`, fields };
    const command = this.#text(entry, "command");
    const apiVersion = this.#text(entry, "apiVersion");
    if (command === "") this.#problem(place(entry, "command"), "it is missing", "name a program");
    if (!EXEC_VERSIONS.includes(apiVersion)) {
      const what = "this version of the protocol is not spoken";
      this.#problem(place(entry, "apiVersion"), what, `write ${EXEC_VERSIONS[0]}`);
    }
    if (this.#text(entry, "interactiveMode") === "Always") {
      const what = "a service has nobody to ask, and the plugin insists on it";
      this.#problem(place(entry, "interactiveMode"), what, "use a plugin that needs no terminal");
    }
    const args = goField(fields, "args") ?? [];
    const env = goField(fields, "env") ?? [];
    return {
      command: command.includes("/") ? besides(user.file, command) : command,
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

  #none(at: ReadLocation, problem: string, remedy: string): undefined {
    this.#problem(at, problem, remedy);
    return undefined;
  }

  #problem(at: ReadLocation, problem: string, remedy: string): void {
    this.#problems.push({ ...at, problem, remedy });
  }
}

type ReadLocation = Pick<ConfigProblem, "file" | "place">;

function place({ file, place }: Entry, field: string): ReadLocation {
  return { file, place: `${place}.${field}` };
}

function besides(file: string, path: string): string {
  return isAbsolute(path) ? path : join(dirname(file), path);
}

function variable(item: unknown): [string, string][] {
  if (!isFields(item)) return [];
  const name = goString(goField(item, "name")) ?? "";
  const value = goString(goField(item, "value") ?? "") ?? "";
  return name === "" || /[=\0]/.test(name) || value.includes("\0") ? [] : [[name, value]];
}

/** What the cluster's entry keeps for exec plugins, under a name that the protocol reserves. */
function execConfigOf({ fields }: Entry): { readonly execConfig?: unknown } {
  const extensions = goField(fields, "extensions");
  const found = Array.isArray(extensions)
    ? extensions.find((one) => isFields(one) && one["name"] === "client.authentication.k8s.io/exec")
    : undefined;
  const execConfig: unknown = isFields(found) ? found["extension"] : undefined;
  return execConfig === undefined ? {} : { execConfig };
}
