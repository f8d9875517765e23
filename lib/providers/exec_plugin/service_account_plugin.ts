import type {
  CredentialRequest,
  ImageReference,
  ImageTarget,
  ReasonCode,
  ValidAccounts,
} from "../../model/mod.ts";
import { type Contribution, ExecPlugin } from "./exec_plugin.ts";
import type { AccountAnswer, AccountProblem, PodAccounts, PodIdentity } from "../../model/mod.ts";
import { Plugin, type PluginEnvironment } from "./plugin.ts";
import type { PluginIdentity } from "./plugin_executor.ts";
import type { PluginDefinition } from "./provider_config.ts";
import type { TokenAttributes } from "./token_attributes.ts";

/** What plugins of service accounts are run with. */
export interface AccountPluginEnvironment extends PluginEnvironment {
  /** Undefined: there is no way to Kubernetes here. */
  readonly accounts: (() => Promise<PodAccounts>) | undefined;
}

type Account = AccountAnswer & { readonly kind: "account" };

/** An account, or a single pod of it, in whose name the plugin may be run. */
interface Bearer {
  readonly kind: "bearer";
  readonly pod: PodIdentity;
  /** Equal only where answers may be shared. */
  readonly key: string;
  /** The same for people. */
  readonly name: string;
  readonly accountUid: string;
  readonly annotations: Readonly<Record<string, string>>;
}

type BearerAnswer =
  | Bearer
  | { readonly kind: "unfit"; readonly detail: string }
  | AccountProblem;

/** Accounts that are tried for one image. */
const MAX_TRIED = 8;
/** Accounts whose answers are kept. */
const MAX_KEPT = 256;

/**
 * An exec plugin that is run in the name of service accounts whose pods use an image (KEP-4412).
 *
 * Each account has answers, executions and backoffs of its own: a plugin of its own, found by a key
 * that holds all that makes the account what it is. So no account is ever given what another got.
 */
export class AccountPlugin extends ExecPlugin {
  readonly #attributes: TokenAttributes;
  readonly #environment: AccountPluginEnvironment;
  readonly #plugins: Map<string, Plugin>;

  /** @param before The same plugin before a reload: what is known of it stays. */
  constructor(
    definition: PluginDefinition,
    attributes: TokenAttributes,
    environment: AccountPluginEnvironment,
    before?: AccountPlugin,
  ) {
    super(definition);
    this.#attributes = attributes;
    this.#environment = environment;
    this.#plugins = new Map(
      [...(before === undefined ? [] : before.#plugins)].map(([key, plugin]) =>
        [key, new Plugin(definition, environment, plugin)] as const
      ),
    );
  }

  /**
   * What the first account gives that has something; what all of them give where that is refused.
   * Accounts are tried in the order of namespace and name, and pods without one come last: a mount
   * serves all pods of its image, and knows one credential.
   */
  override async contribute(
    request: CredentialRequest,
    target: ImageTarget,
  ): Promise<Contribution> {
    const { accounts: open } = this.#environment;
    if (open === undefined) {
      return this.failed("token-unavailable", "there is no way to the Kubernetes API");
    }
    const accounts = await open();
    const answer = await accounts.podsOf(request.podImage ?? request.image);
    if (answer.kind === "failed") return this.failed(answer.reason, answer.detail);
    const bearers = await this.#bearers(answer.pods, accounts);
    const perServiceAccount = await this.#contributeAs(bearers, accounts, request, target);
    if (perServiceAccount?.candidates.length) return perServiceAccount;
    const unapproved = await this.#addUnapproved(answer.pods, request, target);
    if (unapproved?.candidates.length) return unapproved;
    const contributed = perServiceAccount ?? unapproved ??
      this.none("no-service-account", answer.detail);
    const validAccounts = await this.#validAccounts(request.podImage ?? request.image, accounts);
    return { ...contributed, validAccounts };
  }

  /** Who may have a credential now: while the plugin ran, that may have changed. */
  async #validAccounts(image: ImageReference, accounts: PodAccounts): Promise<ValidAccounts> {
    const answer = await accounts.podsOf(image);
    if (answer.kind === "failed") return "unknown";
    const bearers = await this.#bearers(answer.pods, accounts);
    if (bearers.some(({ kind }) => kind === "failed")) return "unknown";
    return bearers.flatMap((one) =>
      one.kind === "bearer" ? [`${this.definition.name} ${one.name}`] : []
    );
  }

  /** Undefined where nobody is there, or all have gone. */
  async #contributeAs(
    bearers: readonly BearerAnswer[],
    accounts: PodAccounts,
    request: CredentialRequest,
    target: ImageTarget,
  ): Promise<Contribution | undefined> {
    let telling: Contribution | undefined;
    const given: Contribution[] = [];
    let tried = 0;
    for (const bearer of bearers) {
      const one = await this.#ask(bearer, accounts, request, target);
      if (one?.candidates.length) given.push(one);
      // Where one is refused, another account may be the one that may pull.
      if (given.length > 0 && request.refused === undefined && !request.everyAccount) break;
      if (one !== undefined && !telling?.failed) telling = one;
      if (bearer.kind === "bearer" && ++tried >= MAX_TRIED) break;
    }
    const [first] = given;
    if (first === undefined) return telling;
    return { ...first, candidates: given.flatMap(({ candidates }) => candidates) };
  }

  /** For pods without an account, or where no pod is known; undefined if that is not to be. */
  async #addUnapproved(
    pods: readonly PodIdentity[],
    request: CredentialRequest,
    target: ImageTarget,
  ): Promise<Contribution | undefined> {
    const isQueried = pods.length === 0 || pods.some(({ serviceAccount }) => serviceAccount === "");
    if (!isQueried || this.#attributes.requireServiceAccount) return undefined;
    return await this.#pluginFor("").contribute(request, target);
  }

  /** In whose names the plugin may be run, and who they lack; those that are gone are left out. */
  async #bearers(
    pods: readonly PodIdentity[],
    accounts: PodAccounts,
  ): Promise<readonly BearerAnswer[]> {
    const answers = await Promise.all(
      this.#distinct(pods).map((pod) => this.#bearer(pod, accounts)),
    );
    return answers.flatMap((answer) => answer ?? []);
  }

  async #bearer(pod: PodIdentity, accounts: PodAccounts): Promise<BearerAnswer | undefined> {
    const account = await accounts.account(pod);
    if (account.kind === "gone") return undefined;
    if (account.kind === "failed") return account;
    const annotations = this.#annotations(account);
    if (typeof annotations === "string") {
      const detail = `account ${accountOf(pod)} has no annotation ${annotations}`;
      return { kind: "unfit", detail };
    }
    const isForPod = this.#attributes.cacheType === "Token";
    const whose = isForPod ? pod.uid : "";
    const parts = [pod.namespace, pod.serviceAccount, account.uid, whose, annotations];
    const name = `${accountOf(pod)} (${account.uid}${isForPod ? `, pod ${pod.uid}` : ""})`;
    const accountUid = account.uid;
    return { kind: "bearer", pod, key: JSON.stringify(parts), name, accountUid, annotations };
  }

  /** Undefined: while the plugin ran, the account or pod has gone, or become another. */
  async #ask(
    bearer: BearerAnswer,
    accounts: PodAccounts,
    request: CredentialRequest,
    target: ImageTarget,
  ): Promise<Contribution | undefined> {
    if (bearer.kind === "failed") return this.failed(bearer.reason, bearer.detail);
    if (bearer.kind === "unfit") return this.none("annotation-missing", bearer.detail);
    const { pod, key, name: account } = bearer;
    const identity = () => this.#identity(bearer, accounts);
    const given = await this.#pluginFor(key).contribute(request, target, identity);
    const after = await this.#bearer(pod, accounts);
    if (after?.kind !== "bearer" || after.key !== key) return undefined;
    const candidates = given.candidates.map((candidate) => ({
      ...candidate,
      account,
      origin: `${candidate.origin}, in the name of ${accountOf(pod)}`,
    }));
    return { ...given, candidates };
  }

  /** One pod for each account; with tokens that are not shared, every pod. */
  #distinct(pods: readonly PodIdentity[]): readonly PodIdentity[] {
    const byKey = new Map<string, PodIdentity>();
    for (const pod of [...pods].sort(comparePods)) {
      if (pod.serviceAccount === "") continue;
      const key = this.#attributes.cacheType === "Token" ? pod.uid : accountOf(pod);
      if (!byKey.has(key)) byKey.set(key, pod);
    }
    return [...byKey.values()];
  }

  /** The annotations that the plugin is told, or the key of the first that is missing. */
  #annotations({ annotations }: Account): Readonly<Record<string, string>> | string {
    const { requiredAnnotations, optionalAnnotations } = this.#attributes;
    const has = (key: string) => Object.hasOwn(annotations, key);
    const missing = requiredAnnotations.find((key) => !has(key));
    if (missing !== undefined) return missing;
    const told = [...requiredAnnotations, ...optionalAnnotations].filter(has).sort();
    return Object.fromEntries(told.map((key) => [key, annotations[key] ?? ""]));
  }

  async #identity(
    { pod, annotations, accountUid }: Bearer,
    accounts: PodAccounts,
  ): Promise<PluginIdentity> {
    const { audience, cacheType } = this.#attributes;
    const answer = await accounts.token(pod, audience, accountUid);
    const reason = "token-unavailable";
    switch (answer.kind) {
      case "token": {
        const { token, expiresAtMs } = answer;
        const isBound = cacheType === "Token" && expiresAtMs !== undefined;
        return {
          kind: "identity",
          token,
          annotations,
          mayEcho: cacheType === "Token",
          ...(isBound && { keptUntilMs: expiresAtMs }),
        };
      }
      case "gone":
        return { kind: "failed", reason, detail: `account ${accountOf(pod)} or its pod is gone` };
      case "failed":
        return { kind: "failed", reason: answer.reason, detail: answer.detail };
      default:
        return answer satisfies never;
    }
  }

  #pluginFor(key: string): Plugin {
    const plugin = this.#plugins.get(key) ?? new Plugin(this.definition, this.#environment);
    this.#plugins.delete(key);
    this.#plugins.set(key, plugin);
    const [oldest] = this.#plugins.keys();
    if (this.#plugins.size > MAX_KEPT && oldest !== undefined) this.#plugins.delete(oldest);
    return plugin;
  }

  /** Whose credentials still count is then unknown, too. */
  override failed(reason: ReasonCode, what: string): Contribution {
    return { ...super.failed(reason, what), validAccounts: "unknown" };
  }
}

function accountOf({ namespace, serviceAccount }: PodIdentity): string {
  return `${namespace}/${serviceAccount}`;
}

function comparePods(a: PodIdentity, b: PodIdentity): number {
  return order(accountOf(a), accountOf(b)) || order(a.uid, b.uid);
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
