import type { Secret } from "../../model/mod.ts";

/** A PEM text: inline, or in a file that may be rotated. */
export type PemSource =
  | { readonly kind: "inline"; readonly pem: Secret }
  | { readonly kind: "file"; readonly path: string };

/** An exec credential plugin (`users[].user.exec`). */
export interface ExecConfig {
  /** An absolute path, or a name to find in `PATH`. */
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly apiVersion: string;
  readonly provideClusterInfo: boolean;
  /** Printed when the plugin is not installed. */
  readonly installHint: string;
}

/** Authentication of the client (`AuthInfo` in client-go); a client certificate may be added. */
export type AuthInfo =
  | { readonly kind: "anonymous" }
  | { readonly kind: "token"; readonly token: Secret }
  /** `token` is used while the file cannot be read. */
  | { readonly kind: "token-file"; readonly path: string; readonly token?: Secret }
  | { readonly kind: "basic"; readonly username: string; readonly password: Secret }
  | { readonly kind: "exec"; readonly exec: ExecConfig };

/** Configuration of a client: an API server and how to authenticate to it (`rest.Config`). */
export interface ClientConfig {
  /** The source of the configuration, for messages. */
  readonly origin: string;
  readonly server: string;
  readonly ca?: PemSource;
  readonly cert?: PemSource;
  readonly key?: PemSource;
  readonly skipVerify: boolean;
  readonly serverName?: string;
  readonly proxyUrl?: Secret;
  readonly auth: AuthInfo;
  /** Impersonation headers (`as`, `as-groups`, …). */
  readonly impersonation: readonly (readonly [name: string, value: Secret])[];
  /** The cluster's configuration for the exec plugin, passed on unchanged. */
  readonly execConfig?: unknown;
}

const SERVICE_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * Returns the configuration for the API server of the cluster that this pod runs in, or undefined
 * outside a pod (client-go `rest.InClusterConfig`).
 */
export function inClusterConfig(env: Readonly<Record<string, string>>): ClientConfig | undefined {
  const host = env["KUBERNETES_SERVICE_HOST"] ?? "";
  const port = env["KUBERNETES_SERVICE_PORT"] ?? "";
  if (host === "" || !/^\d{1,5}$/.test(port)) return undefined;
  const server = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
  if (!URL.canParse(server)) return undefined;
  return {
    origin: "the pod's service account",
    server,
    ca: { kind: "file", path: `${SERVICE_ACCOUNT_DIR}/ca.crt` },
    skipVerify: false,
    auth: { kind: "token-file", path: `${SERVICE_ACCOUNT_DIR}/token` },
    impersonation: [],
  };
}
