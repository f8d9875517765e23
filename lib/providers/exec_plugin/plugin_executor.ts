import { join } from "@std/path";
import {
  type Clock,
  credentialSecret,
  defined,
  type ExecutionResult,
  type ImageReference,
  type Observer,
  type ProcessResult,
  type ProcessRunner,
  type ReasonCode,
} from "../../model/mod.ts";
import { CALLED_BY_AGENT } from "../docker/mod.ts";
import {
  pluginRequest,
  type PluginResponse,
  readPluginResponse,
  type ServiceAccountFields,
} from "./plugin_api.ts";
import type { PluginDefinition } from "./provider_config.ts";

/** Dependencies and settings of plugin execution. */
export interface PluginExecutorOptions {
  readonly binDir: string;
  readonly timeoutMs: number;
  readonly processRunner: ProcessRunner;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Stops running plugins. */
  readonly signal: AbortSignal;
}

/** A failure of a plugin or of what it needs. */
export interface PluginFailure {
  readonly kind: "failed";
  readonly reason: ReasonCode;
  readonly detail: string;
}

/** A service account token for one execution, with the rules for what the plugin returns. */
export interface ServiceAccountToken extends ServiceAccountFields {
  readonly kind: "token";
  /** Whether the plugin may return the token itself as a password. */
  readonly mayEcho: boolean;
  /** Wall time beyond which the response must not be cached. */
  readonly cacheUntilMs?: number;
}

/** Requests a token. Called before each execution. */
export type TokenSource = () => Promise<ServiceAccountToken | PluginFailure>;

/** Result of one execution. */
export type PluginExecution =
  | { readonly kind: "responded"; readonly response: PluginResponse }
  | PluginFailure;

const MAX_STDOUT_BYTES = 1024 * 1024;

/** Executes a plugin for an image and reports the execution to the observer. Never rejects. */
export async function executePlugin(
  definition: PluginDefinition,
  image: ImageReference,
  options: PluginExecutorOptions,
  tokenSource?: TokenSource,
): Promise<PluginExecution> {
  const { binDir, timeoutMs, processRunner, clock, observer, signal } = options;
  const { name, args } = definition;
  const token = await tokenSource?.();
  if (token?.kind === "failed") return token;
  const startedMs = clock.monotonicMs();
  let execution: PluginExecution;
  try {
    const result = await processRunner.run({
      path: join(binDir, name),
      args,
      // A plugin that uses docker's configuration may find the agent's own credential helper there.
      env: { ...definition.env, [CALLED_BY_AGENT]: "1" },
      stdin: pluginRequest(image, token),
      timeoutMs,
      maxStdoutBytes: MAX_STDOUT_BYTES,
    }, { signal });
    execution = readExecution(result, definition, options);
    if (token !== undefined) execution = restricted(execution, token, clock.wallMs());
  } catch {
    const detail = signal.aborted ? "the agent is stopping" : "it could not be executed";
    execution = { kind: "failed", reason: "plugin-failed", detail };
  }
  observer.notify({
    kind: "plugin-executed",
    provider: "kubelet",
    plugin: name,
    result: executionResult(execution),
    durationMs: clock.monotonicMs() - startedMs,
    ...defined({ detail: execution.kind === "failed" ? execution.detail : undefined }),
  });
  return execution;
}

/** Neither stdout nor stderr is quoted: both may contain secrets. */
function readExecution(
  result: ProcessResult,
  { defaultCacheDurationMs }: PluginDefinition,
  { binDir, timeoutMs }: PluginExecutorOptions,
): PluginExecution {
  const failed = (reason: ReasonCode, detail: string) =>
    ({ kind: "failed", reason, detail }) as const;
  switch (result.kind) {
    case "not-started":
      return result.reason === "missing"
        ? failed("plugin-missing", `it is not in ${binDir}`)
        : failed("plugin-not-executable", "it is not executable");
    case "timed-out":
      return failed("plugin-timeout", `it was stopped after ${timeoutMs / 1000} s`);
    case "too-much-output":
      return failed("plugin-too-much-output", `its output exceeded ${MAX_STDOUT_BYTES} bytes`);
    case "exited":
      break;
    default:
      return result satisfies never;
  }
  if (result.code !== 0) return failed("plugin-failed", `it exited with code ${result.code}`);
  const reading = readPluginResponse(result.stdout, defaultCacheDurationMs);
  return reading.kind === "ok"
    ? { kind: "responded", response: reading.response }
    : failed("plugin-invalid-response", reading.detail);
}

/**
 * Applies a token's rules to a response. A token returned as a password is bound to its pod, so it
 * must not be shared with other pods of the account (Kubernetes
 * `pkg/credentialprovider/plugin/plugin.go`, `provide`).
 */
function restricted(
  execution: PluginExecution,
  { token, mayEcho, cacheUntilMs = Infinity }: ServiceAccountToken,
  nowMs: number,
): PluginExecution {
  if (execution.kind !== "responded") return execution;
  const { response } = execution;
  const isEcho = response.auth?.some(({ credential }) =>
    credential !== undefined && credentialSecret(credential).equals(token)
  );
  if (isEcho && !mayEcho) {
    const detail = "the response returns the service account token as a password, " +
      "which requires cacheType Token";
    return { kind: "failed", reason: "plugin-invalid-response", detail };
  }
  const maxCacheMs = Math.max(0, cacheUntilMs - nowMs);
  const cacheDurationMs = Math.min(response.cacheDurationMs, maxCacheMs);
  return { kind: "responded", response: { ...response, cacheDurationMs } };
}

function executionResult(execution: PluginExecution): ExecutionResult {
  if (execution.kind === "failed") {
    return execution.reason === "plugin-timeout" ? "timeout" : "failure";
  }
  return execution.response.auth === undefined ? "none" : "success";
}
