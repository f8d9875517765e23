import { AgentError } from "./errors.ts";
import { imageAt, type ImageReference, isDockerHub } from "./image_reference.ts";
import { hostOf, type RegistryBackend } from "./registry_backend.ts";

/** A host that sees a mount's credential, and what it is to nydusd. */
export interface CredentialHost {
  readonly role: "registry" | "mirror" | "proxy";
  /** With its port, as {@linkcode hostOf} gives it. */
  readonly host: string;
  readonly scheme: string;
}

/** A host that sees a mount's credential, and who named it. */
export interface EndpointHost extends CredentialHost {
  /** For people: which file, key or rule names it; undefined when nothing does. */
  readonly approvedBy?: string;
}

/** Where a mount is read from, where its credential goes elsewhere than to its image's registry. */
export interface Endpoint {
  /** The host that nydusd calls, as its configuration writes it. */
  readonly host: string;
  /**
   * The image as that host serves it: what the providers are asked for first. Undefined when it is
   * the image itself, or when host and repository make no reference.
   */
  readonly target?: ImageReference;
  /** Every host that sees the credential and is not the image's own registry. */
  readonly hosts: readonly EndpointHost[];
}

/**
 * Every host that nydusd shows its credential to: the registry's, the mirrors of older versions,
 * and a proxy that is not passed through TLS. Those that make no host are as they are written.
 */
export function credentialHosts(
  { scheme = "https", host = "", mirrors, proxy }: RegistryBackend,
): readonly CredentialHost[] {
  const seesAll = proxy !== undefined && (proxy.useHttp || scheme === "http");
  return [
    credentialHost("registry", host, scheme),
    ...mirrors.map((url) => credentialHost("mirror", url, "https")),
    ...(seesAll ? [credentialHost("proxy", proxy.url, "http")] : []),
  ];
}

function credentialHost(
  role: CredentialHost["role"],
  urlOrHost: string,
  schemeElse: string,
): CredentialHost {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(urlOrHost)?.[1]?.toLowerCase() ?? schemeElse;
  return { role, scheme, host: hostOf(urlOrHost, scheme) ?? urlOrHost };
}

/** Whether a host is the image's own registry, or Docker Hub under another name. */
function isOwnRegistry({ host, scheme }: CredentialHost, { registry }: ImageReference): boolean {
  return isDockerHub(registry) ? isDockerHub(host) : host === hostOf(registry, scheme);
}

/** Whether nydusd shows the credential of a mount to its image's own registry alone. */
export function readsOwnRegistry(image: ImageReference, backend: RegistryBackend): boolean {
  return credentialHosts(backend).every((one) => isOwnRegistry(one, image));
}

/**
 * Where the mount is read from; undefined when its credential goes to the image's own registry
 * alone, and is asked for by the image's own name.
 *
 * @param nameOf Who names a host that is not the image's own registry.
 */
export async function endpointOf(
  image: ImageReference,
  backend: RegistryBackend,
  nameOf: (host: CredentialHost) => Promise<string | undefined>,
): Promise<Endpoint | undefined> {
  const foreign = credentialHosts(backend).filter((one) => !isOwnRegistry(one, image));
  const target = targetOf(image, backend, foreign.some(({ role }) => role === "registry"));
  if (foreign.length === 0 && target === undefined) return undefined;
  const hosts = await Promise.all(foreign.map(async (one): Promise<EndpointHost> => {
    const approvedBy = await nameOf(one);
    return { ...one, ...(approvedBy !== undefined && { approvedBy }) };
  }));
  return { host: backend.host ?? "", hosts, ...(target !== undefined && { target }) };
}

/** Another host, or another repository at the image's own registry (a pull-through cache's). */
function targetOf(
  image: ImageReference,
  { host = "", repo = image.repository }: RegistryBackend,
  isForeign: boolean,
): ImageReference | undefined {
  if (!isForeign && repo === image.repository) return undefined;
  try {
    return imageAt(isForeign ? host.toLowerCase() : image.registry, repo, image);
  } catch (error) {
    if (error instanceof AgentError) return undefined; // nobody can have an entry for it
    throw error;
  }
}

/** What a credential is for: an image, read from its own registry or from `endpoint`. */
export interface CredentialSubject extends ImageReference {
  /** {@linkcode Endpoint.target}. */
  readonly endpoint?: ImageReference;
}

/**
 * Names a subject: mounts of one image that are read from different places hold different
 * credentials, so the image's text alone does not.
 */
export function subjectKey({ text, endpoint }: CredentialSubject): string {
  return endpoint === undefined ? text : `${text} from ${endpoint.text}`;
}

/** What a mount's credential is for; undefined when its image is not known. */
export function subjectOf(
  { image, endpoint }: { readonly image?: ImageReference; readonly endpoint?: Endpoint },
): CredentialSubject | undefined {
  if (image === undefined || endpoint?.target === undefined) return image;
  return { ...image, endpoint: endpoint.target };
}

/**
 * The hosts that would see this mount's credential and that nobody named. One that was found for
 * the host that nydusd calls was named by the very entry that it was found in.
 */
export function unapprovedHosts(
  endpoint: Endpoint | undefined,
  { forEndpoint = false }: { readonly forEndpoint?: boolean },
): readonly string[] {
  if (endpoint === undefined) return [];
  const unapproved = endpoint.hosts.filter(({ role, approvedBy }) =>
    approvedBy === undefined && !(forEndpoint && role === "registry")
  );
  return [...new Set(unapproved.map(({ host }) => host))];
}
