import { defined } from "./defined.ts";
import { AgentError, quoted } from "./errors.ts";

/** A normalized image reference. */
export interface ImageReference {
  /** The whole reference: `registry/repository:tag` or `registry/repository@digest`. */
  readonly text: string;
  /** Host, with the port if there is one. */
  readonly registry: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: string;
}

// The grammar of distribution/reference (regexp.go). Each expression runs in linear time.
const DOMAIN = (() => {
  const label = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?";
  return new RegExp(`^(?:${label}(?:\\.${label})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
})();
const PATH_COMPONENT = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const IDENTIFIER = /^[a-f0-9]{64}$/;
/** Digest algorithms of opencontainers/go-digest, with the number of hex digits. */
const DIGEST_HEX: ReadonlyMap<string, number> = new Map([
  ["sha256", 64],
  ["sha384", 96],
  ["sha512", 128],
]);
const MAX_REPOSITORY = 255;
const MAX_LENGTH = 4_096;
const DOCKER_HUB = "docker.io";
/** The host names of Docker Hub's registry. */
export const DOCKER_HUB_HOSTS: readonly string[] = [
  DOCKER_HUB,
  "index.docker.io",
  "registry-1.docker.io",
];

/** Returns whether a host is one of the names of Docker Hub's registry. */
export function isDockerHub(host: string): boolean {
  return DOCKER_HUB_HOSTS.includes(host);
}

function invalid(ref: string, why: string): AgentError {
  return new AgentError(
    "invalid-reference",
    `failed to parse image reference ${quoted(ref)}: ${why}`,
  );
}

/**
 * Parses and normalizes a reference like Docker: `nginx` becomes `docker.io/library/nginx:latest`, and a
 * tag next to a digest is dropped (distribution/reference, `ParseNormalizedNamed`).
 *
 * @throws {AgentError} `invalid-reference`.
 *
 * @example A short name
 * ```ts
 * import { parseImageReference } from "./image_reference.ts";
 * const { text } = parseImageReference("nginx");
 * if (text !== "docker.io/library/nginx:latest") throw new Error(text);
 * ```
 */
export function parseImageReference(ref: string): ImageReference {
  if (ref.length > MAX_LENGTH) throw invalid(ref, "too long");
  if (IDENTIFIER.test(ref)) throw invalid(ref, "64 hex digits are an image ID, not a name");
  const { domain, rest } = splitDomain(ref);
  const [named, digest] = splitAt(rest, "@");
  const [repository, tag] = splitAt(named, ":");
  checkName(ref, domain, repository);
  if (tag !== undefined && !TAG.test(tag)) throw invalid(ref, "invalid tag");
  if (digest !== undefined && !isDigest(digest)) throw invalid(ref, "invalid digest");
  const name = { registry: domain, repository };
  if (digest !== undefined) return { ...name, digest, text: `${domain}/${repository}@${digest}` };
  const tagOrLatest = tag ?? "latest";
  return { ...name, tag: tagOrLatest, text: `${domain}/${repository}:${tagOrLatest}` };
}

function checkName(ref: string, registry: string, repository: string): void {
  if (!isDomain(registry)) throw invalid(ref, "invalid registry host");
  if (repository !== repository.toLowerCase()) {
    throw invalid(ref, "the repository must be lower case");
  }
  if (!repository.split("/").every((part) => PATH_COMPONENT.test(part))) {
    throw invalid(ref, "invalid repository");
  }
  if (repository.length > MAX_REPOSITORY) {
    throw invalid(ref, `the repository is longer than ${MAX_REPOSITORY} characters`);
  }
}

/** Splits a reference into registry host and remainder, by Docker's rules. */
function splitDomain(ref: string): { readonly domain: string; readonly rest: string } {
  const slash = ref.indexOf("/");
  const first = ref.slice(0, slash);
  const isHost = slash >= 0 &&
    (/[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase());
  const domain = !isHost || first === "index.docker.io" ? DOCKER_HUB : first;
  const rest = isHost ? ref.slice(slash + 1) : ref;
  if (domain !== DOCKER_HUB || rest.includes("/")) return { domain, rest };
  return { domain, rest: `library/${rest}` };
}

function isDomain(text: string): boolean {
  if (!DOMAIN.test(text)) return false;
  return !text.startsWith("[") || isIpv6(text.slice(1, text.indexOf("]")));
}

/** Returns whether a text is an IPv6 address without a zone. */
export function isIpv6(text: string): boolean {
  return /^[0-9A-Fa-f:.]+$/.test(text) && URL.canParse(`http://[${text}]/`);
}

function isDigest(text: string): boolean {
  const [algorithm, hex = ""] = splitAt(text, ":");
  return hex.length === DIGEST_HEX.get(algorithm) && /^[a-f0-9]+$/.test(hex);
}

/** Splits a text at the first separator. */
function splitAt(text: string, separator: string): readonly [string, string?] {
  const [before = "", ...after] = text.split(separator);
  return after.length > 0 ? [before, after.join(separator)] : [before];
}

/**
 * Creates a reference without tag and digest, from the registry and repository in the configuration
 * of a nydusd. Docker Hub's other hosts become `docker.io`.
 *
 * @throws {AgentError} `invalid-reference`.
 */
export function repositoryReference(registry: string, repository: string): ImageReference {
  const host = isDockerHub(registry) ? DOCKER_HUB : registry;
  const ref = `${host}/${repository}`;
  if (/[:@]/.test(repository)) throw invalid(ref, "a repository has neither tag nor digest");
  const name = parseImageReference(ref);
  // A host without dot and port is parsed as the first part of a name on Docker Hub.
  if (name.registry !== host) throw invalid(ref, "invalid registry host");
  return { text: `${host}/${name.repository}`, registry: host, repository: name.repository };
}

/**
 * Returns an image at another registry: that host and repository with the tag or digest of the
 * image. Unlike in a reference written by a user, the host needs neither dot nor port.
 *
 * @throws {AgentError} `invalid-reference`.
 */
export function imageAt(
  host: string,
  repository: string,
  { tag, digest }: ImageReference,
): ImageReference {
  const registry = isDockerHub(host) ? DOCKER_HUB : host;
  const ref = `${registry}/${repository}`;
  if (ref.length > MAX_LENGTH) throw invalid(ref, "too long");
  checkName(ref, registry, repository);
  const end = digest !== undefined ? `@${digest}` : tag !== undefined ? `:${tag}` : "";
  return defined({ text: `${ref}${end}`, registry, repository, tag, digest });
}
