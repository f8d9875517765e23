import type { Secret } from "../../model/mod.ts";

/** A PEM text, or the file that holds it and may be replaced. */
export type PemSource =
  | { readonly kind: "inline"; readonly pem: Secret }
  | { readonly kind: "file"; readonly path: string };

/** A program that gives out credentials (`users[].user.exec`). */
export interface ExecSettings {
  /** An absolute path, or a name to look for in `PATH`. */
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly apiVersion: string;
  readonly provideClusterInfo: boolean;
  /** What the author of the configuration tells those who lack the program. */
  readonly installHint: string;
}

/** How we say who we are; a client certificate may stand beside it. */
export type KubeUser =
  | { readonly kind: "anonymous" }
  | { readonly kind: "token"; readonly token: Secret }
  /** `token` counts while the file cannot be read. */
  | { readonly kind: "token-file"; readonly path: string; readonly token?: Secret }
  | { readonly kind: "basic"; readonly username: string; readonly password: Secret }
  | { readonly kind: "exec"; readonly exec: ExecSettings };

/** An API server, and everything that a kubeconfig or a pod says about reaching it. */
export interface KubeTarget {
  /** For people: where it was read. */
  readonly origin: string;
  readonly server: string;
  readonly ca?: PemSource;
  readonly cert?: PemSource;
  readonly key?: PemSource;
  readonly skipVerify: boolean;
  readonly serverName?: string;
  readonly proxyUrl?: Secret;
  readonly user: KubeUser;
  /** Headers that ask to act as someone else. */
  readonly impersonation: readonly (readonly [name: string, value: Secret])[];
  /** The cluster's configuration for the exec plugin, as it stands in the kubeconfig. */
  readonly execConfig?: unknown;
}

const POD_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";
/** The file whose presence tells that we run in a pod with an account. */
export const POD_TOKEN_PATH: string = `${POD_FOLDER}/token`;

/**
 * The API server of the cluster that this pod runs in, by its service account; undefined where the
 * environment names none (client-go `rest.InClusterConfig`).
 */
export function podTarget(env: Readonly<Record<string, string>>): KubeTarget | undefined {
  const host = env["KUBERNETES_SERVICE_HOST"] ?? "";
  const port = env["KUBERNETES_SERVICE_PORT"] ?? "";
  if (host === "" || !/^\d{1,5}$/.test(port)) return undefined;
  const server = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
  if (!URL.canParse(server)) return undefined;
  return {
    origin: "the pod's service account",
    server,
    ca: { kind: "file", path: `${POD_FOLDER}/ca.crt` },
    skipVerify: false,
    user: { kind: "token-file", path: POD_TOKEN_PATH },
    impersonation: [],
  };
}
