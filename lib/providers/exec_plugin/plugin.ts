import { join } from "@std/path";
import { goField, isFields } from "../../formats/mod.ts";
import {
  credentialFromPair,
  type CredentialRequest,
  credentialSecret,
  defined,
  ImagePattern,
  type ImageReference,
  type ImageTarget,
  joinNames,
  parseDurationMs,
  PLUGIN_API_VERSION,
  type Random,
  type ReasonCode,
  type Secret,
  type Semaphore,
  setNewest,
  type ValidAccounts,
} from "../../model/mod.ts";
import {
  CachedProgram,
  failedOutcome,
  noCredential,
  type ProgramOutcome,
} from "../program/cached_program.ts";
import {
  type CacheKeyType,
  execute,
  type ExecutionOptions,
  processProblem,
  type ProgramAuth,
  type ProgramFailure,
  type ProgramResponse,
  type ProgramResult,
} from "../program/execution.ts";
import type { PluginDefinition } from "./provider_config.ts";

/** Dependencies and settings of all plugins. */
export interface PluginEnvironment extends ExecutionOptions {
  readonly binDir: string;
  readonly timeoutMs: number;
  /** Adds jitter to the backoff. */
  readonly random: Random;
  /** Limits concurrent executions over all plugins. */
  readonly semaphore: Semaphore;
}

/** One plugin's part of the provider's outcome. */
export interface PluginOutcome extends ProgramOutcome {
  /** Set by plugins that run per service account: the accounts whose credentials are still valid. */
  readonly validAccounts?: ValidAccounts;
}

/** A service account token for one execution, with the rules for what the plugin returns. */
export interface ServiceAccountToken {
  readonly kind: "token";
  readonly token: Secret;
  readonly annotations: Readonly<Record<string, string>>;
  /** Whether the plugin may return the token itself as a password. */
  readonly mayEcho: boolean;
  /** Wall time beyond which the response must not be cached. */
  readonly cacheUntilMs?: number;
}

/** Requests a token. Called before each execution. */
export type TokenSource = () => Promise<ServiceAccountToken | ProgramFailure>;

/** Limit of service accounts with state. */
const MAX_PROGRAMS = 256;

/** A plugin of the `CredentialProviderConfig`, executed without a service account. */
export class Plugin {
  readonly definition: PluginDefinition;
  readonly #environment: PluginEnvironment;
  readonly #patterns: readonly ImagePattern[];
  /** With the state of the executions, by service account; the key is empty without one. */
  readonly #programs: Map<string, CachedProgram>;

  /** @param before The plugin with the same definition before a reload: its state is kept. */
  constructor(definition: PluginDefinition, environment: PluginEnvironment, before?: Plugin) {
    this.definition = definition;
    this.#environment = environment;
    // Invalid ones were reported when the configuration was read.
    this.#patterns = definition.matchImages.flatMap((text) => ImagePattern.tryParse(text) ?? []);
    this.#programs = before === undefined ? new Map() : before.#programs;
    for (const program of this.#programs.values()) program.semaphore = environment.semaphore;
  }

  /** Whether a `matchImages` pattern matches an image. */
  matches(target: ImageTarget): boolean {
    return this.#patterns.some((pattern) => pattern.matches(target));
  }

  /** Returns the outcome for an image that no pattern matches. */
  notMatched(): PluginOutcome {
    const { name, matchImages } = this.definition;
    const detail = `no matchImages pattern matches: ${joinNames(matchImages)}`;
    return noCredential(name, "plugin-not-matched", detail);
  }

  /** Returns the outcome after a failure outside the plugin. */
  failed(reason: ReasonCode, detail: string): PluginOutcome {
    return failedOutcome({ name: this.definition.name, kind: "plugin" }, { reason, detail });
  }

  /** Returns the plugin's credentials for an image that it matches. Rejects only on a defect. */
  async provide(request: CredentialRequest, target: ImageTarget): Promise<PluginOutcome> {
    return await this.provideFor("", request, target);
  }

  /** @param key Equal only for service accounts and pods that may share responses. */
  protected async provideFor(
    key: string,
    request: CredentialRequest,
    target: ImageTarget,
    tokenSource?: TokenSource,
  ): Promise<PluginOutcome> {
    const { name } = this.definition;
    const program = this.#programs.get(key) ??
      new CachedProgram({ ...this.#environment, name, kind: "plugin" });
    setNewest(this.#programs, key, program, MAX_PROGRAMS);
    return await program.provide(request, target, (image) => this.#execute(image, tokenSource));
  }

  async #execute(image: ImageReference, tokenSource?: TokenSource): Promise<ProgramResult> {
    const { name, args, env, defaultCacheDurationMs } = this.definition;
    const { binDir, timeoutMs, clock } = this.#environment;
    const { path = join(binDir, name) } = this.definition;
    const token = await tokenSource?.();
    if (token?.kind === "failed") return token;
    return await execute(
      this.#environment,
      { provider: "kubelet", name, failed: "plugin-failed" },
      { path, args, env, stdin: pluginRequest(image, token), timeoutMs },
      (result) => {
        const problem = processProblem(result, timeoutMs);
        if (problem !== undefined) {
          return { kind: "failed", reason: `plugin-${problem.kind}`, detail: problem.detail };
        }
        const stdout = result.kind === "exited" ? result.stdout : "";
        const reading = readPluginResponse(stdout, defaultCacheDurationMs);
        return token === undefined || reading.kind === "failed"
          ? reading
          : restricted(reading.response, token, clock.wallMs());
      },
    );
  }
}

/**
 * Applies a token's rules to a response. A token returned as a password is bound to its pod, so it
 * must not be shared with other pods of the account (Kubernetes
 * `pkg/credentialprovider/plugin/plugin.go`, `provide`).
 */
function restricted(
  response: ProgramResponse,
  { token, mayEcho, cacheUntilMs = Infinity }: ServiceAccountToken,
  nowMs: number,
): ProgramResult {
  const isEcho = response.auth?.some(({ credential }) =>
    credential !== undefined && credentialSecret(credential).equals(token)
  );
  if (isEcho && !mayEcho) {
    return invalid(
      "the response returns the service account token as a password, which requires cacheType Token",
    );
  }
  const maxCacheMs = Math.max(0, cacheUntilMs - nowMs);
  const cacheDurationMs = Math.min(response.cacheDurationMs, maxCacheMs);
  return { kind: "responded", response: { ...response, cacheDurationMs } };
}

const CACHE_KEY_TYPES: readonly CacheKeyType[] = ["Image", "Registry", "Global"];

/** Returns the failure after an invalid response. The detail never quotes the response. */
function invalid(detail: string): ProgramFailure {
  return { kind: "failed", reason: "plugin-invalid-response", detail };
}

/** Encodes a `CredentialProviderRequest`, with service account data (KEP-4412) and thus a token. */
export function pluginRequest(
  image: ImageReference,
  serviceAccount?: { readonly token: Secret; readonly annotations: Record<string, string> },
): string {
  const { token, annotations = {} } = serviceAccount ?? {};
  const hasAnnotations = Object.keys(annotations).length > 0;
  return JSON.stringify({
    kind: "CredentialProviderRequest",
    apiVersion: PLUGIN_API_VERSION,
    image: image.text,
    serviceAccountToken: token?.reveal(),
    serviceAccountAnnotations: hasAnnotations ? annotations : undefined,
  });
}

/**
 * Decodes a `CredentialProviderResponse` (Kubernetes
 * `staging/src/k8s.io/kubelet/pkg/apis/credentialprovider/v1/types.go`). An absent or negative
 * `cacheDuration` means the default, 0 means that the response is not cached, and a null `auth`
 * that the plugin has no credential for the image.
 */
export function readPluginResponse(stdout: string, defaultCacheDurationMs: number): ProgramResult {
  let body: unknown;
  try {
    body = JSON.parse(stdout);
  } catch {
    return invalid("the response is not a single JSON value");
  }
  if (!isFields(body)) return invalid("the response is not a JSON object");
  if (goField(body, "apiVersion") !== PLUGIN_API_VERSION) {
    return invalid(`apiVersion of the response is not ${PLUGIN_API_VERSION}`);
  }
  const declaredType = goField(body, "cacheKeyType");
  const cacheKeyType = CACHE_KEY_TYPES.find((type) => type === declaredType);
  if (cacheKeyType === undefined) {
    return invalid(`cacheKeyType of the response is not one of ${CACHE_KEY_TYPES.join(", ")}`);
  }
  const cacheDurationMs = readDuration(goField(body, "cacheDuration"), defaultCacheDurationMs);
  if (cacheDurationMs === undefined) {
    return invalid("cacheDuration of the response is not a duration");
  }
  const auth = readAuth(goField(body, "auth"));
  if (auth === "invalid") {
    return invalid("auth of the response is not a map of patterns to username and password");
  }
  return { kind: "responded", response: { cacheKeyType, cacheDurationMs, ...defined({ auth }) } };
}

function readDuration(value: unknown, defaultMs: number): number | undefined {
  if (value === undefined) return defaultMs;
  if (typeof value !== "string") return undefined;
  try {
    const ms = parseDurationMs(value);
    return ms < 0 ? defaultMs : ms;
  } catch {
    return undefined;
  }
}

function readAuth(value: unknown): readonly ProgramAuth[] | undefined | "invalid" {
  if (value === undefined) return undefined;
  if (!isFields(value)) return "invalid";
  const auths: ProgramAuth[] = [];
  for (const [pattern, entry] of Object.entries(value)) {
    if (entry !== null && !isFields(entry)) return "invalid";
    const username = goField(entry ?? {}, "username") ?? "";
    const password = goField(entry ?? {}, "password") ?? "";
    if (typeof username !== "string" || typeof password !== "string") return "invalid";
    const credential = credentialFromPair(username, password);
    auths.push({ pattern, username, ...defined({ credential }) });
  }
  return auths;
}
