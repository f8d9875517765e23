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
import { ExecAuthenticator, type ExecEnvironment, ExecPluginError } from "./exec_credential.ts";
import {
  type ClientConfig,
  inClusterConfig,
  type PemSource,
  readKubeconfig,
} from "./kubeconfig.ts";

/** Where a {@linkcode ConnectionResolver} finds the client configuration. */
export interface ConnectionOptions extends ExecEnvironment {
  /** @default `$KUBECONFIG`, else `$HOME/.kube/config`, else the pod's service account */
  readonly kubeconfigPath?: string;
}

/** A connection to the API server, and the token that authenticates each request. */
export interface AuthenticatedConnection {
  /** The same object until one of its fields changes, so that HTTP connections are reused. */
  readonly connection: KubeConnection;
  readonly token?: Secret;
}

/** Result of {@linkcode ConnectionResolver.resolve}. */
export type ConnectionResult =
  | { readonly kind: "ok"; readonly connection: AuthenticatedConnection }
  | { readonly kind: "failed"; readonly reason: ReasonCode; readonly detail: string };

/**
 * Resolves the connection to the API server from a kubeconfig or the pod's service account. Files
 * are read each time, so that rotated certificates and tokens apply to the next call. When a file
 * cannot be read, its last content stays in use.
 */
export class ConnectionResolver {
  readonly #options: ConnectionOptions;
  /** The last content of each file. */
  readonly #texts = new Map<string, string>();
  /** The last valid kubeconfig. */
  #loaded: { readonly text: string; readonly config: ClientConfig } | undefined;
  #exec: ExecAuthenticator | undefined;
  #connection: { readonly key: string; readonly connection: KubeConnection } | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** Discards the credential of an exec plugin, after the API server rejected it. */
  invalidate(): void {
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
      return { kind: "failed", reason: reasonOf(error), detail: messageOf(error) };
    }
  }

  /** Returns the problems of the configuration, without calling the API server or a plugin. */
  async check(): Promise<readonly ConfigProblem[]> {
    const path = this.#path();
    const file = path ?? "kubeconfig";
    try {
      const text = path === undefined ? undefined : await this.#text(path);
      const reading = text === undefined ? undefined : readKubeconfig(text, file);
      if (reading?.kind === "invalid") return reading.problems;
      const config = reading?.config ?? inClusterConfig(this.#options.env);
      if (config === undefined) {
        const problem = "the file does not exist, and the agent does not run in a pod";
        return [{ file, place: "", problem, remedy: "set providers.kubesecret.kubeconfig" }];
      }
      const { ca, cert, key, auth } = config;
      for (const pem of [ca, cert, key]) await this.#pem(pem);
      if (auth.kind === "token-file") await this.#requiredText(auth.path);
      return [];
    } catch (error) {
      const remedy = "make it readable for the agent";
      return [{ file, place: "", problem: messageOf(error), remedy }];
    }
  }

  async #loadConfig(): Promise<ClientConfig | undefined> {
    const path = this.#path();
    const text = path === undefined ? undefined : await this.#text(path);
    if (path === undefined || text === undefined) return inClusterConfig(this.#options.env);
    if (text === this.#loaded?.text) return this.#loaded.config;
    const reading = readKubeconfig(text, path);
    if (reading.kind === "config") {
      this.#loaded = { text, config: reading.config };
      this.#exec = undefined;
    } else if (this.#loaded === undefined) {
      throw new AgentError("invalid-config", reading.problems.map(formatProblem).join("; "));
    }
    return this.#loaded.config;
  }

  /** Returns the path of the kubeconfig file. Of a list in `$KUBECONFIG`, only the first is read. */
  #path(): string | undefined {
    const { kubeconfigPath, env } = this.#options;
    const home = env["HOME"] ?? "";
    const [listed] = (env["KUBECONFIG"] ?? "").split(":").filter((path) => path !== "");
    return kubeconfigPath ?? listed ?? (home === "" ? undefined : join(home, ".kube", "config"));
  }

  async #authenticate(config: ClientConfig): Promise<AuthenticatedConnection> {
    const { auth } = config;
    const caPem = await this.#pem(config.ca);
    let token = auth.kind === "token" ? auth.token : undefined;
    let certPem = await this.#pem(config.cert);
    let keyPem = await this.#pem(config.key);
    if (auth.kind === "token-file") token = new Secret(await this.#requiredText(auth.path));
    if (auth.kind === "exec") {
      this.#exec ??= new ExecAuthenticator(auth.exec, this.#options);
      const credential = await this.#exec.get(clusterInfo(config, caPem));
      token = credential.token;
      certPem = credential.certPem;
      keyPem = credential.keyPem?.reveal();
    }
    return { connection: this.#connect(config, caPem, certPem, keyPem), ...defined({ token }) };
  }

  #connect(
    { server, skipVerify, serverName, proxyUrl }: ClientConfig,
    caPem: string | undefined,
    certPem: string | undefined,
    keyPem: string | undefined,
  ): KubeConnection {
    const parts = [server, skipVerify, serverName, proxyUrl?.reveal(), caPem, certPem, keyPem];
    const key = JSON.stringify(parts);
    if (this.#connection?.key === key) return this.#connection.connection;
    const connection: KubeConnection = {
      server,
      skipVerify,
      ...defined({ serverName, proxyUrl, caPem }),
      ...(certPem !== undefined && keyPem !== undefined && {
        certPem,
        keyPem: new Secret(keyPem),
      }),
    };
    this.#connection = { key, connection };
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
    const known = this.#texts.get(path);
    try {
      const text = await this.#options.files.readText(path);
      if (text === undefined || text.trim() === "") return known;
      this.#texts.set(path, text);
      return text;
    } catch (error) {
      if (known !== undefined) return known;
      throw error;
    }
  }
}

/** Returns the `cluster` of `KUBERNETES_EXEC_INFO`. */
function clusterInfo(config: ClientConfig, caPem: string | undefined) {
  const { server, serverName, skipVerify, proxyUrl, execConfig } = config;
  return defined({
    server,
    "tls-server-name": serverName,
    "insecure-skip-tls-verify": skipVerify || undefined,
    "certificate-authority-data": caPem && new TextEncoder().encode(caPem).toBase64(),
    "proxy-url": proxyUrl?.reveal(),
    config: execConfig ?? null,
  });
}

function messageOf(error: unknown): string {
  return error instanceof AgentError ? error.message : "it cannot be read";
}

function reasonOf(error: unknown): ReasonCode {
  if (!(error instanceof AgentError)) return "internal-error";
  if (error.code === "invalid-config") return "invalid-config";
  return error instanceof ExecPluginError ? "source-refused" : "unreadable";
}
