import { join } from "@std/path";
import { goField, isFields, parseFields } from "../../formats/mod.ts";
import {
  type AccountProblem,
  type AccountResult,
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
  type PodAccounts,
  type PodIdentity,
  profileOfPlugin,
  type Random,
  type ReasonCode,
  type Secret,
  type Semaphore,
  setNewest,
  type TokenResult,
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
import type { PluginDefinition, TokenAttributes } from "./provider_config.ts";

/** Dependencies and settings of all plugins. */
export interface PluginEnvironment extends ExecutionOptions {
  readonly binDir: string;
  readonly timeoutMs: number;
  /** Adds jitter to the backoff. */
  readonly random: Random;
  /** Limits concurrent executions over all plugins. */
  readonly semaphore: Semaphore;
  /** For plugins with `tokenAttributes`; called when they are first queried. */
  readonly accounts: () => PodAccounts;
}

/** One plugin's part of the provider's outcome. */
export interface PluginOutcome extends ProgramOutcome {
  /** Set by plugins that run per service account: the accounts whose credentials are still valid. */
  readonly validAccounts?: ValidAccounts;
}

/** A service account token for one execution, with the rules for what the plugin returns. */
type ServiceAccountToken = Extract<TokenResult, { readonly kind: "token" }> & {
  readonly annotations: Readonly<Record<string, string>>;
  /** Only the token's pod may use the response, so the plugin may return the token as a password. */
  readonly isPerPod: boolean;
};

/** Requests a token. Called before each execution. */
type TokenSource = () => Promise<ServiceAccountToken | ProgramFailure>;

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
    this.#programs = before ? before.#programs : new Map();
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
  { token, isPerPod, expiresAtMs = Infinity }: ServiceAccountToken,
  nowMs: number,
): ProgramResult {
  const isEcho = response.auth?.some(({ credential }) =>
    credential !== undefined && credentialSecret(credential).equals(token)
  );
  if (isEcho && !isPerPod) {
    return invalid(
      "the response returns the service account token as a password, which requires cacheType Token",
    );
  }
  const maxCacheMs = isPerPod ? Math.max(0, expiresAtMs - nowMs) : Infinity;
  const cacheDurationMs = Math.min(response.cacheDurationMs, maxCacheMs);
  return { kind: "responded", response: { ...response, cacheDurationMs } };
}

type Account = AccountResult & { readonly kind: "account" };

/** A service account, or a single pod of it, for which the plugin may be executed. */
interface Principal {
  readonly kind: "principal";
  readonly pod: PodIdentity;
  /** Equal only for principals that may share responses. */
  readonly key: string;
  /** Name for messages, candidates and valid accounts. */
  readonly name: string;
  readonly accountUid: string;
  readonly annotations: Readonly<Record<string, string>>;
}

type PrincipalResult =
  | Principal
  | { readonly kind: "annotation-missing"; readonly detail: string }
  | AccountProblem;

/** Limit of accounts for which the plugin is executed per image. */
const MAX_TRIED = 8;

/**
 * An exec plugin that is executed for the service accounts whose pods use an image (KEP-4412).
 *
 * Invariants:
 * - Each principal has its own cache, single flight and backoff. The key of a principal covers
 *   everything that distinguishes it, so that no account gets another account's credential.
 * - A credential is returned only if the account and the pod still exist unchanged after the
 *   execution.
 */
export class ServiceAccountPlugin extends Plugin {
  readonly #attributes: TokenAttributes;
  readonly #accounts: () => PodAccounts;

  /** @param before The plugin with the same definition before a reload: its state is kept. */
  constructor(
    definition: PluginDefinition & { readonly tokenAttributes: TokenAttributes },
    environment: PluginEnvironment,
    before?: Plugin,
  ) {
    super(definition, environment, before);
    this.#attributes = definition.tokenAttributes;
    this.#accounts = environment.accounts;
  }

  /**
   * Returns the credential of the first account that has one, or of all accounts if that one is
   * refused: a mount serves all pods of its image with a single credential. Accounts are tried in
   * the order of namespace and name, pods without an account last.
   */
  override async provide(
    request: CredentialRequest,
    target: ImageTarget,
  ): Promise<PluginOutcome> {
    const { podImage = request.image } = request;
    const answer = await this.#accounts().podsOf(podImage);
    if (answer.kind === "failed") return this.failed(answer.reason, answer.detail);
    const principals = await this.#principals(answer.pods);
    const ofAccounts = await this.#provideForAccounts(principals, request, target);
    if (ofAccounts?.candidates.length) return ofAccounts;
    const withoutAccount = await this.#provideWithoutAccount(answer.pods, request, target);
    if (withoutAccount?.candidates.length) return withoutAccount;
    const outcome = ofAccounts ?? withoutAccount ?? this.#none("no-service-account", answer.detail);
    return { ...outcome, validAccounts: await this.#validAccounts(podImage) };
  }

  /** Returns the current valid accounts, which may have changed during the executions. */
  async #validAccounts(image: ImageReference): Promise<ValidAccounts> {
    const answer = await this.#accounts().podsOf(image);
    if (answer.kind === "failed") return "unknown";
    const principals = await this.#principals(answer.pods);
    if (principals.some(({ kind }) => kind === "failed")) return "unknown";
    return principals.flatMap((one) =>
      one.kind === "principal" ? [`${this.definition.name} ${one.name}`] : []
    );
  }

  /** Returns undefined if there is no principal, or none exists any more. */
  async #provideForAccounts(
    principals: readonly PrincipalResult[],
    request: CredentialRequest,
    target: ImageTarget,
  ): Promise<PluginOutcome | undefined> {
    let unsuccessful: PluginOutcome | undefined;
    const found: PluginOutcome[] = [];
    let tried = 0;
    for (const principal of principals) {
      const outcome = await this.#provideFor(principal, request, target);
      if (outcome?.candidates.length) found.push(outcome);
      // If the registry refuses one account's credential, it may accept another's.
      if (found.length > 0 && request.refused === undefined && !request.allAccounts) break;
      // A failure takes precedence over the absence of a credential.
      if (outcome !== undefined && !unsuccessful?.failure) unsuccessful = outcome;
      if (principal.kind === "principal" && ++tried >= MAX_TRIED) break;
    }
    const [first] = found;
    if (first === undefined) return unsuccessful;
    return { ...first, candidates: found.flatMap(({ candidates }) => candidates) };
  }

  /** Returns undefined if the account or pod has changed or gone during the execution. */
  async #provideFor(
    principal: PrincipalResult,
    request: CredentialRequest,
    target: ImageTarget,
  ): Promise<PluginOutcome | undefined> {
    if (principal.kind === "failed") return this.failed(principal.reason, principal.detail);
    if (principal.kind === "annotation-missing") {
      return this.#none(principal.kind, principal.detail);
    }
    const { pod, key, name: account } = principal;
    const tokenSource = () => this.#token(principal);
    const outcome = await this.provideFor(key, request, target, tokenSource);
    const after = await this.#principal(pod);
    if (after?.kind !== "principal" || after.key !== key) return undefined;
    const candidates = outcome.candidates.map((candidate) => ({
      ...candidate,
      account,
      origin: `${candidate.origin} for service account ${accountOf(pod)}`,
    }));
    const { note } = outcome;
    const detail = this.#ignoredToken(principal);
    const isFound = candidates.length > 0 && detail !== undefined;
    return { ...outcome, candidates, ...(isFound && { note: { ...note, detail } }) };
  }

  /** Returns why the plugin does not use the token, as far as that is known. */
  #ignoredToken({ annotations }: Principal): string | undefined {
    const { name, env } = this.definition;
    const { annotation = "", variable = "" } = profileOfPlugin(name)?.tokenRole ?? {};
    if (annotation === "" || annotations[annotation] || env[variable]) return undefined;
    return `it is the node's credential unless ${variable} is set: the service account has no ` +
      `annotation ${annotation}`;
  }

  /** For pods without an account, or if no pod is known. Undefined if an account is required. */
  async #provideWithoutAccount(
    pods: readonly PodIdentity[],
    request: CredentialRequest,
    target: ImageTarget,
  ): Promise<PluginOutcome | undefined> {
    const isNeeded = pods.length === 0 || pods.some(({ serviceAccount }) => serviceAccount === "");
    if (!isNeeded || this.#attributes.requireServiceAccount) return undefined;
    return await this.provideFor("", request, target);
  }

  /** Returns the principals of pods, without those that no longer exist. */
  async #principals(pods: readonly PodIdentity[]): Promise<readonly PrincipalResult[]> {
    const results = await Promise.all(this.#distinct(pods).map((pod) => this.#principal(pod)));
    return results.flatMap((result) => result ?? []);
  }

  async #principal(pod: PodIdentity): Promise<PrincipalResult | undefined> {
    const account = await this.#accounts().account(pod);
    if (account.kind === "gone") return undefined;
    if (account.kind === "failed") return account;
    const annotations = this.#annotations(account);
    if (typeof annotations === "string") {
      const detail = `service account ${accountOf(pod)} has no annotation ${annotations}`;
      return { kind: "annotation-missing", detail };
    }
    const { uid: accountUid } = account;
    const podUid = this.#isPerPod ? pod.uid : "";
    const key = JSON.stringify([
      pod.namespace,
      pod.serviceAccount,
      accountUid,
      podUid,
      annotations,
    ]);
    const name = `${accountOf(pod)} (${accountUid}${podUid && `, pod ${podUid}`})`;
    return { kind: "principal", pod, key, name, accountUid, annotations };
  }

  /** Whether responses must not be shared by the pods of an account. */
  get #isPerPod(): boolean {
    return this.#attributes.cacheType === "Token";
  }

  /** Returns one pod per principal, in the order in which they are tried. */
  #distinct(pods: readonly PodIdentity[]): readonly PodIdentity[] {
    const sorted = pods.filter(({ serviceAccount }) => serviceAccount !== "")
      .sort((a, b) => sortKey(a) < sortKey(b) ? -1 : 1);
    const groups = Map.groupBy(sorted, (pod) => this.#isPerPod ? pod.uid : accountOf(pod));
    return [...groups.values()].flatMap(([first]) => first ?? []);
  }

  /** Returns the annotations for the plugin, or the key of the first missing one. */
  #annotations({ annotations }: Account): Readonly<Record<string, string>> | string {
    const { requiredAnnotations, optionalAnnotations } = this.#attributes;
    const has = (key: string) => Object.hasOwn(annotations, key);
    const missing = requiredAnnotations.find((key) => !has(key));
    if (missing !== undefined) return missing;
    const keys = [...requiredAnnotations, ...optionalAnnotations].filter(has).sort();
    return Object.fromEntries(keys.map((key) => [key, annotations[key] ?? ""]));
  }

  async #token(
    { pod, annotations, accountUid }: Principal,
  ): Promise<ServiceAccountToken | ProgramFailure> {
    const answer = await this.#accounts().token(pod, this.#attributes.audience, accountUid);
    switch (answer.kind) {
      case "token":
        return { ...answer, annotations, isPerPod: this.#isPerPod };
      case "gone": {
        const detail = `service account ${accountOf(pod)} or its pod is gone`;
        return { kind: "failed", reason: "token-unavailable", detail };
      }
      case "failed":
        return answer;
      default:
        return answer satisfies never;
    }
  }

  #none(reason: ReasonCode, detail?: string): PluginOutcome {
    return noCredential(this.definition.name, reason, detail);
  }

  /** After a failure it is also unknown which accounts are valid. */
  override failed(reason: ReasonCode, detail: string): PluginOutcome {
    return { ...super.failed(reason, detail), validAccounts: "unknown" };
  }
}

function accountOf({ namespace, serviceAccount }: PodIdentity): string {
  return `${namespace}/${serviceAccount}`;
}

function sortKey(pod: PodIdentity): string {
  return `${accountOf(pod)} ${pod.uid}`;
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
  const body = parseFields(stdout);
  if (body === undefined) return invalid("the response is not a single JSON object");
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
