import type { ConfigProblem } from "../model/mod.ts";
import { SINGLE_CONFIG_KEYS, type SingleKey } from "./keys.ts";
import type { ValueOf } from "./key_types.ts";
import { readValue } from "./values.ts";

/** Where a value was said: a file and a key path, or a flag or variable and its key. */
export interface Origin {
  readonly file: string;
  readonly place: string;
}

/** A value that somebody set, read and within bounds. */
export interface Setting<Value = unknown> {
  readonly value: Value;
  readonly origin: Origin;
}

/** Path of a key that stands for one value. */
export type KeyPath = SingleKey["path"];

/** What a key's value is once it is read. */
export type KeyValue<Path extends KeyPath> = ValueOf<Extract<SingleKey, { path: Path }>["type"]>;

/** What one layer (flags, environment, file) or several on top of each other say. */
export type Settings = { readonly [Path in KeyPath]?: Setting<KeyValue<Path>> };

/** Gathers settings, of which each fits its key: it was read with the key's own type. */
export function collectSettings(entries: Iterable<readonly [string, Setting]>): Settings {
  return Object.fromEntries(entries) as Settings;
}

/** What was found on the way: problems end in a `ConfigError`, warnings in the result. */
export interface Findings {
  readonly problems: ConfigProblem[];
  readonly warnings: ConfigProblem[];
}

/**
 * The default of a key.
 *
 * @throws {TypeError} When the table of keys gives it none.
 */
export function defaultOf<Path extends KeyPath>(path: Path): KeyValue<Path> {
  const key = SINGLE_CONFIG_KEYS.find((key) => key.path === path);
  const result = key && readValue(key.type, key.default);
  if (result?.kind !== "value") throw new TypeError(`take default of ${path}: it has none`);
  return result.value as KeyValue<Path>;
}

/** What is set, else the default. */
export function valueOr<Path extends KeyPath>(settings: Settings, path: Path): KeyValue<Path> {
  return settings[path]?.value ?? defaultOf(path);
}
