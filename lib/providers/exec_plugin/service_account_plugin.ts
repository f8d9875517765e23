import {
  type AccountProblem,
  type AccountResult,
  type CredentialRequest,
  defined,
  type ImageReference,
  type ImageTarget,
  type PodAccounts,
  type PodIdentity,
  profileOfPlugin,
  type ReasonCode,
  type ValidAccounts,
} from "../../model/mod.ts";
import { noCredential } from "../program/cached_program.ts";
import type { ProgramFailure } from "../program/execution.ts";
import {
  Plugin,
  type PluginEnvironment,
  type PluginOutcome,
  type ServiceAccountToken,
} from "./plugin.ts";
import type { PluginDefinition, TokenAttributes } from "./provider_config.ts";

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
  readonly #accounts: (() => PodAccounts) | undefined;

  /**
   * @param accounts Undefined if no access to the Kubernetes API is configured.
   * @param before The plugin with the same definition before a reload: its state is kept.
   */
  constructor(
    definition: PluginDefinition,
    attributes: TokenAttributes,
    environment: PluginEnvironment,
    accounts: (() => PodAccounts) | undefined,
    before?: Plugin,
  ) {
    super(definition, environment, before);
    this.#attributes = attributes;
    this.#accounts = accounts;
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
    if (this.#accounts === undefined) {
      return this.failed("token-unavailable", "no access to the Kubernetes API is configured");
    }
    const { podImage = request.image } = request;
    const accounts = this.#accounts();
    const answer = await accounts.podsOf(podImage);
    if (answer.kind === "failed") return this.failed(answer.reason, answer.detail);
    const principals = await this.#principals(answer.pods, accounts);
    const ofAccounts = await this.#provideForAccounts(principals, accounts, request, target);
    if (ofAccounts?.candidates.length) return ofAccounts;
    const withoutAccount = await this.#provideWithoutAccount(answer.pods, request, target);
    if (withoutAccount?.candidates.length) return withoutAccount;
    const outcome = ofAccounts ?? withoutAccount ?? this.#none("no-service-account", answer.detail);
    return { ...outcome, validAccounts: await this.#validAccounts(podImage, accounts) };
  }

  /** Returns the current valid accounts, which may have changed during the executions. */
  async #validAccounts(image: ImageReference, accounts: PodAccounts): Promise<ValidAccounts> {
    const answer = await accounts.podsOf(image);
    if (answer.kind === "failed") return "unknown";
    const principals = await this.#principals(answer.pods, accounts);
    if (principals.some(({ kind }) => kind === "failed")) return "unknown";
    return principals.flatMap((one) =>
      one.kind === "principal" ? [`${this.definition.name} ${one.name}`] : []
    );
  }

  /** Returns undefined if there is no principal, or none exists any more. */
  async #provideForAccounts(
    principals: readonly PrincipalResult[],
    accounts: PodAccounts,
    request: CredentialRequest,
    target: ImageTarget,
  ): Promise<PluginOutcome | undefined> {
    let unsuccessful: PluginOutcome | undefined;
    const found: PluginOutcome[] = [];
    let tried = 0;
    for (const principal of principals) {
      const outcome = await this.#provideFor(principal, accounts, request, target);
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
    accounts: PodAccounts,
    request: CredentialRequest,
    target: ImageTarget,
  ): Promise<PluginOutcome | undefined> {
    if (principal.kind === "failed") return this.failed(principal.reason, principal.detail);
    if (principal.kind === "annotation-missing") {
      return this.#none(principal.kind, principal.detail);
    }
    const { pod, key, name: account } = principal;
    const tokenSource = () => this.#token(principal, accounts);
    const outcome = await this.provideFor(key, request, target, tokenSource);
    const after = await this.#principal(pod, accounts);
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
  async #principals(
    pods: readonly PodIdentity[],
    accounts: PodAccounts,
  ): Promise<readonly PrincipalResult[]> {
    const results = await Promise.all(
      this.#distinct(pods).map((pod) => this.#principal(pod, accounts)),
    );
    return results.flatMap((result) => result ?? []);
  }

  async #principal(
    pod: PodIdentity,
    accounts: PodAccounts,
  ): Promise<PrincipalResult | undefined> {
    const account = await accounts.account(pod);
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
    accounts: PodAccounts,
  ): Promise<ServiceAccountToken | ProgramFailure> {
    const answer = await accounts.token(pod, this.#attributes.audience, accountUid);
    switch (answer.kind) {
      case "token": {
        const { token, expiresAtMs } = answer;
        const mayEcho = this.#isPerPod;
        const cacheUntilMs = this.#isPerPod ? expiresAtMs : undefined;
        return { kind: "token", token, annotations, mayEcho, ...defined({ cacheUntilMs }) };
      }
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
