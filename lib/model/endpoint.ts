import { defined } from "./defined.ts";
import { AgentError } from "./errors.ts";
import { imageAt, type ImageReference, isDockerHub } from "./image_reference.ts";
import { hostOf, type RegistryBackend } from "./registry_backend.ts";

/** A host that receives the credential of a mount, and its role for nydusd. */
export interface CredentialHost {
  readonly role: "registry" | "mirror" | "proxy";
  /** With its port, as returned by {@linkcode hostOf}. */
  readonly host: string;
  readonly scheme: string;
}

/** A host that receives the credential of a mount, and what approves it. */
export interface EndpointHost extends CredentialHost {
  /** The file, key or rule that approves the host, for display; undefined if nothing does. */
  readonly approvedBy?: string;
}

/** Where a mount reads from, if hosts other than its image's registry receive the credential. */
export interface Endpoint {
  /** The host that nydusd connects to, as written in its configuration. */
  readonly host: string;
  /**
   * The image as that host serves it; providers are queried for it first. Undefined if it equals
   * the image, or if host and repository do not form a valid reference.
   */
  readonly target?: ImageReference;
  /** Every host that receives the credential and is not the image's registry. */
  readonly hosts: readonly EndpointHost[];
}

/**
 * Returns every host that receives nydusd's credential: the registry, the mirrors of older versions,
 * and a proxy that is not tunneled through with TLS. An invalid host is returned as written.
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
  defaultScheme: string,
): CredentialHost {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(urlOrHost)?.[1]?.toLowerCase() ?? defaultScheme;
  return { role, scheme, host: hostOf(urlOrHost, scheme) ?? urlOrHost };
}

/** Returns whether a host is the image's registry, including other names of Docker Hub. */
function isOwnRegistry({ host, scheme }: CredentialHost, { registry }: ImageReference): boolean {
  return isDockerHub(registry) ? isDockerHub(host) : host === hostOf(registry, scheme);
}

/** Returns whether only the image's registry receives the credential of a mount. */
export function readsOwnRegistry(image: ImageReference, backend: RegistryBackend): boolean {
  return credentialHosts(backend).every((one) => isOwnRegistry(one, image));
}

/**
 * Returns where a mount reads from; undefined if only the image's registry receives its credential
 * and the image has the same name there.
 *
 * @param approverOf Returns what approves a host that is not the image's registry.
 */
export async function endpointOf(
  image: ImageReference,
  backend: RegistryBackend,
  approverOf: (host: CredentialHost) => Promise<string | undefined>,
): Promise<Endpoint | undefined> {
  const foreign = credentialHosts(backend).filter((one) => !isOwnRegistry(one, image));
  const target = targetOf(image, backend, foreign.some(({ role }) => role === "registry"));
  if (foreign.length === 0 && target === undefined) return undefined;
  const hosts = await Promise.all(
    foreign.map(async (one): Promise<EndpointHost> =>
      defined({ ...one, approvedBy: await approverOf(one) })
    ),
  );
  return defined({ host: backend.host ?? "", hosts, target });
}

/** The image at another host, or in another repository of its registry (a pull-through cache). */
function targetOf(
  image: ImageReference,
  { host = "", repo = image.repository }: RegistryBackend,
  isForeign: boolean,
): ImageReference | undefined {
  if (!isForeign && repo === image.repository) return undefined;
  try {
    return imageAt(isForeign ? host.toLowerCase() : image.registry, repo, image);
  } catch (error) {
    if (error instanceof AgentError) return undefined; // no source can have an entry for it
    throw error;
  }
}

/** What a credential is for: an image, read from its registry or from `endpoint`. */
export interface CredentialSubject extends ImageReference {
  /** {@linkcode Endpoint.target}. */
  readonly endpoint?: ImageReference;
}

/**
 * Returns the key of a subject. Mounts of one image that read from different hosts need different
 * credentials, so the image alone is not a key.
 */
export function subjectKey({ text, endpoint }: CredentialSubject): string {
  return endpoint === undefined ? text : `${text} from ${endpoint.text}`;
}

/** Returns what a mount's credential is for; undefined if its image is unknown. */
export function subjectOf(
  { image, endpoint }: { readonly image?: ImageReference; readonly endpoint?: Endpoint },
): CredentialSubject | undefined {
  if (image === undefined || endpoint?.target === undefined) return image;
  return { ...image, endpoint: endpoint.target };
}

/**
 * Returns the unapproved hosts that would receive the credential of a mount. A credential that was
 * found for the endpoint approves the endpoint's registry: its source has an entry for that host.
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
