import { environmentName, type KeyType, type RawValue } from "./key_types.ts";

/** One key of our configuration file: all that validation, the reference and completions need. */
export interface ConfigKey<Path extends string = string, Type extends KeyType = KeyType> {
  /** Key path; `daemons[].ref` is the `ref` of any of the `[[daemons]]`. */
  readonly path: Path;
  readonly type: Type;
  /** As in TOML; undefined when it follows from something else, which `defaultNote` says. */
  readonly default?: RawValue;
  readonly defaultNote?: string;
  /** A value that is right, for messages and the sample. */
  readonly example: RawValue;
  /** Environment variable; undefined for what only a file can say. */
  readonly env?: string;
  /** Command-line option in camel case; undefined where there is none. */
  readonly flag?: string;
  /** What it becomes in `AgentConfig`. */
  readonly field?: string;
  readonly description: string;
}

type Rest = Omit<ConfigKey, "path" | "type" | "env" | "example"> & { readonly example?: RawValue };

/** An entry of the table; the environment variable follows from the path. */
export function key<const Path extends string, const Type extends KeyType>(
  path: Path,
  type: Type,
  rest: Rest,
): ConfigKey<Path, Type> {
  const onlyInFile = path === "version" || path.includes("[]");
  const example = rest.example ?? rest.default ?? "";
  return { path, type, ...rest, example, ...(onlyInFile ? {} : { env: environmentName(path) }) };
}
