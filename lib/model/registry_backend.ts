/** How nydusd reaches the registry of one mount, as its own configuration says. No credential. */
export interface RegistryBackend {
  /** `http` or `https`; undefined where it is not said (nydusd takes `https`). */
  readonly scheme?: string;
  /** Host with port, as it is written there. */
  readonly host?: string;
  readonly repo?: string;
  readonly skipVerify: boolean;
  /** Paths of PEM files that it trusts besides the system's. */
  readonly caFiles: readonly string[];
  readonly proxy?: RegistryProxy;
  /** Hosts that older nydusd (before 2.4) ask before `host`, with the same credential. */
  readonly mirrors: readonly string[];
}

/** A proxy that nydusd's requests for blobs go through. */
export interface RegistryProxy {
  readonly url: string;
  /** The proxy is talked to in plain HTTP whatever the scheme: it sees what passes. */
  readonly useHttp: boolean;
  /** Whether nydusd asks the registry itself while the proxy is ill. */
  readonly fallback: boolean;
}

const MAX_MIRRORS = 64;
const MAX_CA_FILES = 64;

/**
 * Reads a backend out of nydusd's own words or a configuration file (dragonflyoss/nydus
 * `api/src/config.rs`, `RegistryConfig`; version 1's `device.backend.config` has the same fields).
 * Undefined when it names no host. What has another type than it should counts as not said.
 */
export function readRegistryBackend(section: unknown): RegistryBackend | undefined {
  const backend = readBackend(section);
  return backend?.host === undefined ? undefined : backend;
}

function readBackend(section: unknown): RegistryBackend | undefined {
  const fields = fieldsOf(section);
  if (fields === undefined) return undefined;
  const host = text(fields["host"]);
  const scheme = text(fields["scheme"]);
  const repo = text(fields["repo"]);
  const proxy = readProxy(fields["proxy"]);
  return {
    skipVerify: fields["skip_verify"] === true,
    caFiles: texts(fields["ca_cert_files"]).slice(0, MAX_CA_FILES),
    mirrors: readMirrors(fields["mirrors"]),
    ...(scheme !== undefined && { scheme }),
    ...(host !== undefined && { host }),
    ...(repo !== undefined && { repo }),
    ...(proxy !== undefined && { proxy }),
  };
}

/**
 * Reads the backend of a daemon's configuration file, of either driver: `device.backend.config` or
 * `config.backend_config`. In a template, which serves every image, it may name no host.
 */
export function readBackendOfFile(file: unknown): RegistryBackend | undefined {
  const device = fieldsOf(fieldsOf(file)?.["device"]);
  const fuse = fieldsOf(device?.["backend"])?.["config"];
  const fscache = fieldsOf(fieldsOf(file)?.["config"])?.["backend_config"];
  return readBackend(fuse ?? fscache);
}

/**
 * The host (with port) of a URL or of a bare host, in lower case; a port that its scheme implies is
 * dropped. Undefined when it is neither.
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

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return value as Readonly<Record<string, unknown>>;
}
