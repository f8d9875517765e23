import { type ConfigKey, tomlLiteral } from "./key.ts";
import { CONFIG_KEYS, DAEMON_KEYS, SINGLE_CONFIG_KEYS } from "./keys.ts";
import { nearestName } from "./nearest_name.ts";
import {
  collectSettings,
  type Findings,
  type Origin,
  type Setting,
  type Settings,
} from "./settings.ts";
import { isTable, type TomlTable } from "./toml.ts";
import { describeFound, readValue } from "./values.ts";

/** A `[[daemons]]` entry, each value validated separately. */
export interface DaemonEntry {
  readonly origin: Origin;
  readonly socket?: string;
  readonly ref?: string;
  readonly id?: string;
}

/** Settings in the configuration file. */
export interface FileSettings {
  readonly settings: Settings;
  readonly daemons: readonly DaemonEntry[];
}

/** Validates the tables of the configuration file against {@linkcode CONFIG_KEYS}. */
export function validateTables(file: string, tables: TomlTable, findings: Findings): FileSettings {
  const entries: [string, Setting][] = [];
  const daemons: DaemonEntry[] = [];
  const visit = (table: TomlTable, prefix: string) => {
    for (const [name, raw] of Object.entries(table)) {
      const path = prefix === "" ? name : `${prefix}.${name}`;
      const key = SINGLE_CONFIG_KEYS.find((key) => key.path === path);
      if (key !== undefined) {
        const setting = readSetting(key, raw, { file, place: path }, findings);
        if (setting !== undefined) entries.push([path, setting]);
      } else if (path === "daemons") {
        daemons.push(...readDaemons(file, raw, findings));
      } else if (!isSection(path)) {
        findings.problems.push(unknownKey(file, prefix, name));
      } else if (isTable(raw)) {
        visit(raw, path);
      } else {
        const problem = `found ${describeFound(raw)}, expected a table`;
        findings.problems.push({ file, place: path, problem, remedy: `write [${path}]` });
      }
    }
  };
  visit(tables, "");
  return { settings: collectSettings(entries), daemons };
}

/** Reads one value of a file; a problem is reported with an example. */
function readSetting(
  key: ConfigKey,
  raw: unknown,
  origin: Origin,
  findings: Findings,
): Setting | undefined {
  const result = readValue(key.type, raw);
  if (result.kind === "value") return { value: result.value, origin };
  const example = `${leafName(key.path)} = ${tomlLiteral(result.instead ?? key.example)}`;
  const remedy = `for example ${example}`;
  findings.problems.push({ ...origin, problem: result.problem, remedy });
  return undefined;
}

function readDaemons(file: string, raw: unknown, findings: Findings): DaemonEntry[] {
  const { problems } = findings;
  if (!Array.isArray(raw)) {
    const problem = `found ${describeFound(raw)}, expected an array of tables`;
    problems.push({ file, place: "daemons", problem, remedy: "write [[daemons]] for each daemon" });
    return [];
  }
  return raw.flatMap((table: unknown, index): DaemonEntry[] => {
    const origin = { file, place: `daemons[${index}]` };
    if (!isTable(table)) {
      const problem = `found ${describeFound(table)}, expected a table`;
      problems.push({ ...origin, problem, remedy: "write [[daemons]] for each daemon" });
      return [];
    }
    const values = Object.entries(table).flatMap(([name, value]) => {
      const key = DAEMON_KEYS.find((key) => leafName(key.path) === name);
      if (key === undefined) {
        problems.push(unknownKey(file, "daemons[]", name, origin.place));
        return [];
      }
      const place = `${origin.place}.${name}`;
      return [[name, readSetting(key, value, { file, place }, findings)?.value] as const];
    });
    for (const name of ["socket", "ref"]) {
      if (Object.hasOwn(table, name)) continue;
      const key = DAEMON_KEYS.find((key) => leafName(key.path) === name);
      const remedy = `for example ${name} = ${tomlLiteral(key?.example ?? "")}`;
      problems.push({ file, place: `${origin.place}.${name}`, problem: "missing", remedy });
    }
    const found = values.filter(([, value]) => value !== undefined);
    return [{ ...Object.fromEntries(found), origin }];
  });
}

/** Names that are valid directly in a table: keys and nested tables. */
function namesIn(prefix: string): string[] {
  const start = prefix === "" ? "" : `${prefix}.`;
  const names = CONFIG_KEYS.filter(({ path }) => path.startsWith(start))
    .map(({ path }) => path.slice(start.length).replace(/(\[\])?\..*$/, ""));
  return [...new Set(names)];
}

function isSection(path: string): boolean {
  return SINGLE_CONFIG_KEYS.some((key) => key.path.startsWith(`${path}.`));
}

function unknownKey(file: string, prefix: string, name: string, at = prefix) {
  const shown = /^[\w-]{1,64}$/.test(name) ? name : JSON.stringify(name.slice(0, 64));
  const place = at === "" ? shown : `${at}.${shown}`;
  const elsewhere = CONFIG_KEYS.filter(({ path }) => leafName(path) === name);
  const near = nearestName(name, namesIn(prefix)) ?? elsewhere[0]?.path;
  const remedy = near === undefined
    ? `known keys: ${namesIn(prefix).join(", ")}`
    : `did you mean ${near}?`;
  return { file, place, problem: "unknown key", remedy };
}

function leafName(path: string): string {
  return path.slice(path.lastIndexOf(".") + 1);
}
