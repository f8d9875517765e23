import { join } from "@std/path";
import {
  AgentError,
  type ConfigProblem,
  formatProblem,
  type KubeConnection,
  type ReasonCode,
  Secret,
} from "../../model/mod.ts";
import { clusterInfo, ExecCredentials, type ExecEnvironment } from "./exec_credential.ts";
import { type KubeconfigFile, readKubeconfigs } from "./kubeconfig.ts";
import { type KubeTarget, type PemSource, podTarget } from "./kube_target.ts";

/** Where to look for a way to the API server. */
export interface KubeAccessOptions extends ExecEnvironment {
  /** The kubeconfig that the configuration names; else `$KUBECONFIG` and the rest are tried. */
  readonly kubeconfigPath?: string;
}

/** The API server, and who we are there, at this moment. */
export interface KubeIdentity {
  /** The same object as long as nothing of it has changed. */
  readonly connection: KubeConnection;
  readonly headers: readonly (readonly [name: string, value: Secret])[];
}

/** The way to the API server, or why there is none. */
export type KubeAccessResult =
  | { readonly kind: "ok"; readonly identity: KubeIdentity }
  | { readonly kind: "failed"; readonly reason: ReasonCode; readonly detail: string };

/** With and without an exec plugin's certificate, before and after a rotation. */
const MAX_CONNECTIONS = 4;

/**
 * Follows what a kubeconfig or the pod's account says, from file to file: each is read again when
 * it has changed, so that rotated certificates and tokens are used at the next call. Where a new
 * reading fails, the last good one stays in force.
 */
export class KubeAccess {
  readonly #options: KubeAccessOptions;
  readonly #texts = new Map<string, { readonly stamp: string; readonly text: string }>();
  #target: { readonly stamp: string; readonly target: KubeTarget } | undefined;
  #exec: ExecCredentials | undefined;
  readonly #connections = new Map<string, KubeConnection>();

  constructor(options: KubeAccessOptions) {
    this.#options = options;
  }

  /** The last credential was refused: nothing that is kept is used again. */
  suspect(): void {
    this.#texts.clear();
    this.#exec?.suspect();
  }

  /** Never rejects. */
  async identity(): Promise<KubeAccessResult> {
    try {
      const target = await this.#readTarget();
      if (target === undefined) {
        const detail = "there is neither a kubeconfig nor a pod's service account";
        return { kind: "failed", reason: "no-config-file", detail };
      }
      return { kind: "ok", identity: await this.#identity(target) };
    } catch (error) {
      const detail = error instanceof AgentError ? error.message : "it cannot be read";
      return { kind: "failed", reason: reasonOf(error), detail };
    }
  }

  /** Everything that is wrong with the way to the API server, without asking it or a plugin. */
  async check(): Promise<readonly ConfigProblem[]> {
    const file = this.#options.kubeconfigPath ?? this.#paths()[0] ?? "kubeconfig";
    const problem = (error: unknown) => ({
      file,
      place: "",
      problem: error instanceof AgentError ? error.message : "it cannot be read",
      remedy: "make it readable for the agent",
    });
    try {
      const found = await this.#kubeconfigs();
      const reading = found.length === 0 ? undefined : readKubeconfigs(found);
      if (reading?.kind === "invalid") return reading.problems;
      const target = reading?.target ?? podTarget(this.#options.env);
      if (target === undefined) {
        const what = "there is no such file, and this is no pod with a service account";
        return [{ file, place: "", problem: what, remedy: "set providers.kubesecret.kubeconfig" }];
      }
      const { ca, cert, key, user } = target;
      const isTokenNeeded = user.kind === "token-file" && user.token === undefined;
      const needed = [ca, cert, key, isTokenNeeded ? user.path : undefined]
        .flatMap((one) => typeof one === "string" ? one : one?.kind === "file" ? one.path : []);
      const read = needed.map((path) =>
        this.#needed(path).then(() => [], (error) => [problem(error)])
      );
      return (await Promise.all(read)).flat();
    } catch (error) {
      return [problem(error)];
    }
  }

  async #kubeconfigs(): Promise<readonly KubeconfigFile[]> {
    const found: KubeconfigFile[] = [];
    for (const path of this.#paths()) {
      const text = await this.#text(path);
      if (text !== undefined) found.push({ path, text });
    }
    return found;
  }

  async #readTarget(): Promise<KubeTarget | undefined> {
    const found = await this.#kubeconfigs();
    if (found.length === 0) return podTarget(this.#options.env);
    const stamp = found.map(({ path }) => `${path}\0${this.#texts.get(path)?.stamp}`).join("\n");
    if (this.#target?.stamp === stamp) return this.#target.target;
    const reading = readKubeconfigs(found);
    if (reading.kind === "target") {
      this.#target = { stamp, target: reading.target };
      this.#exec = undefined;
    } else if (this.#target === undefined) {
      throw new AgentError("invalid-config", reading.problems.map(formatProblem).join("; "));
    }
    return this.#target.target;
  }

  /** The named one alone, else client-go's: `$KUBECONFIG`, which may be a list, or the home's. */
  #paths(): readonly string[] {
    const { kubeconfigPath, env } = this.#options;
    if (kubeconfigPath !== undefined) return [kubeconfigPath];
    const listed = (env["KUBECONFIG"] ?? "").split(":").filter((path) => path !== "");
    const home = env["HOME"] ?? "";
    return listed.length > 0 || home === "" ? listed : [join(home, ".kube", "config")];
  }

  async #identity(target: KubeTarget): Promise<KubeIdentity> {
    const caPem = await this.#pem(target.ca);
    const own = { certPem: await this.#pem(target.cert), keyPem: await this.#pem(target.key) };
    const base = this.#connect(target, caPem, own.certPem, own.keyPem);
    const { user } = target;
    const headers = [...target.impersonation];
    const bearer = (token: string) =>
      headers.push(["Authorization", new Secret(`Bearer ${token}`)]);
    switch (user.kind) {
      case "anonymous":
        return { connection: base, headers };
      case "token":
        bearer(user.token.reveal());
        return { connection: base, headers };
      case "token-file": {
        const { path, token } = user;
        const read = this.#needed(path);
        bearer(token === undefined ? await read : await read.catch(() => token.reveal()));
        return { connection: base, headers };
      }
      case "basic": {
        const pair = new TextEncoder().encode(`${user.username}:${user.password.reveal()}`);
        headers.push(["Authorization", new Secret(`Basic ${pair.toBase64()}`)]);
        return { connection: base, headers };
      }
      case "exec": {
        this.#exec ??= new ExecCredentials(user.exec, this.#options);
        const given = await this.#exec.get(clusterInfo(base, target.execConfig));
        if (given.token) bearer(given.token.reveal());
        const keyPem = given.keyPem?.reveal();
        return { connection: this.#connect(target, caPem, given.certPem, keyPem), headers };
      }
      default:
        return user satisfies never;
    }
  }

  #connect(
    { server, skipVerify, serverName, proxyUrl }: KubeTarget,
    caPem: string | undefined,
    certPem: string | undefined,
    keyPem: string | undefined,
  ): KubeConnection {
    const parts = [server, skipVerify, serverName, proxyUrl?.reveal(), caPem, certPem, keyPem];
    const key = JSON.stringify(parts);
    const known = this.#connections.get(key);
    if (known !== undefined) return known;
    const connection: KubeConnection = {
      server,
      skipVerify,
      ...(serverName !== undefined && { serverName }),
      ...(proxyUrl && { proxyUrl }),
      ...(caPem !== undefined && { caPem }),
      ...(certPem !== undefined && keyPem !== undefined && {
        certPem,
        keyPem: new Secret(keyPem),
      }),
    };
    const [oldest] = this.#connections.keys();
    if (this.#connections.size >= MAX_CONNECTIONS && oldest) this.#connections.delete(oldest);
    this.#connections.set(key, connection);
    return connection;
  }

  async #pem(source: PemSource | undefined): Promise<string | undefined> {
    if (source === undefined) return undefined;
    return source.kind === "inline" ? source.pem.reveal() : await this.#needed(source.path);
  }

  async #needed(path: string): Promise<string> {
    const text = (await this.#text(path))?.trim() ?? "";
    if (text !== "") return text;
    throw new AgentError("io", `read ${path}: it is missing or empty`);
  }

  /** A file that is caught in the middle of being replaced leaves its last text in force. */
  async #text(path: string): Promise<string | undefined> {
    const known = this.#texts.get(path);
    const { files } = this.#options;
    try {
      const stat = await files.stat(path);
      if (stat !== undefined && stat.stamp === known?.stamp) return known.text;
      const text = stat === undefined ? undefined : await files.readText(path);
      if (stat === undefined || text === undefined || text.trim() === "") return known?.text;
      this.#texts.set(path, { stamp: stat.stamp, text });
      return text;
    } catch (error) {
      if (known !== undefined) return known.text;
      throw error;
    }
  }
}

function reasonOf(error: unknown): ReasonCode {
  if (!(error instanceof AgentError)) return "internal-error";
  if (error.code === "invalid-config") return "invalid-config";
  return error.message.startsWith("run credential plugin") ? "source-refused" : "unreadable";
}
