import { isAbsolute, join } from "@std/path";
import {
  AgentError,
  type Clock,
  type FileSystem,
  formatDuration,
  type KubeConnection,
  type ProcessRunner,
  Secret,
} from "../../model/mod.ts";
import { Backoff } from "../../model/mod.ts";
import { type Fields, isFields } from "../../formats/mod.ts";
import type { ExecSettings } from "./kube_target.ts";

/** What an exec plugin gave: a token, a certificate with its key, or both. */
export interface ExecCredential {
  readonly token?: Secret;
  readonly certPem?: string;
  readonly keyPem?: Secret;
  /** Wall time (ms) after which the plugin is to be asked again. */
  readonly expiresAtMs?: number;
}

/** What running exec plugins takes. */
export interface ExecEnvironment {
  readonly files: FileSystem;
  readonly processRunner: ProcessRunner;
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string>>;
}

const TIMEOUT_MS = 60_000;
const MAX_STDOUT_BYTES = 1024 * 1024;
/** A credential about to end is renewed rather than used once more. */
const LEEWAY_MS = 10_000;

/**
 * The credential of an exec plugin, by the protocol `client.authentication.k8s.io` (client-go
 * `plugin/pkg/client/auth/exec`): kept until it expires or is refused, asked for by one execution
 * at a time, which rests after failures.
 */
export class ExecCredentials {
  readonly settings: ExecSettings;
  readonly #environment: ExecEnvironment;
  readonly #backoff: Backoff;
  #kept: ExecCredential | undefined;
  #running: Promise<ExecCredential> | undefined;

  constructor(settings: ExecSettings, environment: ExecEnvironment) {
    this.settings = settings;
    this.#environment = environment;
    this.#backoff = new Backoff(environment);
  }

  /** What was given out last was refused. */
  suspect(): void {
    this.#kept = undefined;
  }

  /**
   * @param cluster What the plugin is told of the cluster, if it wants to know.
   * @throws {AgentError} `io` or `invalid-response`; the message quotes nothing of its output.
   */
  async get(cluster: Fields): Promise<ExecCredential> {
    const { clock } = this.#environment;
    const kept = this.#kept;
    if (kept && (kept.expiresAtMs ?? Infinity) > clock.wallMs() + LEEWAY_MS) return kept;
    this.#running ??= this.#run(cluster).finally(() => this.#running = undefined);
    return await this.#running;
  }

  async #run(cluster: Fields): Promise<ExecCredential> {
    const { clock } = this.#environment;
    const restMs = this.#backoff.remainingMs();
    if (restMs > 0) throw this.#failure(`it failed lately, and rests ${formatDuration(restMs)}`);
    const startedMs = clock.monotonicMs();
    try {
      this.#kept = this.#read(await this.#execute(cluster));
      this.#backoff.succeeded();
      return this.#kept;
    } catch (error) {
      this.#backoff.failed(startedMs);
      throw error;
    }
  }

  async #execute(cluster: Fields): Promise<string> {
    const { args, env, apiVersion, provideClusterInfo, installHint } = this.settings;
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
        throw this.#failure(`it exited with ${result.code}`);
      case "timed-out":
        throw this.#failure(`it did not end within ${formatDuration(TIMEOUT_MS)}`);
      case "too-much-output":
        throw this.#failure(`it printed more than ${MAX_STDOUT_BYTES} bytes`);
      case "not-started":
        throw this.#failure(`it cannot be started: ${result.reason}`);
      default:
        return result satisfies never;
    }
  }

  async #find(): Promise<string | undefined> {
    const { command } = this.settings;
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
    const { apiVersion } = this.settings;
    let answer: unknown;
    try {
      answer = JSON.parse(stdout);
    } catch {
      throw this.#failure("its answer is not JSON", "invalid-response");
    }
    if (!isFields(answer) || answer["kind"] !== "ExecCredential") {
      throw this.#failure("its answer is no ExecCredential", "invalid-response");
    }
    if (answer["apiVersion"] !== apiVersion) {
      throw this.#failure(`its answer is not of version ${apiVersion}`, "invalid-response");
    }
    const status = isFields(answer["status"]) ? answer["status"] : {};
    const [token, cert, key, expires] = [
      "token",
      "clientCertificateData",
      "clientKeyData",
      "expirationTimestamp",
    ].map((name) => typeof status[name] === "string" ? status[name] as string : "");
    if (!token && !(cert && key)) {
      throw this.#failure("its answer holds neither token nor certificate", "invalid-response");
    }
    const expiresAtMs = Date.parse(expires ?? "");
    return {
      ...(token && { token: new Secret(token) }),
      ...(cert && key && { certPem: cert, keyPem: new Secret(key) }),
      ...(Number.isFinite(expiresAtMs) && { expiresAtMs }),
    };
  }

  #failure(what: string, code: "io" | "invalid-response" = "io"): AgentError {
    const command = JSON.stringify(this.settings.command);
    return new AgentError(code, `run credential plugin ${command}: ${what}`);
  }
}

/** What `KUBERNETES_EXEC_INFO` tells of a cluster. */
export function clusterInfo(connection: KubeConnection, config: unknown): Fields {
  const { server, serverName, skipVerify, caPem, proxyUrl } = connection;
  return {
    server,
    ...(serverName !== undefined && { "tls-server-name": serverName }),
    ...(skipVerify && { "insecure-skip-tls-verify": true }),
    ...(caPem !== undefined && {
      "certificate-authority-data": new TextEncoder().encode(caPem).toBase64(),
    }),
    ...(proxyUrl && { "proxy-url": proxyUrl.reveal() }),
    config: config ?? null,
  };
}
