import type { ConfigProblem } from "../model/mod.ts";
import { type Fields, goField, isFields, unknownFields } from "./go_json.ts";
import { goString, readGoYaml } from "./go_yaml.ts";

/** Problems and warnings of a configuration file. They quote no values except names. */
export class ConfigReport {
  readonly file: string;
  readonly problems: ConfigProblem[] = [];
  readonly warnings: ConfigProblem[] = [];

  constructor(file: string) {
    this.file = file;
  }

  /** Parses a YAML or JSON object. Returns undefined after a problem. */
  parse(text: string, remedy: string): ConfigObject | undefined {
    const reading = readGoYaml(text);
    if (reading.kind === "invalid") {
      const problem = `it is not YAML or JSON: ${reading.detail}`;
      return this.problem(reading.place, problem, reading.remedy);
    }
    return this.object(reading.value ?? {}, "", remedy);
  }

  /** Returns an object, or undefined after a problem. */
  object(value: unknown, place: string, remedy: string): ConfigObject | undefined {
    if (isFields(value)) return new ConfigObject(this, value, place);
    return this.problem(place, "it is not an object", remedy);
  }

  /** Converts a value to a string as Go does: a missing one is empty. */
  string(value: unknown, place: string): string {
    const text = goString(value ?? "");
    if (text !== undefined) return text;
    const found = Array.isArray(value) ? "a list" : "an object";
    this.problem(place, `it is ${found}, not a string`, "write a string");
    return "";
  }

  problem(place: string, problem: string, remedy: string): undefined {
    this.problems.push({ file: this.file, place, problem, remedy });
  }

  warn(place: string, problem: string, remedy: string): void {
    this.warnings.push({ file: this.file, place, problem, remedy });
  }
}

/** An object in a configuration file. Names of fields are compared in any letter case. */
export class ConfigObject {
  readonly report: ConfigReport;
  readonly fields: Fields;
  readonly #place: string;
  readonly #read = new Set<string>();

  constructor(report: ConfigReport, fields: Fields, place: string) {
    this.report = report;
    this.fields = fields;
    this.#place = place;
  }

  /** Returns the location of a field; without a name, that of the object. */
  place(name: string): string {
    return [this.#place, name].filter((part) => part !== "").join(".");
  }

  /** Returns a field; undefined if it is missing or null. */
  get(name: string): unknown {
    this.#read.add(name);
    return goField(this.fields, name);
  }

  /** Returns an object in a field; undefined if it is missing, or after a problem. */
  object(name: string, remedy: string): ConfigObject | undefined {
    const value = this.get(name);
    return value === undefined ? undefined : this.report.object(value, this.place(name), remedy);
  }

  /** Returns the text of a field, empty if it is missing. */
  string(name: string): string {
    return this.report.string(this.get(name), this.place(name));
  }

  /** Returns the elements of a list, none if it is missing. */
  list(name: string, remedy: string): readonly unknown[] {
    const list = this.get(name) ?? [];
    if (Array.isArray(list)) return list;
    this.problem(name, "it is not a list", remedy);
    return [];
  }

  /** Returns a list of strings. */
  strings(name: string): readonly string[] {
    return this.list(name, "write a list of strings")
      .map((item, i) => this.report.string(item, `${this.place(name)}[${i}]`));
  }

  problem(name: string, problem: string, remedy: string): undefined {
    return this.report.problem(this.place(name), problem, remedy);
  }

  /** Warns about the fields that were not read. */
  warnUnread(): void {
    for (const field of unknownFields(this.fields, [...this.#read])) {
      const remedy = "remove it, or check its spelling";
      this.report.warn(this.place(field), "an unknown field is ignored", remedy);
    }
  }
}
