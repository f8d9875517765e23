import { defined } from "../model/mod.ts";

/** The type of a key's value. Bounds are inclusive. */
export type KeyType =
  | { readonly kind: "boolean" }
  | { readonly kind: "integer"; readonly min: number; readonly max: number }
  | {
    readonly kind: "duration";
    readonly minMs: number;
    readonly maxMs: number;
    /** Whether zero is valid in addition. */
    readonly zero?: true;
    /** Whether `auto` is valid in addition. */
    readonly auto?: true;
    /** Whether a number is valid, as nanoseconds, like in the snapshotter's file. */
    readonly nanoseconds?: true;
  }
  | { readonly kind: "choice"; readonly choices: readonly string[] }
  /** An absolute path; with `off`, an empty text or `off` disables the feature. */
  | { readonly kind: "path"; readonly off?: true }
  /** `host:port`, or `off`. */
  | { readonly kind: "address" }
  | { readonly kind: "reference" }
  | { readonly kind: "daemon-id" }
  /** A user group, by name or number. */
  | { readonly kind: "group" }
  /** The name of a Kubernetes object: a DNS name in lower case. */
  | { readonly kind: "kube-name" }
  /** From one to `max` unique host patterns; separated by commas in a flag or variable. */
  | { readonly kind: "host-patterns"; readonly max: number };

/** An address to listen on. */
export interface ListenAddress {
  readonly hostname: string;
  readonly port: number;
}

/** The parsed value of a key type: durations in ms, `off` for a disabled feature. */
export type ValueOf<T extends KeyType> = T extends { readonly kind: "boolean" } ? boolean
  : T extends { readonly kind: "integer" } ? number
  : T extends { readonly kind: "duration"; readonly auto: true } ? number | "auto"
  : T extends { readonly kind: "duration" } ? number
  : T extends { readonly kind: "choice"; readonly choices: readonly (infer Choice)[] } ? Choice
  : T extends { readonly kind: "address" } ? ListenAddress | "off"
  : T extends { readonly kind: "host-patterns" } ? readonly string[]
  : string;

/** A value in a TOML file. */
export type RawValue = string | number | boolean | readonly string[];

/** A key of the configuration file, as used by validation, reference and completions. */
export interface ConfigKey<Path extends string = string, Type extends KeyType = KeyType> {
  /** Key path; `daemons[].ref` is the `ref` of a `[[daemons]]` entry. */
  readonly path: Path;
  readonly type: Type;
  /** As in TOML; undefined if it depends on something else, described in `defaultNote`. */
  readonly default?: RawValue;
  readonly defaultNote?: string;
  /** A valid value, for messages and the sample. */
  readonly example: RawValue;
  /** Environment variable; undefined for a key that only a file can set. */
  readonly env?: string;
  /** Command-line option in camel case, if there is one. */
  readonly flag?: string;
  /** Path of the field in `AgentConfig`. */
  readonly field?: string;
  readonly description: string;
}

type Rest = Omit<ConfigKey, "path" | "type" | "env" | "example"> & { readonly example?: RawValue };

/** Creates a key; its environment variable is derived from the path. */
export function key<const Path extends string, const Type extends KeyType>(
  path: Path,
  type: Type,
  rest: Rest,
): ConfigKey<Path, Type> {
  const onlyInFile = path === "version" || path.includes("[]");
  const example = rest.example ?? rest.default ?? "";
  const env = onlyInFile ? undefined : environmentName(path);
  return { path, type, ...rest, example, ...defined({ env }) };
}

/** Returns the variable of a key: `renewal.check_interval` is `…_RENEWAL_CHECK_INTERVAL`. */
export function environmentName(path: string): string {
  return `${ENVIRONMENT_PREFIX}${path.replaceAll(".", "_").toUpperCase()}`;
}

/** Prefix of the agent's environment variables. */
export const ENVIRONMENT_PREFIX = "NYDUS_AUTH_AGENT_";

/** Returns the option of a flag: `checkInterval` is `--check-interval`. */
export function flagName(flag: string): string {
  return `--${flag.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Returns a value in TOML notation. */
export function tomlLiteral(value: RawValue): string {
  if (typeof value === "object") return `[${value.map(tomlLiteral).join(", ")}]`;
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** Describes the valid values of a key, for messages, the reference and completions. */
export function describeType(type: KeyType): string {
  switch (type.kind) {
    case "boolean":
      return "true or false";
    case "integer":
      return type.min === type.max
        ? `the number ${type.min}`
        : `an integer from ${type.min} to ${type.max}`;
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
      return "a Kubernetes object name";
    case "host-patterns":
      return `a list of 1 to ${type.max} host patterns such as "*.example.com:5000"`;
    default:
      return type satisfies never;
  }
}

const MS_UNITS = [["h", 3_600_000], ["m", 60_000], ["s", 1_000], ["ms", 1]] as const;

/** Formats milliseconds as a Go duration in its largest whole unit. */
export function describeMs(ms: number): string {
  for (const [unit, size] of MS_UNITS) {
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}
