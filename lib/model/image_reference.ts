import { AgentError } from "./errors.ts";
import { isIpv6 } from "./ipv6.ts";
import { quoted } from "./quoted.ts";

/** An image reference in its normalized form. */
export interface ImageReference {
  /** The whole: `registry/repository:tag` or `registry/repository@digest`. */
  readonly text: string;
  /** Host, with port where there is one. */
  readonly registry: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: string;
}

// The grammar of distribution/reference (regexp.go), each part linear in the length of the text.
const DOMAIN = (() => {
  const label = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?";
  return new RegExp(`^(?:${label}(?:\\.${label})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
})();
const PATH_COMPONENT = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const IDENTIFIER = /^[a-f0-9]{64}$/;
/** The algorithms that opencontainers/go-digest accepts, with the length of their hex. */
const DIGEST_HEX: ReadonlyMap<string, number> = new Map([
  ["sha256", 64],
  ["sha384", 96],
  ["sha512", 128],
]);
const MAX_REPOSITORY = 255;
const MAX_LENGTH = 4_096;
const DOCKER_HUB = "docker.io";
/** Other names under which Docker Hub's registry is reached. */
const DOCKER_HUB_HOSTS: readonly string[] = ["index.docker.io", "registry-1.docker.io"];

/** Whether a host is Docker Hub's registry, under whichever of its names. */
export function isDockerHub(host: string): boolean {
  return host === DOCKER_HUB || DOCKER_HUB_HOSTS.includes(host);
}

function invalid(ref: string, why: string): AgentError {
  return new AgentError("invalid-reference", `parse image reference ${quoted(ref)}: ${why}`);
}

/**
 * Normalizes a reference as Docker does: `nginx` becomes `docker.io/library/nginx:latest`, and a
 * tag beside a digest is dropped (distribution/reference, `ParseNormalizedNamed`).
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
  if (ref.length > MAX_LENGTH) throw invalid(ref, "it is too long");
  if (IDENTIFIER.test(ref)) throw invalid(ref, "64 hex digits are an image ID, not a name");
  const { domain, rest } = splitDomain(ref);
  const at = rest.indexOf("@");
  const named = at < 0 ? rest : rest.slice(0, at);
  const digest = at < 0 ? undefined : rest.slice(at + 1);
  const colon = named.indexOf(":");
  const repository = colon < 0 ? named : named.slice(0, colon);
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  if (!isDomain(domain)) throw invalid(ref, "the registry host is malformed");
  if (repository !== repository.toLowerCase()) throw invalid(ref, "the name must be in lower case");
  if (!repository.split("/").every((part) => PATH_COMPONENT.test(part))) {
    throw invalid(ref, "the name is malformed");
  }
  if (repository.length > MAX_REPOSITORY) {
    throw invalid(ref, `the name is longer than ${MAX_REPOSITORY} characters`);
  }
  if (tag !== undefined && !TAG.test(tag)) throw invalid(ref, "the tag is malformed");
  if (digest !== undefined && !isDigest(digest)) throw invalid(ref, "the digest is malformed");
  const name = { registry: domain, repository };
  if (digest !== undefined) return { ...name, digest, text: `${domain}/${repository}@${digest}` };
  const shown = tag ?? "latest";
  return { ...name, tag: shown, text: `${domain}/${repository}:${shown}` };
}

/** The registry host of a reference as it stands, and what follows, as Docker tells them apart. */
function splitDomain(ref: string): { readonly domain: string; readonly rest: string } {
  const slash = ref.indexOf("/");
  const first = ref.slice(0, Math.max(slash, 0));
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

function isDigest(text: string): boolean {
  const colon = text.indexOf(":");
  const length = DIGEST_HEX.get(text.slice(0, colon));
  const hex = text.slice(colon + 1);
  return length !== undefined && hex.length === length && /^[a-f0-9]+$/.test(hex);
}

/**
 * A reference for an image whose tag is not known, from what a nydusd's configuration tells: its
 * text has neither tag nor digest. Docker Hub's other hosts become `docker.io`.
 *
 * @throws {AgentError} `invalid-reference`.
 */
export function repositoryReference(registry: string, repository: string): ImageReference {
  const host = isDockerHub(registry) ? DOCKER_HUB : registry;
  const whole = `${host}/${repository}`;
  if (/[:@]/.test(repository)) throw invalid(whole, "a repository has neither tag nor digest");
  const name = parseImageReference(whole);
  // A bare word as host would be read as the first part of a name, and belong to Docker Hub.
  if (name.registry !== host) throw invalid(whole, "the registry host is malformed");
  return { text: `${host}/${name.repository}`, registry: host, repository: name.repository };
}

/**
 * The same image as another registry serves it: its host, its repository, and the tag or digest of
 * the image. Unlike in a reference that a person writes, a bare word as host is a host.
 *
 * @throws {AgentError} `invalid-reference`.
 */
export function imageAt(
  host: string,
  repository: string,
  { tag, digest }: ImageReference,
): ImageReference {
  const registry = isDockerHub(host) ? DOCKER_HUB : host;
  const whole = `${registry}/${repository}`;
  if (whole.length > MAX_LENGTH || repository.length > MAX_REPOSITORY) {
    throw invalid(whole, "it is too long");
  }
  if (!isDomain(registry)) throw invalid(whole, "the registry host is malformed");
  if (!repository.split("/").every((part) => PATH_COMPONENT.test(part))) {
    throw invalid(whole, "the name is malformed");
  }
  const end = digest !== undefined ? `@${digest}` : tag !== undefined ? `:${tag}` : "";
  return {
    text: `${whole}${end}`,
    registry,
    repository,
    ...(tag !== undefined && { tag }),
    ...(digest !== undefined && { digest }),
  };
}
