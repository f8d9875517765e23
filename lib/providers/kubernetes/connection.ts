import { join } from "@std/path";
import { type Fields, isFields, parseFields } from "../../formats/mod.ts";
import {
  AgentError,
  Backoff,
  type Clock,
  type ConfigProblem,
  defined,
  type FileSystem,
  formatDuration,
  formatProblem,
  type KubeConnection,
  type ProcessRunner,
  type ReasonCode,
  Secret,
} from "../../model/mod.ts";
import { findExecutable, MAX_STDOUT_BYTES, processProblem } from "../program/execution.ts";
import {
  type ClientConfig,
  type ExecConfig,
  inClusterConfig,
  type KubeconfigResult,
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

/** Why the API server returned no result. */
export interface KubeFailure {
  readonly reason: ReasonCode;
  /** For the user. Contains nothing that was sent or received. */
  readonly detail: string;
  /** HTTP status, if the API server responded. */
  readonly status?: number;
  readonly retryAfterMs?: number;
}

/** Result of {@linkcode ConnectionResolver.resolve}. */
export type ConnectionResult =
  | { readonly kind: "ok"; readonly connection: AuthenticatedConnection }
  | { readonly kind: "failed"; readonly failure: KubeFailure };

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
  #loaded: { readonly text: string; readonly result: KubeconfigResult } | undefined;
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
      const loaded = await this.#load();
      if (loaded === undefined) {
        const detail = "found neither a kubeconfig nor the service account of a pod";
        return { kind: "failed", failure: { reason: "no-config-file", detail } };
      }
      if (loaded.kind === "invalid") {
        const detail = loaded.problems.map(formatProblem).join("; ");
        return { kind: "failed", failure: { reason: "invalid-config", detail } };
      }
      return { kind: "ok", connection: await this.#authenticate(loaded.config) };
    } catch (error) {
      const failure = { reason: reasonOf(error), detail: messageOf(error) };
      return { kind: "failed", failure };
    }
  }

  /** Returns the problems of the configuration, without calling the API server or a plugin. */
  async check(): Promise<readonly ConfigProblem[]> {
    const file = this.#path() ?? "kubeconfig";
    try {
      const loaded = await this.#load();
      if (loaded?.kind === "invalid") return loaded.problems;
      if (loaded === undefined) {
        const problem = "the file does not exist, and the agent does not run in a pod";
        return [{ file, place: "", problem, remedy: "set providers.kubesecret.kubeconfig" }];
      }
      const { ca, cert, key, auth } = loaded.config;
      for (const pem of [ca, cert, key]) await this.#pem(pem);
      if (auth.kind === "token-file") await this.#requiredText(auth.path);
      return [];
    } catch (error) {
      const remedy = "make it readable for the agent";
      return [{ file, place: "", problem: messageOf(error), remedy }];
    }
  }

  /** While the file is invalid, the last valid one stays in use. Undefined without a file or pod. */
  async #load(): Promise<KubeconfigResult | undefined> {
    const path = this.#path();
    const text = path === undefined ? undefined : await this.#text(path);
    if (path === undefined || text === undefined) {
      const config = inClusterConfig(this.#options.env);
      return config && { kind: "config", config };
    }
    if (text === this.#loaded?.text) return this.#loaded.result;
    const result = readKubeconfig(text, path);
    if (result.kind === "invalid") return this.#loaded?.result ?? result;
    this.#loaded = { text, result };
    this.#exec = undefined;
    return result;
  }

  /** Returns the path of the kubeconfig file. Of a list in `$KUBECONFIG`, only the first is read. */
  #path(): string | undefined {
    const { kubeconfigPath, env } = this.#options;
    const home = env["HOME"] ?? "";
    const [listed] = (env["KUBECONFIG"] ?? "").split(":").filter((path) => path !== "");
    return kubeconfigPath ?? listed ?? (home === "" ? undefined : join(home, ".kube", "config"));
  }

  async #authenticate(config: ClientConfig): Promise<AuthenticatedConnection> {
    const { server, skipVerify, serverName, proxyUrl } = config;
    const caPem = await this.#pem(config.ca);
    const { token, certPem, keyPem } = await this.#credential(config, caPem);
    const secrets = [proxyUrl?.reveal(), keyPem?.reveal()];
    const key = JSON.stringify([server, skipVerify, serverName, caPem, certPem, ...secrets]);
    if (this.#connection?.key !== key) {
      const more = defined({ serverName, proxyUrl, caPem, certPem, keyPem });
      this.#connection = { key, connection: { server, skipVerify, ...more } };
    }
    return { connection: this.#connection.connection, ...defined({ token }) };
  }

  async #credential(config: ClientConfig, caPem: string | undefined): Promise<ExecCredential> {
    const { auth } = config;
    if (auth.kind === "exec") {
      this.#exec ??= new ExecAuthenticator(auth.exec, this.#options);
      return await this.#exec.get(clusterInfo(config, caPem));
    }
    const certPem = await this.#pem(config.cert);
    const keyPem = await this.#pem(config.key);
    const token = auth.kind === "token-file"
      ? new Secret(await this.#requiredText(auth.path))
      : auth.kind === "token"
      ? auth.token
      : undefined;
    return defined({ token, certPem, keyPem: keyPem === undefined ? keyPem : new Secret(keyPem) });
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
  const { server, serverName, skipVerify, proxyUrl } = config;
  return defined({
    server,
    "tls-server-name": serverName,
    "insecure-skip-tls-verify": skipVerify || undefined,
    "certificate-authority-data": caPem && new TextEncoder().encode(caPem).toBase64(),
    "proxy-url": proxyUrl?.reveal(),
    config: null,
  });
}

function messageOf(error: unknown): string {
  return error instanceof AgentError ? error.message : "it cannot be read";
}

function reasonOf(error: unknown): ReasonCode {
  if (!(error instanceof AgentError)) return "internal-error";
  return error instanceof ExecPluginError ? "source-refused" : "unreadable";
}

/** The credential of an exec plugin: a token, a certificate with its key, or both. */
export interface ExecCredential {
  readonly token?: Secret;
  readonly certPem?: string;
  readonly keyPem?: Secret;
  /** Wall time of its expiry (ms). */
  readonly expiresAtMs?: number;
}

/** Dependencies for running exec plugins. */
export interface ExecEnvironment {
  readonly files: FileSystem;
  readonly processRunner: ProcessRunner;
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string>>;
}

/** Thrown when an exec plugin fails. The message contains nothing of its output. */
export class ExecPluginError extends AgentError {}

const TIMEOUT_MS = 60_000;
/** A credential that expires within this time is not used any more. */
const EXPIRY_MARGIN_MS = 10_000;

/**
 * Runs an exec plugin by the `client.authentication.k8s.io` protocol (client-go
 * `plugin/pkg/client/auth/exec`) and caches its credential until it expires or is rejected.
 * Concurrent calls share one execution, and executions back off after failures.
 */
export class ExecAuthenticator {
  readonly #config: ExecConfig;
  readonly #environment: ExecEnvironment;
  readonly #backoff: Backoff;
  #cached: ExecCredential | undefined;
  #running: Promise<ExecCredential> | undefined;

  constructor(config: ExecConfig, environment: ExecEnvironment) {
    this.#config = config;
    this.#environment = environment;
    this.#backoff = new Backoff(environment);
  }

  /** Discards the cached credential, after the API server rejected it. */
  invalidate(): void {
    this.#cached = undefined;
  }

  /**
   * @param cluster Passed to the plugin, if its configuration requests it.
   * @throws {ExecPluginError} `io` or `invalid-response`
   */
  async get(cluster: Fields): Promise<ExecCredential> {
    const { clock } = this.#environment;
    const cached = this.#cached;
    if (cached && (cached.expiresAtMs ?? Infinity) > clock.wallMs() + EXPIRY_MARGIN_MS) {
      return cached;
    }
    this.#running ??= this.#run(cluster).finally(() => this.#running = undefined);
    return await this.#running;
  }

  async #run(cluster: Fields): Promise<ExecCredential> {
    const delayMs = this.#backoff.remainingMs();
    if (delayMs > 0) {
      throw this.#failure(`it failed recently, next attempt in ${formatDuration(delayMs)}`);
    }
    const startedMs = this.#environment.clock.monotonicMs();
    try {
      this.#cached = this.#read(await this.#execute(cluster));
      this.#backoff.succeeded();
      return this.#cached;
    } catch (error) {
      this.#backoff.failed(startedMs);
      throw error;
    }
  }

  async #execute(cluster: Fields): Promise<string> {
    const { command, args, env, apiVersion, provideClusterInfo } = this.#config;
    const { files, processRunner, env: { PATH = "" } } = this.#environment;
    const path = await findExecutable(command, PATH, files);
    if (path === undefined) throw this.#failure("it is not installed");
    const spec = { interactive: false, ...(provideClusterInfo && { cluster }) };
    const info = JSON.stringify({ apiVersion, kind: "ExecCredential", spec });
    const result = await processRunner.run({
      path,
      args,
      env: { ...env, KUBERNETES_EXEC_INFO: info },
      stdin: "",
      timeoutMs: TIMEOUT_MS,
      maxStdoutBytes: MAX_STDOUT_BYTES,
    });
    const problem = processProblem(result, TIMEOUT_MS);
    if (problem !== undefined) throw this.#failure(problem.detail);
    return result.kind === "exited" ? result.stdout : "";
  }

  #read(stdout: string): ExecCredential {
    const { apiVersion } = this.#config;
    const invalid = (what: string) => this.#failure(what, "invalid-response");
    const output = parseFields(stdout);
    if (output?.["kind"] !== "ExecCredential") {
      throw invalid("its output is not an ExecCredential");
    }
    if (output["apiVersion"] !== apiVersion) {
      throw invalid(`its output does not have version ${apiVersion}`);
    }
    const status = isFields(output["status"]) ? output["status"] : {};
    const text = (name: string) => typeof status[name] === "string" ? status[name] : "";
    const token = text("token");
    const certPem = text("clientCertificateData");
    const key = text("clientKeyData");
    const hasCertificate = certPem !== "" && key !== "";
    if (token === "" && !hasCertificate) {
      throw invalid("its output contains neither a token nor a certificate");
    }
    const expiresAtMs = Date.parse(text("expirationTimestamp"));
    return {
      ...(token !== "" && { token: new Secret(token) }),
      ...(hasCertificate && { certPem, keyPem: new Secret(key) }),
      ...(Number.isFinite(expiresAtMs) && { expiresAtMs }),
    };
  }

  #failure(what: string, code: "io" | "invalid-response" = "io"): ExecPluginError {
    const command = JSON.stringify(this.#config.command);
    return new ExecPluginError(code, `run credential plugin ${command}: ${what}`);
  }
}
