import { join } from "@std/path";
import {
  AgentError,
  type ConfigProblem,
  defined,
  formatProblem,
  type KubeConnection,
  type ReasonCode,
  Secret,
} from "../../model/mod.ts";
import { type ClientConfig, inClusterConfig, type PemSource } from "./client_config.ts";
import {
  clusterInfo,
  ExecAuthenticator,
  type ExecEnvironment,
  ExecPluginError,
} from "./exec_credential.ts";
import { type KubeconfigFile, readKubeconfigs } from "./kubeconfig.ts";

/** Where a {@linkcode ConnectionResolver} finds the client configuration. */
export interface ConnectionOptions extends ExecEnvironment {
  /** @default `$KUBECONFIG`, else `$HOME/.kube/config`, else the pod's service account */
  readonly kubeconfigPath?: string;
}

/** A connection to the API server and the headers that authenticate each request. */
export interface AuthenticatedConnection {
  /** The same object until one of its fields changes, so that HTTP connections are reused. */
  readonly connection: KubeConnection;
  readonly headers: readonly (readonly [name: string, value: Secret])[];
}

/** Result of {@linkcode ConnectionResolver.resolve}. */
export type ConnectionResult =
  | { readonly kind: "ok"; readonly connection: AuthenticatedConnection }
  | { readonly kind: "failed"; readonly reason: ReasonCode; readonly detail: string };

/** With and without the certificate of an exec plugin, before and after a rotation. */
const MAX_CONNECTIONS = 4;

/**
 * Resolves the connection to the API server from a kubeconfig or the pod's service account. Files
 * are read again when they change, so that rotated certificates and tokens apply to the next call.
 * When a file cannot be read, its last content stays in use.
 */
export class ConnectionResolver {
  readonly #options: ConnectionOptions;
  readonly #files = new Map<string, { readonly stamp: string; readonly text: string }>();
  #config: { readonly stamp: string; readonly config: ClientConfig } | undefined;
  #exec: ExecAuthenticator | undefined;
  readonly #connections = new Map<string, KubeConnection>();

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** Discards everything that is cached, after the API server rejected the credential. */
  invalidate(): void {
    this.#files.clear();
    this.#exec?.invalidate();
  }

  /** Never rejects. */
  async resolve(): Promise<ConnectionResult> {
    try {
      const config = await this.#loadConfig();
      if (config === undefined) {
        const detail = "found neither a kubeconfig nor the service account of a pod";
        return { kind: "failed", reason: "no-config-file", detail };
      }
      return { kind: "ok", connection: await this.#authenticate(config) };
    } catch (error) {
      const detail = error instanceof AgentError ? error.message : "it cannot be read";
      return { kind: "failed", reason: reasonOf(error), detail };
    }
  }

  /** Returns all problems of the configuration, without calling the API server or a plugin. */
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
      const config = reading?.config ?? inClusterConfig(this.#options.env);
      if (config === undefined) {
        const what = "the file does not exist, and the agent does not run in a pod";
        return [{ file, place: "", problem: what, remedy: "set providers.kubesecret.kubeconfig" }];
      }
      const { ca, cert, key, auth } = config;
      const tokenFile = auth.kind === "token-file" && auth.token === undefined
        ? auth.path
        : undefined;
      const pemFiles = [ca, cert, key].map((pem) => pem?.kind === "file" ? pem.path : undefined);
      const required = [...pemFiles, tokenFile].filter((path) => path !== undefined);
      const results = await Promise.all(
        required.map((path) => this.#requiredText(path).then(() => [], (e) => [problem(e)])),
      );
      return results.flat();
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

  async #loadConfig(): Promise<ClientConfig | undefined> {
    const found = await this.#kubeconfigs();
    if (found.length === 0) return inClusterConfig(this.#options.env);
    const stamp = found.map(({ path }) => `${path}\0${this.#files.get(path)?.stamp}`).join("\n");
    if (this.#config?.stamp === stamp) return this.#config.config;
    const reading = readKubeconfigs(found);
    if (reading.kind === "config") {
      this.#config = { stamp, config: reading.config };
      this.#exec = undefined;
    } else if (this.#config === undefined) {
      throw new AgentError("invalid-config", reading.problems.map(formatProblem).join("; "));
    }
    return this.#config.config;
  }

  /** Returns the paths of kubeconfig files, by the loading rules of client-go. */
  #paths(): readonly string[] {
    const { kubeconfigPath, env } = this.#options;
    if (kubeconfigPath !== undefined) return [kubeconfigPath];
    const listed = (env["KUBECONFIG"] ?? "").split(":").filter((path) => path !== "");
    const home = env["HOME"] ?? "";
    return listed.length > 0 || home === "" ? listed : [join(home, ".kube", "config")];
  }

  async #authenticate(config: ClientConfig): Promise<AuthenticatedConnection> {
    const caPem = await this.#pem(config.ca);
    const certPem = await this.#pem(config.cert);
    const connection = this.#connect(config, caPem, certPem, await this.#pem(config.key));
    const { auth, impersonation } = config;
    const withAuthorization = (value: string): AuthenticatedConnection => ({
      connection,
      headers: [...impersonation, ["Authorization", new Secret(value)]],
    });
    switch (auth.kind) {
      case "anonymous":
        return { connection, headers: impersonation };
      case "token":
        return withAuthorization(`Bearer ${auth.token.reveal()}`);
      case "token-file": {
        const { path, token } = auth;
        const read = this.#requiredText(path);
        const text = token === undefined ? await read : await read.catch(() => token.reveal());
        return withAuthorization(`Bearer ${text}`);
      }
      case "basic": {
        const pair = new TextEncoder().encode(`${auth.username}:${auth.password.reveal()}`);
        return withAuthorization(`Basic ${pair.toBase64()}`);
      }
      case "exec": {
        this.#exec ??= new ExecAuthenticator(auth.exec, this.#options);
        const { token, certPem, keyPem } = await this.#exec.get(
          clusterInfo(connection, config.execConfig),
        );
        const { headers } = token
          ? withAuthorization(`Bearer ${token.reveal()}`)
          : { headers: impersonation };
        return { connection: this.#connect(config, caPem, certPem, keyPem?.reveal()), headers };
      }
      default:
        return auth satisfies never;
    }
  }

  #connect(
    { server, skipVerify, serverName, proxyUrl }: ClientConfig,
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
      ...defined({ serverName, proxyUrl, caPem }),
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
    return source.kind === "inline" ? source.pem.reveal() : await this.#requiredText(source.path);
  }

  async #requiredText(path: string): Promise<string> {
    const text = (await this.#text(path))?.trim() ?? "";
    if (text !== "") return text;
    throw new AgentError("io", `read ${path}: it is missing or empty`);
  }

  /** Returns a file's content, or its last content while the file is missing, empty or replaced. */
  async #text(path: string): Promise<string | undefined> {
    const known = this.#files.get(path);
    const { files } = this.#options;
    try {
      const stat = await files.stat(path);
      if (stat !== undefined && stat.stamp === known?.stamp) return known.text;
      const text = stat === undefined ? undefined : await files.readText(path);
      if (stat === undefined || text === undefined || text.trim() === "") return known?.text;
      this.#files.set(path, { stamp: stat.stamp, text });
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
  return error instanceof ExecPluginError ? "source-refused" : "unreadable";
}
