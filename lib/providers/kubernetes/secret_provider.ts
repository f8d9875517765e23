import { createHash } from "node:crypto";
import { type Fields, goField, isFields, parseFields } from "../../formats/mod.ts";
import {
  AgentError,
  type Candidate,
  credentialFingerprint,
  type CredentialProvider,
  type CredentialRequest,
  defined,
  type ImageTarget,
  type ProviderNote,
  type ProviderOutcome,
  tokenExpiryOf,
  tryParseImageTarget,
} from "../../model/mod.ts";
import {
  credentialsOf,
  findEntries,
  patternOfKey,
  readDockerAuth,
  type RegistryEntry,
} from "../docker/docker_config.ts";
import {
  type InformerContext,
  type InformerProblem,
  metadataOf,
  ObjectCache,
  stringOf,
} from "./informer.ts";
import { type NodePods, serviceAccountKey } from "./node_pods.ts";

/** Credential-related part of a pull secret. */
export interface PullSecret {
  readonly namespace: string;
  readonly name: string;
  readonly entries: readonly RegistryEntry[];
  /** Problems of the secret or of single entries. They quote no value. */
  readonly problems: readonly string[];
}

/** A cached pull secret. */
interface CachedSecret extends PullSecret {
  /** Digest of its content. */
  readonly digest: string;
  /** Wall time at which this content was first read (ms). */
  readonly readAtMs: number;
}

/** Dependencies of {@linkcode KubeSecretProvider}. */
export interface KubeSecretProviderOptions extends InformerContext {
  readonly node: NodePods;
  /** Called when the provider may return other credentials. */
  readonly changed: () => void;
}

const MAX_NOTES = 20;
/**
 * Limits on the candidates for one image, so that the secrets of one tenant cannot displace those
 * of another. The total is below the limit of candidate selection, which other providers share.
 */
const MAX_PER_NAMESPACE = 16;
const MAX_CANDIDATES = 64;

/**
 * Provides the credentials of the pull secrets that pods on this node reference, directly or through
 * their service accounts; the most specific key first. No other secret is read.
 */
export class KubeSecretProvider implements CredentialProvider {
  readonly name = "kubesecret";
  readonly renewable = true;
  readonly #node: NodePods;
  readonly #secrets: ObjectCache<CachedSecret>;
  readonly #notify: () => void;
  #references: ReadonlySet<string> = new Set();

  constructor({ node, changed, ...context }: KubeSecretProviderOptions) {
    this.#node = node;
    this.#notify = changed;
    this.#secrets = new ObjectCache({
      ...context,
      resource: "secrets",
      transform: (object) => ({
        ...readPullSecret(object),
        digest: createHash("sha256").update(JSON.stringify([object["type"], object["data"]]))
          .digest("base64"),
        readAtMs: context.clock.wallMs(),
      }),
      isEqual: (a, b) => a.digest === b.digest,
      changed,
    });
  }

  /** Returns the problems of pods, service accounts and secrets. */
  problems(): readonly InformerProblem[] {
    const missing = [...this.#references].filter((key) => this.#secrets.isMissing(key));
    return [
      ...this.#node.problems(),
      ...this.#secrets.problems(),
      ...missing.map((key) => ({
        subject: `secret ${key}`,
        failure: { reason: "no-secret-matched", detail: "a pod references it, but it is missing" },
        unsynced: false,
        stale: false,
      } as const)),
    ];
  }

  stop(): void {
    this.#secrets.stop();
  }

  /** Called when pods or service accounts have changed. */
  updateReferences(): void {
    const before = this.#references;
    this.#references = new Set(
      this.#node.activePods().flatMap((pod) => {
        const account = this.#node.serviceAccounts.get(serviceAccountKey(pod));
        return [...pod.pullSecrets, ...account?.pullSecrets ?? []]
          .map((name) => `${pod.namespace}/${name}`);
      }),
    );
    this.#secrets.setReferences(this.#references);
    if (before.symmetricDifference(this.#references).size > 0) this.#notify();
  }

  async provide(request: CredentialRequest): Promise<ProviderOutcome> {
    await this.#node.waitForLists(this.#secrets);
    const target = tryParseImageTarget(request.image.text);
    let matches = this.#find(target);
    if (request.newerThanMs !== undefined) {
      await this.#secrets.refresh(new Set(matches.map(({ secret }) => keyOf(secret))));
      matches = this.#find(target);
    }
    const notes: ProviderNote[] = [];
    const found = distinct(
      matches.flatMap(({ secret, entry }) => candidatesOf(secret, entry, notes)),
    );
    const [first, ...rest] = withinLimits(found, request.inUse).map(({ candidate }) => candidate);
    const omitted = found.length - rest.length - 1;
    if (omitted > 0) {
      const detail = `${omitted} more credentials match, beyond the limit per namespace`;
      notes.unshift({ subject: "secrets", reason: "found", detail });
    }
    const problems = this.problems();
    const bounded = [...notes, ...problems.map(noteOf), ...this.#invalid()].slice(0, MAX_NOTES);
    if (first !== undefined) {
      return { kind: "found", reason: "found", candidates: [first, ...rest], notes: bounded };
    }
    const unsynced = problems.find((problem) => problem.unsynced);
    if (unsynced !== undefined) return failed(unsynced, bounded);
    const reason = matches.length === 0 ? "no-secret-matched" : "anonymous-entry";
    return { kind: "none", reason, notes: bounded };
  }

  #find(target: ImageTarget | undefined) {
    return target === undefined ? [] : findEntries(this.#secrets.items(), target);
  }

  #invalid(): ProviderNote[] {
    return this.#secrets.items().flatMap((secret) =>
      secret.problems.slice(0, MAX_NOTES).map((detail) => ({
        subject: `secret ${keyOf(secret)}`,
        reason: "invalid-entry" as const,
        detail,
      }))
    );
  }
}

/** Returns the candidates of an entry, and adds what is noteworthy about them. */
function candidatesOf(
  secret: CachedSecret,
  entry: RegistryEntry,
  notes: ProviderNote[],
): readonly SecretCandidate[] {
  const { namespace, readAtMs } = secret;
  const subject = `secret ${keyOf(secret)}`;
  if (entry.credentials.length === 0) {
    notes.push({ subject, reason: "anonymous-entry", detail: `entry ${entry.key}` });
  }
  return entry.credentials.map((credential) => {
    const { expiresAtMs, warning } = tokenExpiryOf(credential, readAtMs);
    if (warning !== undefined) notes.push({ subject, reason: "found", detail: warning });
    const candidate = {
      credential,
      origin: `${subject}, entry ${entry.key}`,
      pattern: entry.key,
      fetchedAtMs: readAtMs,
      watched: true,
      ...defined({ expiresAtMs }),
    };
    return { namespace, candidate };
  });
}

/** Returns `namespace/name`. */
function keyOf({ namespace, name }: PullSecret): string {
  return `${namespace}/${name}`;
}

function noteOf({ subject, failure, unsynced }: InformerProblem): ProviderNote {
  const { reason, detail } = failure;
  const isCached = !unsynced && reason !== "no-secret-matched";
  return { subject, reason, detail: isCached ? `${detail}; using cached data` : detail };
}

function failed(
  { subject, failure }: InformerProblem,
  notes: readonly ProviderNote[],
): ProviderOutcome {
  const { reason, detail } = failure;
  if (reason === "no-config-file") return { kind: "none", reason, notes };
  return { kind: "failed", reason, detail: `${subject}: ${detail}`, notes };
}

interface SecretCandidate {
  readonly namespace: string;
  readonly candidate: Candidate;
}

/** Returns each credential once, under its most specific key. */
function distinct(found: readonly SecretCandidate[]): readonly SecretCandidate[] {
  const groups = Map.groupBy(found, ({ candidate }) => credentialFingerprint(candidate.credential));
  return [...groups.values()].flatMap(([first]) => first ?? []);
}

/**
 * Returns the candidates within the limits. Each namespace gets an equal share of the total, and the
 * credential in use counts against no limit.
 */
function withinLimits(
  found: readonly SecretCandidate[],
  inUse: string | undefined,
): readonly SecretCandidate[] {
  const counts = new Map<string, number>();
  const ranked = found.map((one) => {
    if (credentialFingerprint(one.candidate.credential) === inUse) return { one, rank: 0 };
    const rank = (counts.get(one.namespace) ?? 0) + 1;
    counts.set(one.namespace, rank);
    return { one, rank };
  });
  const kept = ranked.filter(({ rank }) => rank <= MAX_PER_NAMESPACE)
    .sort((a, b) => a.rank - b.rank).slice(0, MAX_CANDIDATES).map(({ one }) => one);
  return found.filter((one) => kept.includes(one));
}

/** The types of pull secrets, each with the field that contains the credentials. */
const PULL_SECRET_TYPES: ReadonlyMap<string, string> = new Map([
  ["kubernetes.io/dockerconfigjson", ".dockerconfigjson"],
  ["kubernetes.io/dockercfg", ".dockercfg"],
]);
const MAX_ENTRIES = 1_000;

/**
 * Reads a pull secret of the core API. Never throws: an invalid secret has problems instead of
 * entries, and valid entries are used even when others are invalid. (The kubelet rejects all
 * secrets of a pod when one is invalid: `pkg/credentialprovider/secrets/secrets.go`.)
 */
export function readPullSecret(object: Fields): PullSecret {
  const { namespace, name } = metadataOf(object);
  const entries: RegistryEntry[] = [];
  const problems: string[] = [];
  try {
    for (const [key, fields] of Object.entries(authsOf(object))) {
      if (entries.length >= MAX_ENTRIES) throw invalid(`it has more than ${MAX_ENTRIES} entries`);
      readEntry(key, fields, entries, problems);
    }
  } catch (error) {
    problems.push(messageOf(error));
  }
  return { namespace: stringOf(namespace), name: stringOf(name), entries, problems };
}

function invalid(what: string): AgentError {
  return new AgentError("invalid-config", what);
}

/** Returns the message of an `AgentError` only: others may quote values. */
function messageOf(error: unknown): string {
  return error instanceof AgentError
    ? error.message.replace("read docker configuration: ", "")
    : "it cannot be read";
}

function authsOf(object: Fields): Fields {
  const type = stringOf(object["type"]);
  const field = PULL_SECRET_TYPES.get(type);
  if (field === undefined) {
    throw invalid(`its type is ${JSON.stringify(type.slice(0, 80))}, which is not a pull secret`);
  }
  const data = isFields(object["data"]) ? object["data"] : {};
  const encoded = stringOf(data[field]);
  if (encoded === "") throw invalid(`its field ${field} is missing or empty`);
  const file = decode(encoded, field);
  if (field === ".dockercfg") return file;
  const auths = goField(file, "auths") ?? {};
  if (!isFields(auths)) throw invalid(`auths in ${field} is not an object`);
  return auths;
}

function decode(encoded: string, field: string): Fields {
  try {
    const bytes = Uint8Array.fromBase64(encoded);
    const fields = parseFields(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (fields !== undefined) return fields;
  } catch {
    // Reported below.
  }
  throw invalid(`its field ${field} is not a JSON object in base64`);
}

function readEntry(
  key: string,
  fields: unknown,
  entries: RegistryEntry[],
  problems: string[],
): void {
  try {
    if (!isFields(fields)) throw invalid(`auths.${key} is not an object`);
    const pattern = patternOfKey(key);
    if (pattern === undefined) {
      problems.push(`the key ${JSON.stringify(key.slice(0, 200))} is not a registry`);
      return;
    }
    const auth = readDockerAuth(key, withPadding(fields));
    if (auth.undecodable) throw invalid(`auths.${key}.auth is not UTF-8 text`);
    entries.push({ key, pattern, credentials: credentialsOf(auth) });
  } catch (error) {
    problems.push(messageOf(error));
  }
}

/** Adds the padding of base64, which Kubernetes does not require but docker does. */
function withPadding(fields: Fields): Fields {
  const auth = goField(fields, "auth");
  if (typeof auth !== "string" || auth.length % 4 === 0 || auth.includes("=")) return fields;
  const others = Object.entries(fields).filter(([name]) => name.toLowerCase() !== "auth");
  return { ...Object.fromEntries(others), auth: auth.padEnd(Math.ceil(auth.length / 4) * 4, "=") };
}
