import { firstJsonValue, goField, isFields } from "../../formats/mod.ts";
import {
  AgentError,
  type Candidate,
  type Clock,
  type Credential,
  credentialFromPair,
  type CredentialProvider,
  type CredentialRequest,
  defined,
  type FileSystem,
  type ImageReference,
  joinNames,
  type ProcessResult,
  type ProviderNote,
  type ProviderOutcome,
  type Random,
  type ReasonCode,
  Secret,
  Semaphore,
  setNewest,
  tokenExpiryOf,
  tryParseImageTarget,
} from "../../model/mod.ts";
import {
  CachedProgram,
  failedOutcome,
  noCredential,
  type ProgramOutcome,
} from "../program/cached_program.ts";
import {
  execute,
  type ExecutionOptions,
  findExecutable,
  processProblem,
  type ProgramAuth,
  type ProgramFailure,
  type ProgramResult,
} from "../program/execution.ts";
import {
  credentialsOf,
  DOCKER_HUB_KEY,
  type DockerConfig,
  dockerServer,
  findAuth,
  findEntries,
  helperFor,
  parseDockerConfig,
  patternOfKey,
} from "./docker_config.ts";

/** Dependencies of {@linkcode DockerProvider}. */
export interface DockerProviderOptions {
  readonly configPath: string;
  readonly files: FileSystem;
  readonly clock: Clock;
  readonly helpers: CredentialHelpers;
  /** The instance before a reload: the last valid configuration of the same file is kept. */
  readonly before?: DockerProvider;
}

/** The last valid configuration, and the wall time at which its text was first read. */
interface LoadedConfig {
  readonly text: string;
  readonly config: DockerConfig;
  readonly readAtMs: number;
}

/**
 * Provides credentials from docker's `config.json` and the credential helpers that it names: the
 * registry's own helper, otherwise `credsStore`; and `auths` if there is no helper or the helper has
 * no credential. While the file is half-written or unreadable, the last valid one stays in use.
 */
export class DockerProvider implements CredentialProvider {
  readonly name = "docker";
  readonly renewable = true;
  readonly #options: DockerProviderOptions;
  #loaded: LoadedConfig | undefined;

  constructor({ before, ...options }: DockerProviderOptions) {
    this.#options = options; // without `before`, which would keep all earlier instances in memory
    if (before === undefined || before.#options.configPath !== options.configPath) return;
    this.#loaded = before.#loaded;
  }

  async provide(request: CredentialRequest): Promise<ProviderOutcome> {
    const { configPath: path } = this.#options;
    const notes: ProviderNote[] = [];
    const problem = await this.#read();
    const loaded = this.#loaded;
    if (problem !== undefined) {
      const { reason, detail } = problem;
      if (loaded === undefined) return { kind: "failed", reason, detail, notes };
      notes.push({ subject: path, reason, detail: `${detail}; the last valid one is used` });
    }
    if (loaded === undefined) return none({ subject: path, reason: "no-config-file" }, notes);
    const helper = helperFor(loaded.config, request.image.registry);
    const outcome = helper === "" ? undefined : await this.#fromHelper(helper, request, notes);
    if (outcome !== undefined && outcome.kind !== "none") return outcome;
    // The file may still have an entry from a login before the helper was configured.
    const fromFile = fromAuths({ path, ...loaded }, request, notes);
    return fromFile.kind === "none" ? outcome ?? fromFile : fromFile;
  }

  /** Reads the file. Returns the problem of a file that cannot be used. */
  async #read() {
    const { configPath: path, files, clock } = this.#options;
    let reason: ReasonCode = "unreadable";
    try {
      const text = await files.readText(path);
      if (text === undefined) this.#loaded = undefined;
      if (text === undefined || text === this.#loaded?.text) return undefined;
      reason = "invalid-config";
      // Docker writes `{}` for no entries: an empty file is about to be written.
      if (text.trim() === "" && this.#loaded !== undefined) {
        throw new AgentError("invalid-config", "read docker configuration: it is empty");
      }
      this.#loaded = { text, config: parseDockerConfig(text), readAtMs: clock.wallMs() };
      return undefined;
    } catch (error) {
      // Only an AgentError is known to quote no secret.
      const what = error instanceof AgentError ? error.message : "it cannot be read";
      return { reason, detail: `${path}: ${what}` };
    }
  }

  async #fromHelper(
    name: string,
    request: CredentialRequest,
    notes: ProviderNote[],
  ): Promise<ProviderOutcome> {
    const server = dockerServer(request.image.registry);
    const outcome = await this.#options.helpers.get(name, server, request);
    const { note, candidates: [first, ...rest], failure } = outcome;
    notes.push(note);
    const { reason } = note;
    if (first !== undefined) return { kind: "found", reason, candidates: [first, ...rest], notes };
    return failure === undefined
      ? { kind: "none", reason, notes }
      : { kind: "failed", reason, notes, ...failure };
  }
}

/** Returns the outcome without a credential, and adds the note with its reason. */
function none(note: ProviderNote, notes: ProviderNote[]): ProviderOutcome {
  notes.push(note);
  return { kind: "none", reason: note.reason, notes };
}

function fromAuths(
  { path, config, readAtMs }: LoadedConfig & { readonly path: string },
  { image }: CredentialRequest,
  notes: ProviderNote[],
): ProviderOutcome {
  const entry = findAuth(config, image.registry);
  if (entry === undefined) return none(noEntryNote(path, config, image), notes);
  const { key, auth } = entry;
  const subject = `auths.${key}`;
  if (auth.undecodable) {
    const detail = `${path}: ${subject}.auth is not UTF-8 text`;
    const reason = "invalid-entry";
    notes.push({ subject, reason, detail });
    return { kind: "failed", reason, detail, notes };
  }
  const candidate = (key: string) => (credential: Credential): Candidate => {
    const { expiresAtMs, warning } = tokenExpiryOf(credential, readAtMs);
    if (warning !== undefined) {
      notes.push({ subject: `auths.${key}`, reason: "found", detail: warning });
    }
    return {
      credential,
      origin: `${path}, auths entry ${key}`,
      pattern: key,
      fetchedAtMs: readAtMs,
      watched: true,
      ...defined({ expiresAtMs }),
    };
  };
  const [first, ...rest] = credentialsOf(auth).map(candidate(key));
  if (first === undefined) {
    const reason = auth.username === "" ? "anonymous-entry" : "incomplete-entry";
    return none({ subject, reason }, notes);
  }
  const others = otherEntries(config, image, key)
    .flatMap(({ key, credentials }) => credentials.map(candidate(key)));
  return { kind: "found", reason: "found", candidates: [first, ...rest, ...others], notes };
}

/**
 * Returns the other entries that match an image by the kubelet's rules, which also accept paths and
 * wildcards; the most specific key first. Docker uses a single entry, but if the registry refuses
 * that one, another may be accepted.
 */
function otherEntries({ auths }: DockerConfig, { text }: ImageReference, used: string) {
  const target = auths.size < 2 ? undefined : tryParseImageTarget(text);
  if (target === undefined) return [];
  const entries = [...auths].flatMap(([key, auth]) => {
    const pattern = patternOfKey(key);
    return pattern === undefined ? [] : [{ key, pattern, credentials: credentialsOf(auth) }];
  });
  return findEntries([{ entries }], target).map(({ entry }) => entry)
    .filter(({ key }) => key !== used);
}

function noEntryNote(
  path: string,
  config: DockerConfig,
  { registry }: ImageReference,
): ProviderNote {
  const names = [...config.auths.keys(), ...config.credHelpers.keys()];
  const found = names.length === 0 ? "it has no entries" : `it has entries for ${joinNames(names)}`;
  // Some users copy the host of Docker Hub from elsewhere.
  const detail = registry === "docker.io" ? `${found}; Docker Hub's is ${DOCKER_HUB_KEY}` : found;
  return { subject: path, reason: "no-entry-for-registry", detail };
}

/** Dependencies and settings of {@linkcode CredentialHelpers}. */
export interface CredentialHelpersOptions extends ExecutionOptions {
  readonly files: FileSystem;
  readonly clock: Clock;
  /** Adds jitter to the backoff. */
  readonly random?: Random;
  /** The environment's `PATH`. */
  readonly searchPath: string;
  readonly timeoutMs: number;
  /** How long a credential is cached before its helper is executed again. */
  readonly refreshIntervalMs: number;
  /** The instance before a configuration reload; its cache and backoff are carried over. */
  readonly before?: CredentialHelpers;
}

/** The agent's own helper. Executing it would make the agent query itself. */
const OWN_HELPER = "nydus-auth";
/** Limits concurrent executions per helper, so that one that hangs does not block the others. */
const MAX_PARALLEL_PER_HELPER = 4;
const MAX_HELPERS = 1_024;

/** Executes docker credential helpers, each with its own single flight, cache and backoff. */
export class CredentialHelpers {
  readonly #options: CredentialHelpersOptions;
  readonly #programs: Map<string, CachedProgram>;

  constructor({ before, ...options }: CredentialHelpersOptions) {
    this.#options = options; // without `before`, which would keep all earlier instances in memory
    this.#programs = before === undefined ? new Map() : before.#programs;
  }

  /** Returns what the helper `docker-credential-<name>` has for a server. Rejects only on a defect. */
  async get(name: string, server: string, request: CredentialRequest): Promise<ProgramOutcome> {
    const command = `docker-credential-${name}`;
    if (name === OWN_HELPER) return noCredential(command, "helper-is-agent");
    if (/[/\\\0]/.test(name)) {
      const detail = "the configured helper name is not a file name";
      return failedOutcome({ name: command, kind: "helper" }, { reason: "helper-missing", detail });
    }
    return await this.#programOf(command)
      .provide(
        request,
        tryParseImageTarget(request.image.text),
        () => this.#execute(command, server),
      );
  }

  #programOf(name: string): CachedProgram {
    const program = this.#programs.get(name) ?? new CachedProgram({
      ...this.#options,
      name,
      kind: "helper",
      semaphore: new Semaphore(MAX_PARALLEL_PER_HELPER),
    });
    setNewest(this.#programs, name, program, MAX_HELPERS);
    return program;
  }

  async #execute(name: string, server: string): Promise<ProgramResult> {
    const { files, searchPath, timeoutMs, refreshIntervalMs: cacheDurationMs } = this.#options;
    const path = await findExecutable(name, searchPath, files);
    if (path === undefined) {
      return { kind: "failed", reason: "helper-missing", detail: "it is not on the PATH" };
    }
    return await execute(
      this.#options,
      { provider: "docker", name, failed: "helper-failed" },
      { path, args: ["get"], env: {}, stdin: server, timeoutMs },
      (result) => {
        const reading = readHelperResult(result, timeoutMs);
        if (reading.kind === "failed") return reading;
        const auth = reading.entry && [{ pattern: server, ...reading.entry }];
        const response = {
          cacheKeyType: "Registry",
          cacheDurationMs,
          ...defined({ auth }),
        } as const;
        return { kind: "responded", response };
      },
    );
  }
}

/** What a helper returned: without an entry, it has no credential for the registry. */
type HelperReading =
  | { readonly kind: "read"; readonly entry?: Omit<ProgramAuth, "pattern"> }
  | ProgramFailure;

const FAILURES = {
  "missing": "helper-missing",
  "not-executable": "helper-failed",
  "timeout": "helper-timeout",
  "too-much-output": "helper-invalid-response",
  "failed": "helper-failed",
} as const satisfies Record<string, ReasonCode>;

const NOT_FOUND = "credentials not found in native keychain";
const TOKEN_USERNAME = "<token>";

/**
 * Decodes the result of `docker-credential-NAME get` (docker/docker-credential-helpers,
 * `client/client.go`). Output is never quoted: it may contain the secret, also in an error message.
 */
export function readHelperResult(result: ProcessResult, timeoutMs: number): HelperReading {
  const stdout = result.kind === "exited" ? result.stdout : "";
  const problem = processProblem(result, timeoutMs);
  if (problem?.kind === "failed" && stdout.trim() === NOT_FOUND) return { kind: "read" };
  if (problem !== undefined) {
    return { kind: "failed", reason: FAILURES[problem.kind], detail: problem.detail };
  }
  const invalid = (detail: string) =>
    ({ kind: "failed", reason: "helper-invalid-response", detail }) as const;
  let body: unknown;
  try {
    body = firstJsonValue(stdout);
  } catch {
    return invalid("its output is not JSON");
  }
  if (!isFields(body)) return invalid("its output is not a JSON object");
  const username = goField(body, "Username") ?? "";
  const secret = goField(body, "Secret") ?? "";
  if (typeof username !== "string" || typeof secret !== "string") {
    return invalid("Username or Secret in its output is not a string");
  }
  const credential: Credential | undefined = username === TOKEN_USERNAME && secret !== ""
    ? { kind: "identity-token", username: "", token: new Secret(secret) }
    : credentialFromPair(username, secret);
  return { kind: "read", entry: { username, ...defined({ credential }) } };
}
