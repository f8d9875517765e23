import { resolve } from "@std/path";
import { SINGLE_CONFIG_KEYS, type SingleKey } from "./keys.ts";
import { ENVIRONMENT_PREFIX, environmentName, flagName, type KeyType } from "./key.ts";
import { nearestName } from "./nearest_name.ts";
import { collectSettings, type Findings, type Setting, type Settings } from "./settings.ts";
import type { FileToLoad } from "./toml.ts";
import { rawFromText, readValue } from "./values.ts";

/** Flags by camel-case name, or environment variables by name. */
export type Texts = Readonly<Record<string, string | undefined>>;

/** Default path of the configuration file. */
const DEFAULT_CONFIG_PATH = "/etc/nydus-auth-agent/config.toml";
/** Environment variable with the path of the configuration file, like the flag `--config`. */
export const CONFIG_ENVIRONMENT_NAME = environmentName("config");

/** Reads the settings in the environment. An empty variable counts as not set. */
export function readEnvironment(env: Texts, findings: Findings): Settings {
  warnAboutUnknownVariables(env, findings);
  return collectSettings(SINGLE_CONFIG_KEYS.flatMap((key) => {
    const text = key.env === undefined ? undefined : env[key.env];
    if (key.env === undefined || text === undefined || text === "") return [];
    return readText(key, key.env, text, (value) => `${key.env}=${value}`, findings);
  }));
}

/** Reads the settings in the command line. Relative paths are resolved against `cwd`. */
export function readFlags(flags: Texts, cwd: string | undefined, findings: Findings): Settings {
  return collectSettings(SINGLE_CONFIG_KEYS.flatMap((key) => {
    const text = key.flag === undefined ? undefined : flags[key.flag];
    if (key.flag === undefined || text === undefined) return [];
    const name = flagName(key.flag);
    const absolute = absoluteText(key.type, text, cwd);
    return readText(key, name, absolute, (value) => `${name} ${value}`, findings);
  }));
}

/** Returns the path of the configuration file, and what sets it. */
export function locateConfig(
  { flags, env, cwd }: { readonly flags: Texts; readonly env: Texts; readonly cwd?: string },
  { problems }: Findings,
): FileToLoad | undefined {
  const variable = env[CONFIG_ENVIRONMENT_NAME] || undefined;
  const setBy = flags.config === undefined ? CONFIG_ENVIRONMENT_NAME : "--config";
  const text = flags.config === undefined ? variable : absoluteText(PATH, flags.config, cwd);
  if (text === undefined) return { path: DEFAULT_CONFIG_PATH };
  const result = readValue(PATH, text);
  if (result.kind === "value") return { path: text, setBy };
  const remedy = `for example ${DEFAULT_CONFIG_PATH}`;
  problems.push({ file: setBy, place: "", problem: result.problem, remedy });
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

// Kubernetes sets variables of these forms in every pod for a Service with the agent's name.
const SERVICE_VARIABLE = /^(SERVICE_(HOST|PORT)|PORT)(_|$)/;

function warnAboutUnknownVariables(env: Texts, { warnings }: Findings): void {
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
    warnings.push({ file: name, place: "", problem: "unknown variable", remedy });
  }
}
