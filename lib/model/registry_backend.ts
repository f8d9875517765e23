import { defined } from "./defined.ts";

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

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return value as Readonly<Record<string, unknown>>;
}
