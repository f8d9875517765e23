import { resolve } from "@std/path";
import { SINGLE_CONFIG_KEYS, type SingleKey } from "./keys.ts";
import { ENVIRONMENT_PREFIX, environmentName, flagName, type KeyType } from "./key_types.ts";
import { nearestName } from "./nearest_name.ts";
import { collectSettings, type Findings, type Setting, type Settings } from "./settings.ts";
import { rawFromText, readValue } from "./values.ts";

/** Flags by camel-case name, or environment variables by name. */
export type Texts = Readonly<Record<string, string | undefined>>;

/** Where our own configuration file is, when nothing else is said. */
export const DEFAULT_CONFIG_PATH = "/etc/nydus-auth-agent/config.toml";
/** Names our configuration file, as the flag `--config` does. */
export const CONFIG_ENVIRONMENT_NAME = environmentName("config");

/** What the environment says. A variable that is empty counts as not set. */
export function readEnvironment(env: Texts, findings: Findings): Settings {
  warnOfUnknownVariables(env, findings);
  return collectSettings(SINGLE_CONFIG_KEYS.flatMap((key) => {
    const text = key.env === undefined ? undefined : env[key.env];
    if (key.env === undefined || text === undefined || text === "") return [];
    return readText(key, key.env, text, (value) => `${key.env}=${value}`, findings);
  }));
}

/** What the command line says. Relative paths are taken from `cwd`. */
export function readFlags(flags: Texts, cwd: string | undefined, findings: Findings): Settings {
  return collectSettings(SINGLE_CONFIG_KEYS.flatMap((key) => {
    const text = key.flag === undefined ? undefined : flags[key.flag];
    if (key.flag === undefined || text === undefined) return [];
    const name = flagName(key.flag);
    const absolute = absoluteText(key.type, text, cwd);
    return readText(key, name, absolute, (value) => `${name} ${value}`, findings);
  }));
}

/** Which file is ours, and what names it (undefined: the default, which may be missing). */
export function locateConfig(
  { flags, env, cwd }: { readonly flags: Texts; readonly env: Texts; readonly cwd?: string },
  { problems }: Findings,
): { readonly path: string; readonly approvedBy?: string } | undefined {
  const variable = env[CONFIG_ENVIRONMENT_NAME] || undefined;
  const approvedBy = flags.config === undefined ? CONFIG_ENVIRONMENT_NAME : "--config";
  const text = flags.config === undefined ? variable : absoluteText(PATH, flags.config, cwd);
  if (text === undefined) return { path: DEFAULT_CONFIG_PATH };
  const result = readValue(PATH, text);
  if (result.kind === "value") return { path: text, approvedBy };
  const remedy = `for example ${DEFAULT_CONFIG_PATH}`;
  problems.push({ file: approvedBy, place: "", problem: result.problem, remedy });
  return undefined;
}

const PATH = { kind: "path" } as const;

function absoluteText(type: KeyType, text: string, cwd: string | undefined): string {
  const isPath = type.kind === "path" && text !== "" && !(type.off && text === "off");
  return isPath && cwd !== undefined ? resolve(cwd, text) : text;
}

function readText(
  key: SingleKey,
  name: string,
  text: string,
  example: (value: string) => string,
  { problems }: Findings,
): (readonly [string, Setting])[] {
  const origin = { file: name, place: key.path };
  const result = readValue(key.type, rawFromText(key.type, text));
  if (result.kind === "value") return [[key.path, { value: result.value, origin }]];
  const remedy = `for example ${example(String(result.instead ?? key.example))}`;
  problems.push({ ...origin, problem: result.problem, remedy });
  return [];
}

// Kubernetes gives every pod variables of these forms for a Service that is named like us.
const SERVICE_VARIABLE = /^(SERVICE_(HOST|PORT)|PORT)(_|$)/;

function warnOfUnknownVariables(env: Texts, { warnings }: Findings): void {
  const known = [
    CONFIG_ENVIRONMENT_NAME,
    ...SINGLE_CONFIG_KEYS.flatMap(({ env }) => env === undefined ? [] : [env]),
  ];
  for (const name of Object.keys(env).sort()) {
    if (!name.startsWith(ENVIRONMENT_PREFIX) || known.includes(name)) continue;
    if (SERVICE_VARIABLE.test(name.slice(ENVIRONMENT_PREFIX.length))) continue;
    const near = nearestName(
      name.slice(ENVIRONMENT_PREFIX.length),
      known.map((other) => other.slice(ENVIRONMENT_PREFIX.length)),
    );
    const remedy = near === undefined ? "remove it" : `did you mean ${ENVIRONMENT_PREFIX}${near}?`;
    warnings.push({ file: name, place: "", problem: "this variable sets nothing", remedy });
  }
}
