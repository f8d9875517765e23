import { isAbsolute, join } from "@std/path";
import {
  AgentError,
  Backoff,
  type Clock,
  defined,
  type FileSystem,
  formatDuration,
  type KubeConnection,
  type ProcessRunner,
  Secret,
} from "../../model/mod.ts";
import { type Fields, isFields } from "../../formats/mod.ts";
import type { ExecConfig } from "./client_config.ts";

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
const MAX_STDOUT_BYTES = 1024 * 1024;
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
    const { clock } = this.#environment;
    const delayMs = this.#backoff.remainingMs();
    if (delayMs > 0) {
      throw this.#failure(`it failed recently, next attempt in ${formatDuration(delayMs)}`);
    }
    const startedMs = clock.monotonicMs();
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
    const { args, env, apiVersion, provideClusterInfo, installHint } = this.#config;
    const path = await this.#find();
    if (path === undefined) {
      const hint = installHint === "" ? "" : ` (${installHint.slice(0, 200)})`;
      throw this.#failure(`it is not installed${hint}`);
    }
    const spec = { interactive: false, ...(provideClusterInfo && { cluster }) };
    const info = JSON.stringify({ apiVersion, kind: "ExecCredential", spec });
    const result = await this.#environment.processRunner.run({
      path,
      args,
      env: { ...env, KUBERNETES_EXEC_INFO: info },
      stdin: "",
      timeoutMs: TIMEOUT_MS,
      maxStdoutBytes: MAX_STDOUT_BYTES,
    });
    switch (result.kind) {
      case "exited":
        if (result.code === 0) return result.stdout;
        throw this.#failure(`it exited with code ${result.code}`);
      case "timed-out":
        throw this.#failure(`it did not exit within ${formatDuration(TIMEOUT_MS)}`);
      case "too-much-output":
        throw this.#failure(`it printed more than ${MAX_STDOUT_BYTES} bytes`);
      case "not-started":
        throw this.#failure(`it cannot be executed: ${result.reason}`);
      default:
        return result satisfies never;
    }
  }

  async #find(): Promise<string | undefined> {
    const { command } = this.#config;
    const { files, env } = this.#environment;
    const folders = isAbsolute(command) ? [""] : (env["PATH"] ?? "").split(":").filter(isAbsolute);
    for (const folder of folders) {
      const path = folder === "" ? command : join(folder, command);
      const stat = await files.stat(path).catch(() => undefined);
      if (stat?.kind === "file" && (stat.mode & 0o111) !== 0) return path;
    }
    return undefined;
  }

  #read(stdout: string): ExecCredential {
    const { apiVersion } = this.#config;
    let output: unknown;
    try {
      output = JSON.parse(stdout);
    } catch {
      throw this.#failure("its output is not JSON", "invalid-response");
    }
    if (!isFields(output) || output["kind"] !== "ExecCredential") {
      throw this.#failure("its output is not an ExecCredential", "invalid-response");
    }
    if (output["apiVersion"] !== apiVersion) {
      throw this.#failure(`its output does not have version ${apiVersion}`, "invalid-response");
    }
    const status = isFields(output["status"]) ? output["status"] : {};
    const [token, cert, key, expires] = [
      "token",
      "clientCertificateData",
      "clientKeyData",
      "expirationTimestamp",
    ].map((name) => typeof status[name] === "string" ? status[name] as string : "");
    if (!token && !(cert && key)) {
      throw this.#failure(
        "its output contains neither a token nor a certificate",
        "invalid-response",
      );
    }
    const expiresAtMs = Date.parse(expires ?? "");
    return {
      ...(token && { token: new Secret(token) }),
      ...(cert && key && { certPem: cert, keyPem: new Secret(key) }),
      ...(Number.isFinite(expiresAtMs) && { expiresAtMs }),
    };
  }

  #failure(what: string, code: "io" | "invalid-response" = "io"): ExecPluginError {
    const command = JSON.stringify(this.#config.command);
    return new ExecPluginError(code, `run credential plugin ${command}: ${what}`);
  }
}

/** Returns the `cluster` of `KUBERNETES_EXEC_INFO`. */
export function clusterInfo(connection: KubeConnection, config: unknown): Fields {
  const { server, serverName, skipVerify, caPem, proxyUrl } = connection;
  return defined({
    server,
    "tls-server-name": serverName,
    "insecure-skip-tls-verify": skipVerify || undefined,
    "certificate-authority-data": caPem && new TextEncoder().encode(caPem).toBase64(),
    "proxy-url": proxyUrl?.reveal(),
    config: config ?? null,
  });
}
