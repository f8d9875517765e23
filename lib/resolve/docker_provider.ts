import {
  type Candidate,
  type Clock,
  type Credential,
  type CredentialProvider,
  type CredentialRequest,
  type FileSystem,
  hardExpiryOf,
  messageOf,
  type ProviderNote,
  type ProviderOutcome,
  type ReasonCode,
} from "../model/mod.ts";
import type { CredentialHelpers } from "./credential_helper.ts";
import {
  credentialsOf,
  type DockerConfig,
  dockerServer,
  findAuth,
  helperFor,
  parseDockerConfig,
} from "./docker_config.ts";

/** What the docker provider reads. */
export interface DockerProviderOptions {
  readonly configPath: string;
  readonly files: FileSystem;
  readonly clock: Clock;
  readonly helpers: CredentialHelpers;
}

/** A configuration that was read whole, and when. */
interface Good {
  readonly config: DockerConfig;
  readonly atMs: number;
}

/** How the last look at the file went. */
type LastRead =
  | { readonly kind: "read" }
  | { readonly kind: "absent" }
  | { readonly kind: "failed"; readonly reason: ReasonCode; readonly detail: string };

/** Looks at the file caused by questions keep this distance; its watch causes others. */
const LOOK_EVERY_MS = 200;

/**
 * Docker's `config.json` and the credential helpers that it names. The file is parsed when it has
 * changed; one that is caught half-written leaves the last good reading in force.
 */
export class DockerProvider implements CredentialProvider {
  readonly name = "docker";
  readonly renewable = true;
  readonly #options: DockerProviderOptions;
  #good: Good | undefined;
  #last: LastRead = { kind: "absent" };
  #stamp: string | undefined;
  #lookedAtMs = -Infinity;
  #looking: Promise<void> | undefined;

  constructor(options: DockerProviderOptions) {
    this.#options = options;
  }

  /** Looks at the file at the next question, however soon that is. */
  doubt(): void {
    this.#lookedAtMs = -Infinity;
  }

  async provide(request: CredentialRequest): Promise<ProviderOutcome> {
    await this.#look();
    const { configPath } = this.#options;
    const notes: ProviderNote[] = [];
    if (this.#last.kind === "failed") {
      const { reason, detail } = this.#last;
      if (this.#good === undefined) return { kind: "failed", reason, detail, notes };
      notes.push({ subject: configPath, reason, detail: `${detail}; the last good one is used` });
    }
    if (this.#good === undefined) return { kind: "none", reason: "no-config-file", notes };
    const { config, atMs } = this.#good;
    const { registry } = request.image;
    const helper = helperFor(config, registry);
    if (helper !== "") return await this.#askHelper(helper, request, notes);
    const entry = findAuth(config, registry);
    if (entry === undefined) {
      if (registry === "docker.io" && config.auths.has("docker.io")) {
        const detail = `docker reads Docker Hub's entry under ${dockerServer(registry)} alone`;
        notes.push({ subject: "auths.docker.io", reason: "no-entry-for-registry", detail });
      }
      return { kind: "none", reason: "no-entry-for-registry", notes };
    }
    const [first, ...rest] = credentialsOf(entry.auth).map((credential) =>
      this.#candidate(credential, `${configPath}, auths entry ${entry.key}`, entry.key, atMs)
    );
    if (first === undefined) {
      const reason = entry.auth.username === "" ? "anonymous-entry" : "incomplete-entry";
      return { kind: "none", reason, notes };
    }
    return { kind: "found", reason: "found", candidates: [first, ...rest], notes };
  }

  async #askHelper(
    name: string,
    request: CredentialRequest,
    notes: ProviderNote[],
  ): Promise<ProviderOutcome> {
    const server = dockerServer(request.image.registry);
    const answer = await this.#options.helpers.get(name, server, request);
    const subject = `docker-credential-${name}`;
    switch (answer.kind) {
      case "none":
        return { ...answer, notes: [...notes, { subject, reason: answer.reason }] };
      case "failed": {
        const { reason, detail } = answer;
        return {
          ...answer,
          detail: `${subject}: ${detail}`,
          notes: [...notes, { subject, reason, detail }],
        };
      }
      case "found": {
        const origin = `${subject} for ${server}`;
        const { watched: _, ...candidate } = this.#candidate(
          answer.credential,
          origin,
          server,
          answer.fetchedAtMs,
        );
        return {
          kind: "found",
          reason: "found",
          candidates: [{ ...candidate, plugin: subject, watched: false }],
          notes: [...notes, { subject, reason: "found" }],
        };
      }
    }
  }

  #candidate(
    credential: Credential,
    origin: string,
    pattern: string,
    fetchedAtMs: number,
  ): Candidate {
    const { expiresAtMs } = hardExpiryOf(credential, fetchedAtMs);
    return {
      credential,
      origin,
      pattern,
      fetchedAtMs,
      watched: true,
      ...(expiresAtMs !== undefined && { hardExpiresAtMs: expiresAtMs }),
    };
  }

  /** One look serves every question that comes while it is under way, unless a change came since. */
  async #look(): Promise<void> {
    while (this.#looking !== undefined) await this.#looking;
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#lookedAtMs < LOOK_EVERY_MS) return;
    this.#lookedAtMs = nowMs;
    this.#looking = this.#read().finally(() => this.#looking = undefined);
    await this.#looking;
  }

  async #read(): Promise<void> {
    const { configPath, files, clock } = this.#options;
    try {
      const stat = await files.stat(configPath);
      if (stat !== undefined && stat.stamp === this.#stamp) return;
      const text = stat === undefined ? undefined : await files.readText(configPath);
      this.#stamp = stat?.stamp;
      if (text === undefined) {
        this.#last = { kind: "absent" };
        this.#good = undefined;
        return;
      }
      // A file that was just emptied is about to be written; docker writes `{}` when it means nothing.
      if (text.trim() === "" && this.#good !== undefined) throw new Error("the file is empty");
      this.#good = {
        config: parseDockerConfig(text.trim() === "" ? "{}" : text),
        atMs: clock.wallMs(),
      };
      this.#last = { kind: "read" };
    } catch (error) {
      const reason = this.#stamp === undefined ? "unreadable" : "invalid-config";
      this.#last = { kind: "failed", reason, detail: `${configPath}: ${messageOf(error)}` };
    }
  }
}
