import type { ConfigProblem } from "../model/mod.ts";
import { SINGLE_CONFIG_KEYS, type SingleKey } from "./keys.ts";
import type { ValueOf } from "./key.ts";
import { readValue } from "./values.ts";

/** Where a value was set: a file and a key path, or a flag or variable and its key. */
export interface Origin {
  readonly file: string;
  readonly place: string;
}

/** A value that was set explicitly, parsed and validated. */
export interface Setting<Value = unknown> {
  readonly value: Value;
  readonly origin: Origin;
}

/** Path of a key with a single value. */
export type KeyPath = SingleKey["path"];

/** Type of a key's parsed value. */
export type KeyValue<Path extends KeyPath> = ValueOf<Extract<SingleKey, { path: Path }>["type"]>;

/** Settings of one source (flags, environment, file), or of several merged. */
export type Settings = { readonly [Path in KeyPath]?: Setting<KeyValue<Path>> };

/** Collects settings by key path. Each value must have been parsed with the type of its key. */
export function collectSettings(entries: Iterable<readonly [string, Setting]>): Settings {
  return Object.fromEntries(entries) as Settings;
}

/** Problems lead to a `ConfigError`; warnings are part of the configuration. */
export interface Findings {
  readonly problems: ConfigProblem[];
  readonly warnings: ConfigProblem[];
}

/**
 * Returns the default of a key.
 *
 * @throws {TypeError} If the key has none.
 */
export function defaultOf<Path extends KeyPath>(path: Path): KeyValue<Path> {
  const key = SINGLE_CONFIG_KEYS.find((key) => key.path === path);
  const result = key && readValue(key.type, key.default);
  if (result?.kind !== "value") {
    throw new TypeError(`failed to get the default of ${path}: it has none`);
  }
  return result.value as KeyValue<Path>;
}

/** Returns the value of a key, or its default. */
export function valueOr<Path extends KeyPath>(settings: Settings, path: Path): KeyValue<Path> {
  return settings[path]?.value ?? defaultOf(path);
}
