/** What a key's value may be. Bounds are inclusive. */
export type KeyType =
  | { readonly kind: "boolean" }
  | { readonly kind: "integer"; readonly min: number; readonly max: number }
  | {
    readonly kind: "duration";
    readonly minMs: number;
    readonly maxMs: number;
    /** A duration of zero is in bounds whatever `minMs` says. */
    readonly zero?: true;
    /** The word `auto` stands beside durations. */
    readonly auto?: true;
    /** A whole number counts as nanoseconds, as the snapshotter reads it. */
    readonly nanoseconds?: true;
  }
  | { readonly kind: "choice"; readonly choices: readonly string[] }
  /** An absolute path; with `off`, the empty text or `off` switches the thing off. */
  | { readonly kind: "path"; readonly off?: true }
  /** `host:port`, or `off`. */
  | { readonly kind: "address" }
  | { readonly kind: "reference" }
  | { readonly kind: "daemon-id" }
  /** A group of the machine, by name or number. */
  | { readonly kind: "group" }
  /** A name as Kubernetes gives objects: a DNS name in lower case. */
  | { readonly kind: "kube-name" }
  /** From one to `max` of them, none twice; in a flag or variable with commas between. */
  | { readonly kind: "kube-names"; readonly max: number }
  /** From one to `max` patterns of hosts, none twice; in a flag or variable with commas between. */
  | { readonly kind: "host-patterns"; readonly max: number };

/** An address to listen at. */
export interface ListenAddress {
  readonly hostname: string;
  readonly port: number;
}

/** What reading a value of type `T` gives: durations in ms, `off` for what is switched off. */
export type ValueOf<T extends KeyType> = T extends { readonly kind: "boolean" } ? boolean
  : T extends { readonly kind: "integer" } ? number
  : T extends { readonly kind: "duration"; readonly auto: true } ? number | "auto"
  : T extends { readonly kind: "duration" } ? number
  : T extends { readonly kind: "choice"; readonly choices: readonly (infer Choice)[] } ? Choice
  : T extends { readonly kind: "address" } ? ListenAddress | "off"
  : T extends { readonly kind: "kube-names" | "host-patterns" } ? readonly string[]
  : string;

/** A value as TOML writes it. */
export type RawValue = string | number | boolean | readonly string[];

/** Environment variable of a key: `renewal.check_interval` is `…_RENEWAL_CHECK_INTERVAL`. */
export function environmentName(path: string): string {
  return `${ENVIRONMENT_PREFIX}${path.replaceAll(".", "_").toUpperCase()}`;
}

/** What the names of our environment variables begin with. */
export const ENVIRONMENT_PREFIX = "NYDUS_AUTH_AGENT_";

/** `checkInterval` is `--check-interval`. */
export function flagName(flag: string): string {
  return `--${flag.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** A value as one writes it in TOML. */
export function tomlLiteral(value: RawValue): string {
  if (typeof value === "object") return `[${value.map(tomlLiteral).join(", ")}]`;
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** What a key takes, in a few words: for messages, the reference and completions. */
export function describeType(type: KeyType): string {
  switch (type.kind) {
    case "boolean":
      return "true or false";
    case "integer":
      return type.min === type.max
        ? `the number ${type.min}`
        : `a whole number from ${type.min} to ${type.max}`;
    case "duration":
      return [
        Number.isFinite(type.maxMs)
          ? `a duration from ${describeMs(type.minMs)} to ${describeMs(type.maxMs)}`
          : `a duration such as "10m"`,
        ...(type.zero ? [`"0s"`] : []),
        ...(type.auto ? [`"auto"`] : []),
      ].join(" or ");
    case "choice":
      return `one of ${type.choices.map((choice) => `"${choice}"`).join(", ")}`;
    case "path":
      return type.off ? `an absolute path or "off"` : "an absolute path";
    case "address":
      return `"host:port" or "off"`;
    case "reference":
      return "an image reference";
    case "daemon-id":
      return "a name of letters, digits, dots, dashes and underscores";
    case "group":
      return "the name or number of a group";
    case "kube-name":
      return "a Kubernetes name";
    case "kube-names":
      return `a list of 1 to ${type.max} Kubernetes names`;
    case "host-patterns":
      return `a list of 1 to ${type.max} hosts, with * as a wildcard within a label`;
    default:
      return type satisfies never;
  }
}

const MS_UNITS = [["h", 3_600_000], ["m", 60_000], ["s", 1_000], ["ms", 1]] as const;

/** Milliseconds as a Go duration in its largest whole unit. */
export function describeMs(ms: number): string {
  for (const [unit, size] of MS_UNITS) {
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}
