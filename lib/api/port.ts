import type { CallOptions, Credential, ImageReference } from "../model/mod.ts";

/** What a request is about: one image, or every image of a registry. */
export type ApiTarget =
  | { readonly kind: "image"; readonly image: ImageReference }
  | { readonly kind: "registry"; readonly registry: string; readonly image: ImageReference };

/** A credential that the agent gives away. Times are wall times in ms. */
export interface ApiCredential {
  readonly provider: string;
  readonly credential: Credential;
  readonly origin: string;
  readonly fingerprint: string;
  readonly fetchedAtMs: number;
  readonly refreshAtMs?: number;
  readonly expiresAtMs?: number;
  readonly expired: boolean;
}

/** A credential that somebody put into the agent, without its secret. */
export interface ApiPut {
  readonly ref?: string;
  readonly registry?: string;
  readonly form: Credential["kind"];
  readonly username?: string;
  readonly putAtMs: number;
  readonly validUntilMs?: number;
}

/** What asking an image's sources by hand brought. */
export interface ApiRenewed {
  readonly image: string;
  readonly endpoint?: string;
  readonly result: "changed" | "same" | "none" | "failed";
  readonly provider?: string;
  readonly detail?: string;
}

/** The levels that lines are written from. */
export type ApiLogLevel = "debug" | "info" | "warning" | "error";

/** How long a credential must live, or lives: for a time or until one, or nothing is known. */
export interface ApiLifetime {
  readonly validForMs?: number;
  /** Wall time. */
  readonly validUntilMs?: number;
}

/** A question for an image's credential. */
export interface ApiLookup extends ApiLifetime {
  readonly image: ImageReference;
  readonly labels: Readonly<Record<string, string>>;
}

/** The running agent, as the local API sees it. */
export interface ApiAgent {
  /** Undefined: nobody has one. `why` then says what each provider answered. */
  credential(
    question: ApiLookup,
    options: CallOptions,
  ): Promise<{ readonly found?: ApiCredential; readonly why: readonly string[] }>;
  /** @throws {AgentError} `usage` when nothing can be put, because of the configuration. */
  put(
    target: ApiTarget,
    given: Credential | Readonly<Record<string, string>>,
    lifetime: ApiLifetime,
  ): ApiPut;
  puts(): readonly ApiPut[];
  /** False: there was nothing. */
  forget(target: ApiTarget): boolean;
  refused(
    target: ApiTarget,
    fingerprint: string,
    options: CallOptions,
  ): Promise<"queried" | "resting" | "not-current">;
  /** What every provider answers for an image, without a secret; see `explain --output json`. */
  explain(question: ApiLookup, options: CallOptions): Promise<object>;
  /** What `status --output json` prints. */
  status(): object;
  reconcile(): void;
  /** Every image that is mounted, or the one named. */
  renew(only: ImageReference | undefined, options: CallOptions): Promise<readonly ApiRenewed[]>;
  logLevel(): ApiLogLevel;
  setLogLevel(level: ApiLogLevel): void;
}
