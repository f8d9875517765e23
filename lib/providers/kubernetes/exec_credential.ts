import {
  AgentError,
  Backoff,
  type Clock,
  type FileSystem,
  formatDuration,
  type ProcessRunner,
  Secret,
} from "../../model/mod.ts";
import { type Fields, isFields } from "../../formats/mod.ts";
import { findExecutable, MAX_STDOUT_BYTES, processProblem } from "../program/mod.ts";
import type { ExecConfig } from "./kubeconfig.ts";

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
    let output: unknown;
    try {
      output = JSON.parse(stdout);
    } catch {
      throw invalid("its output is not JSON");
    }
    if (!isFields(output) || output["kind"] !== "ExecCredential") {
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
