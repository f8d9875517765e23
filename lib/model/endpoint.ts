import { defined, fieldsOf } from "./defined.ts";
import { AgentError } from "./errors.ts";
import { imageAt, type ImageReference, isDockerHub } from "./image_reference.ts";

/** How nydusd connects to the registry of a mount, from its configuration. Without credential. */
export interface RegistryBackend {
  /** `http` or `https`; nydusd's default is `https`. */
  readonly scheme?: string;
  /** Host with port, as written in the configuration. */
  readonly host?: string;
  readonly repo?: string;
  readonly skipVerify: boolean;
  /** PEM files with CA certificates that are trusted in addition to the system's. */
  readonly caFiles: readonly string[];
  readonly proxy?: RegistryProxy;
  /** Hosts that nydusd before 2.4 tries before `host`, with the same credential. */
  readonly mirrors: readonly string[];
}

/** The proxy for nydusd's blob requests. */
export interface RegistryProxy {
  readonly url: string;
  /** Whether requests to the proxy are plain HTTP, so that it receives the credential. */
  readonly useHttp: boolean;
  /** Whether nydusd bypasses the proxy while it is unhealthy. */
  readonly fallback: boolean;
}

const MAX_MIRRORS = 64;
const MAX_CA_FILES = 64;

/**
 * Parses a registry backend, as reported by nydusd or from a configuration file (dragonflyoss/nydus
 * `api/src/config.rs`, `RegistryConfig`; version 1's `device.backend.config` has the same fields).
 * Returns undefined if it has no host. Fields of a wrong type are ignored.
 */
export function readRegistryBackend(section: unknown): RegistryBackend | undefined {
  const backend = readBackend(section);
  return backend?.host === undefined ? undefined : backend;
}

function readBackend(section: unknown): RegistryBackend | undefined {
  const fields = fieldsOf(section);
  if (fields === undefined) return undefined;
  return defined({
    skipVerify: fields["skip_verify"] === true,
    caFiles: texts(fields["ca_cert_files"]).slice(0, MAX_CA_FILES),
    mirrors: readMirrors(fields["mirrors"]),
    scheme: text(fields["scheme"]),
    host: text(fields["host"]),
    repo: text(fields["repo"]),
    proxy: readProxy(fields["proxy"]),
  });
}

/**
 * Parses the backend in a daemon's configuration file for either driver: `device.backend.config` or
 * `config.backend_config`. In a template, which is used for every image, the host may be missing.
 */
export function readBackendOfFile(file: unknown): RegistryBackend | undefined {
  const device = fieldsOf(fieldsOf(file)?.["device"]);
  const fuse = fieldsOf(device?.["backend"])?.["config"];
  const fscache = fieldsOf(fieldsOf(file)?.["config"])?.["backend_config"];
  return readBackend(fuse ?? fscache);
}

/**
 * Returns the host of a URL or `host:port`, in lower case and without the default port of the
 * scheme. Returns undefined if the text is neither.
 */
export function hostOf(urlOrHost: string, scheme = "https"): string | undefined {
  const whole = /^[a-z][a-z0-9+.-]*:\/\//i.test(urlOrHost) ? urlOrHost : `${scheme}://${urlOrHost}`;
  const host = URL.parse(whole)?.host;
  return host === undefined || host === "" ? undefined : host;
}

function readProxy(section: unknown): RegistryProxy | undefined {
  const fields = fieldsOf(section);
  const url = text(fields?.["url"]);
  if (fields === undefined || url === undefined) return undefined;
  return { url, useHttp: fields["use_http"] === true, fallback: fields["fallback"] !== false };
}

function readMirrors(section: unknown): readonly string[] {
  if (!Array.isArray(section)) return [];
  return section.flatMap((mirror) => text(fieldsOf(mirror)?.["host"]) ?? []).slice(0, MAX_MIRRORS);
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.flatMap((one) => text(one) ?? []) : [];
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

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
