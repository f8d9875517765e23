import { join } from "@std/path";
import {
  type Clock,
  credentialSecret,
  type ExecutionResult,
  type ImageReference,
  type Observer,
  type ProcessResult,
  type ProcessRunner,
  type ReasonCode,
  type Secret,
} from "../../model/mod.ts";
import { CALLED_BY_AGENT } from "../docker/mod.ts";
import { type PluginResponse, readPluginResponse } from "./plugin_response.ts";
import { PLUGIN_API_VERSION } from "./plugin_api.ts";
import type { PluginDefinition } from "./provider_config.ts";

/** What running plugins takes. */
export interface PluginExecutorOptions {
  readonly binDir: string;
  readonly timeoutMs: number;
  readonly processRunner: ProcessRunner;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Ends the plugins that still run. */
  readonly signal: AbortSignal;
}

/** Whose token a plugin gets, or why it gets none. */
export type PluginIdentity =
  | {
    readonly kind: "identity";
    readonly token: Secret;
    readonly annotations: Readonly<Record<string, string>>;
    /** Whether the token itself may come back as a password. */
    readonly mayEcho: boolean;
    /** Wall time beyond which an answer must not be kept. */
    readonly keptUntilMs?: number;
  }
  | { readonly kind: "failed"; readonly reason: ReasonCode; readonly detail: string };

/** Returns in whose name a plugin is run; called before each execution. */
export type IdentitySource = () => Promise<PluginIdentity>;

/** What one execution came to. */
export type PluginExecution =
  | { readonly kind: "answered"; readonly response: PluginResponse }
  | { readonly kind: "failed"; readonly reason: ReasonCode; readonly detail: string };

const MAX_STDOUT_BYTES = 1024 * 1024;

/** Runs a plugin once for an image, and tells the observer. Never rejects. */
export async function executePlugin(
  definition: PluginDefinition,
  image: ImageReference,
  options: PluginExecutorOptions,
  identitySource?: IdentitySource,
): Promise<PluginExecution> {
  const { binDir, timeoutMs, processRunner, clock, observer, signal } = options;
  const { name, args, env } = definition;
  const identity = await identitySource?.();
  if (identity?.kind === "failed") return identity;
  const startedMs = clock.monotonicMs();
  const stdin = requestText(image, identity);
  const path = join(binDir, name);
  // A plugin that goes by docker's configuration may find our helper there, too.
  const marked = { ...env, [CALLED_BY_AGENT]: "1" };
  const request = { path, args, env: marked, stdin, timeoutMs, maxStdoutBytes: MAX_STDOUT_BYTES };
  let execution: PluginExecution;
  try {
    const ended = await processRunner.run(request, { signal });
    const answered = readExecution(ended, definition, options);
    execution = bounded(withoutEcho(answered, identity), identity, clock.wallMs());
  } catch {
    const detail = signal.aborted ? "the agent is stopping" : "it could not be run";
    execution = { kind: "failed", reason: "plugin-failed", detail };
  }
  observer.notify({
    kind: "plugin-executed",
    provider: "kubelet",
    plugin: name,
    result: resultOf(execution),
    durationMs: clock.monotonicMs() - startedMs,
    ...(execution.kind === "failed" && { detail: execution.detail }),
  });
  return execution;
}

type Identity = PluginIdentity & { readonly kind: "identity" };

function requestText(image: ImageReference, identity: Identity | undefined): string {
  const { token, annotations = {} } = identity ?? {};
  return JSON.stringify({
    kind: "CredentialProviderRequest",
    apiVersion: PLUGIN_API_VERSION,
    image: image.text,
    ...(token && { serviceAccountToken: token.reveal() }),
    ...(Object.keys(annotations).length > 0 && { serviceAccountAnnotations: annotations }),
  });
}

/**
 * A token that comes back as a password counts for its pod alone, so it must not be shared with the
 * account's other pods (Kubernetes `pkg/credentialprovider/plugin/plugin.go`, `provide`).
 */
function withoutEcho(execution: PluginExecution, identity: Identity | undefined): PluginExecution {
  if (execution.kind !== "answered" || identity === undefined || identity.mayEcho) return execution;
  const { auth = [] } = execution.response;
  const echoes = auth.some(({ credential }) =>
    credential !== undefined && credentialSecret(credential).equals(identity.token)
  );
  if (!echoes) return execution;
  const detail = "its answer's password is the service account's token: that takes cacheType Token";
  return { kind: "failed", reason: "plugin-invalid-response", detail };
}

/** An answer for one token is not kept longer than the token lives. */
function bounded(
  execution: PluginExecution,
  identity: Identity | undefined,
  nowMs: number,
): PluginExecution {
  if (execution.kind !== "answered" || identity?.keptUntilMs === undefined) return execution;
  const { response } = execution;
  const cacheDurationMs = Math.min(
    response.cacheDurationMs,
    Math.max(0, identity.keptUntilMs - nowMs),
  );
  return { kind: "answered", response: { ...response, cacheDurationMs } };
}

/** Neither stdout nor stderr is quoted: both may hold what the plugin was given, or gives. */
function readExecution(
  ended: ProcessResult,
  { defaultCacheDurationMs }: PluginDefinition,
  { binDir, timeoutMs }: PluginExecutorOptions,
): PluginExecution {
  const failed = (reason: ReasonCode, detail: string) =>
    ({ kind: "failed", reason, detail }) as const;
  switch (ended.kind) {
    case "not-started":
      return ended.reason === "missing"
        ? failed("plugin-missing", `it is not in ${binDir}`)
        : failed("plugin-not-executable", "it cannot be executed");
    case "timed-out":
      return failed("plugin-timeout", `it was stopped after ${timeoutMs / 1000} s`);
    case "too-much-output":
      return failed("plugin-too-much-output", `it printed more than ${MAX_STDOUT_BYTES} bytes`);
    case "exited":
      break;
    default:
      return ended satisfies never;
  }
  if (ended.code !== 0) return failed("plugin-failed", `it exited with code ${ended.code}`);
  const reading = readPluginResponse(ended.stdout, defaultCacheDurationMs);
  return reading.kind === "ok"
    ? { kind: "answered", response: reading.response }
    : failed("plugin-invalid-response", reading.detail);
}

function resultOf(execution: PluginExecution): ExecutionResult {
  if (execution.kind === "failed") {
    return execution.reason === "plugin-timeout" ? "timeout" : "failure";
  }
  return execution.response.auth === undefined ? "none" : "success";
}
