import type { CallOptions, Credential, ImageReference } from "../model/mod.ts";
import type { LogLevel } from "../observability/mod.ts";

/** The target of a request: one image, or every image of a registry. */
export type ApiTarget =
  | { readonly kind: "image"; readonly image: ImageReference }
  | { readonly kind: "registry"; readonly registry: string; readonly image: ImageReference };

/** A credential for a client. Times are wall times in milliseconds. */
export interface ApiCredential {
  readonly provider: string;
  readonly credential: Credential;
  readonly origin: string;
  readonly fingerprint: string;
  readonly fetchedAtMs: number;
  readonly refreshAtMs?: number;
  readonly expiresAtMs?: number;
  readonly expired: boolean;
  /** The service account that a plugin issued it for. */
  readonly account?: string;
}

/** A credential that a client pushed to the agent, without its secret. */
export interface ApiPut {
  readonly ref?: string;
  readonly registry?: string;
  readonly form: Credential["kind"];
  readonly username?: string;
  readonly putAtMs: number;
  readonly validUntilMs?: number;
}

/** The result of renewing the credential of an image on user request. */
export interface ApiRenewed {
  readonly image: string;
  readonly endpoint?: string;
  readonly result: "changed" | "same" | "none" | "failed";
  readonly provider?: string;
  readonly detail?: string;
}

/** The lifetime of a credential, required or known: a duration or an end, or neither. */
export interface ApiLifetime {
  readonly validForMs?: number;
  /** Wall time. */
  readonly validUntilMs?: number;
}

/** A lookup of the credential of an image. */
export interface ApiLookup extends ApiLifetime {
  readonly image: ImageReference;
  readonly labels: Readonly<Record<string, string>>;
}

/** The operations of the running agent that the local API exposes. */
export interface ApiAgent {
  /** `found` is undefined if no provider has a credential; `why` has the reason of each. */
  credential(
    lookup: ApiLookup,
    options: CallOptions,
  ): Promise<{ readonly found?: ApiCredential; readonly why: readonly string[] }>;
  /** @throws {AgentError} `usage` if the configuration does not allow pushed credentials. */
  put(
    target: ApiTarget,
    given: {
      readonly credential?: Credential;
      readonly labels?: Readonly<Record<string, string>>;
    },
    lifetime: ApiLifetime,
  ): ApiPut;
  puts(): readonly ApiPut[];
  /** Returns false if there was no pushed credential. */
  forget(target: ApiTarget): boolean;
  refused(
    target: ApiTarget,
    fingerprint: string,
    options: CallOptions,
  ): Promise<"requested" | "backing-off" | "not-current">;
  /** Returns the result of every provider for an image, as in `explain --output json`. */
  explain(lookup: ApiLookup, options: CallOptions): Promise<object>;
  /** Returns the output of `status --output json`. */
  status(): object;
  reconcile(): void;
  /** Renews one image, or every mounted image. */
  renew(only: ImageReference | undefined, options: CallOptions): Promise<readonly ApiRenewed[]>;
  logLevel(): LogLevel;
  setLogLevel(level: LogLevel): void;
}

/** Options of the local API. */
export interface ApiOptions {
  readonly agent: ApiAgent;
  readonly version: string;
}
