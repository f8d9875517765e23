import {
  type CallOptions,
  type Candidate,
  type Clock,
  type Credential,
  type CredentialProvider,
  type CredentialRequest,
  type FileSystem,
  type ProviderNote,
  type ProviderOutcome,
  type ReasonCode,
  tokenExpiryOf,
} from "../../model/mod.ts";
import { abortable } from "../../model/mod.ts";
import type { AnswerDeadline } from "../../model/mod.ts";
import type { CredentialHelpers, TimedAnswer } from "./credential_helper.ts";
import {
  credentialsOf,
  DOCKER_HUB_KEY,
  type DockerConfig,
  dockerServer,
  findAuth,
  helperFor,
  mistakenHubKeys,
} from "./docker_config.ts";
import { DockerFile } from "./docker_file.ts";
import { otherAuths } from "./docker_keyring.ts";

/** What the docker provider reads and asks. */
export interface DockerProviderOptions {
  readonly configPath: string;
  readonly files: FileSystem;
  readonly clock: Clock;
  readonly helpers: CredentialHelpers;
  /** Bounds each helper; without it a helper is waited for until it ends. */
  readonly deadline?: AnswerDeadline;
  /** The one before a reload: the last good reading of the same file stays. */
  readonly before?: DockerProvider;
}

/** A configuration that was read, and where and when. */
interface Source {
  readonly path: string;
  readonly config: DockerConfig;
  readonly readAtMs: number;
}

/**
 * Docker's `config.json` and the credential helpers that it names: the registry's own helper, else
 * the store for all, and `auths` where there is no helper or where it has nothing.
 */
export class DockerProvider implements CredentialProvider {
  readonly name = "docker";
  readonly renewable = true;
  readonly #options: DockerProviderOptions;
  readonly #file: DockerFile;

  constructor({ before, ...options }: DockerProviderOptions) {
    const { configPath: path, files, clock } = options;
    this.#options = options; // without the one before, which would keep all before it
    this.#file = new DockerFile({ path, files, clock }, before && before.#file);
  }

  /** The next request reads the file, even if its stamp is the same. */
  suspect(): void {
    this.#file.suspect();
  }

  async provide(
    request: CredentialRequest,
    { signal }: CallOptions = {},
  ): Promise<ProviderOutcome> {
    return await abortable(this.#provide(request), signal);
  }

  async #provide(request: CredentialRequest): Promise<ProviderOutcome> {
    const { good, problem } = await this.#file.read();
    const { configPath: path } = this.#options;
    const notes: ProviderNote[] = [];
    if (problem !== undefined) {
      const { reason, detail } = problem;
      if (good === undefined) return { kind: "failed", reason, detail, notes };
      notes.push({ subject: path, reason, detail: `${detail}; the last good one is used` });
    }
    if (good === undefined) {
      const reason = "no-config-file";
      return { kind: "none", reason, notes: [...notes, { subject: path, reason }] };
    }
    const source = { path, ...good };
    const helper = helperFor(source.config, request.image.registry);
    if (helper === "") return fromAuths(source, request, notes);
    return await this.#fromHelper(helper, source, request, notes);
  }

  async #fromHelper(
    name: string,
    source: Source,
    request: CredentialRequest,
    notes: readonly ProviderNote[],
  ): Promise<ProviderOutcome> {
    const asked = await this.#runHelper(name, request, notes);
    if (asked.kind !== "none") return asked;
    // Someone who logged in before there was a helper still has an entry in the file.
    const fallback = fromAuths(source, request, asked.notes);
    return fallback.kind === "none" ? { ...asked, notes: fallback.notes } : fallback;
  }

  async #runHelper(
    name: string,
    request: CredentialRequest,
    notes: readonly ProviderNote[],
  ): Promise<ProviderOutcome> {
    const server = dockerServer(request.image.registry);
    const subject = `docker-credential-${name}`;
    const answer = await this.#answerOf(name, server, request);
    switch (answer.kind) {
      case "none": {
        const { kind, reason } = answer;
        return { kind, reason, notes: [...notes, { subject, reason }] };
      }
      case "failed": {
        const { kind, reason, detail, retryAtMs } = answer;
        return {
          kind,
          reason,
          detail: `${subject}: ${detail}`,
          notes: [...notes, { subject, reason, detail }],
          ...(retryAtMs !== undefined && { retryAtMs }),
        };
      }
      case "found":
        return helperFound(answer, subject, server, notes);
      default:
        return answer satisfies never;
    }
  }

  async #answerOf(
    name: string,
    server: string,
    request: CredentialRequest,
  ): Promise<TimedAnswer> {
    const { helpers, deadline, clock } = this.#options;
    const answer = helpers.get(name, server, request);
    const { image, podImage = image } = request;
    return await deadline?.wait(answer, {
      source: `docker-credential-${name}`,
      image: podImage,
      isFailure: ({ kind }) => kind === "failed",
      otherwise: (detail) => ({
        kind: "failed",
        reason: "deadline-exceeded",
        detail,
        fetchedAtMs: clock.wallMs(),
        source: "executed",
      }),
    }) ?? await answer;
  }
}

const HELPER_REASONS = {
  executed: "found",
  shared: "shared-execution",
  kept: "found-in-cache",
} as const satisfies Record<TimedAnswer["source"], ReasonCode>;

function helperFound(
  answer: TimedAnswer & { readonly kind: "found" },
  plugin: string,
  server: string,
  notes: readonly ProviderNote[],
): ProviderOutcome {
  const { credential, fetchedAtMs, expiresAtMs, warning } = answer;
  const reason = HELPER_REASONS[answer.source];
  const candidate: Candidate = {
    credential,
    origin: `${plugin} for ${server}`,
    pattern: server,
    plugin,
    fetchedAtMs,
    watched: false,
    ...(expiresAtMs !== undefined && { expiresAtMs }),
  };
  const note = { subject: plugin, reason, ...(warning !== undefined && { detail: warning }) };
  return { kind: "found", reason, candidates: [candidate], notes: [...notes, note] };
}

function fromAuths(
  { path, config, readAtMs }: Source,
  { image }: CredentialRequest,
  before: readonly ProviderNote[],
): ProviderOutcome {
  const entry = findAuth(config, image.registry);
  if (entry === undefined) {
    const reason = "no-entry-for-registry";
    const mistaken = image.registry === "docker.io" ? mistakenHubKeys(config) : [];
    if (mistaken.length === 0) {
      const { entriesInWords: entries } = config;
      const detail = entries === "" ? "it has no entry at all" : `it has ${entries}`;
      return { kind: "none", reason, notes: [...before, { subject: path, reason, detail }] };
    }
    const detail = `docker keeps Docker Hub under ${DOCKER_HUB_KEY} and reads no other key`;
    const notes = mistaken.map((key) => ({ subject: `auths.${key}`, reason, detail }) as const);
    return { kind: "none", reason, notes: [...before, ...notes] };
  }
  const { key, auth } = entry;
  const subject = `auths.${key}`;
  if (auth.undecodable) {
    const detail = `${path}: ${subject}.auth is not UTF-8 text`;
    const reason = "invalid-entry";
    return { kind: "failed", reason, detail, notes: [...before, { subject, reason, detail }] };
  }
  const notes = [...before];
  const candidate = (key: string) => (credential: Credential) => {
    const { expiresAtMs, warning } = tokenExpiryOf(credential, readAtMs);
    const subject = `auths.${key}`;
    if (warning !== undefined) notes.push({ subject, reason: "found", detail: warning });
    return authCandidate(credential, { path, key, readAtMs }, expiresAtMs);
  };
  const [first, ...rest] = credentialsOf(auth).map(candidate(key));
  if (first === undefined) {
    const reason = auth.username === "" ? "anonymous-entry" : "incomplete-entry";
    return { kind: "none", reason, notes: [...notes, { subject, reason }] };
  }
  // Docker looks no further; the kubelet would try these as well.
  const others = otherAuths(config, image, key).flatMap(({ key, credentials }) =>
    credentials.map(candidate(key))
  );
  return { kind: "found", reason: "found", candidates: [first, ...rest, ...others], notes };
}

function authCandidate(
  credential: Credential,
  { path, key, readAtMs }: {
    readonly path: string;
    readonly key: string;
    readonly readAtMs: number;
  },
  expiresAtMs: number | undefined,
): Candidate {
  return {
    credential,
    origin: `${path}, auths entry ${key}`,
    pattern: key,
    fetchedAtMs: readAtMs,
    watched: true,
    ...(expiresAtMs !== undefined && { expiresAtMs }),
  };
}
