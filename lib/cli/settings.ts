import { CONFIG_KEYS } from "../config/mod.ts";

/** The options that a command shares with `run`, out of the table of configuration keys. */
export const CONFIG_FLAGS: readonly {
  readonly name: string;
  /** What stands for its value in a help text. */
  readonly value: string;
  readonly help: string;
}[] = CONFIG_KEYS.flatMap(({ flag, description, path, type, ...key }) => {
  if (flag === undefined) return [];
  const value = type.kind === "choice" ? type.choices.join("|") : type.kind;
  const byDefault = key.default === undefined ? "" : `, default ${key.default}`;
  return [{ name: flag, value, help: `${description} (${path}${byDefault})` }];
});
