import * as v from "valibot";
import { type AgentStatus, wallTimeMs } from "../model/mod.ts";
import type { HealthView } from "./health.ts";

/** The status with the health, as in `/v1/status`. */
export type NodeStatus = AgentStatus & { readonly health: HealthView };

const WALL_TIME = /^(now|at|since|.*At|.*Since|.*Until)Ms$/;
const DOCUMENT_TIME = /^(?:now|at|since|.*At|.*Since)$/;

/**
 * Returns a document with wall times in RFC 3339, named without the unit (`expiresAtMs` becomes
 * `expiresAt`); durations stay in milliseconds (`…Ms`).
 */
export function withTextTimes(document: object): object {
  return renamed(document, (name, value) => {
    const [, time] = WALL_TIME.exec(name) ?? [];
    if (time === undefined || typeof value !== "number") return undefined;
    const date = new Date(value);
    return [time, Number.isNaN(date.getTime()) ? undefined : date.toISOString()];
  });
}

const textTime = v.pipe(v.string(), v.isoTimestamp(), v.description("A time, RFC 3339."));

/** The fields of those schemas that contain others. */
interface SchemaParts {
  readonly pipe?: readonly [v.GenericSchema, ...v.PipeItem<unknown, unknown, never>[]];
  readonly entries?: Readonly<Record<string, v.GenericSchema>>;
  readonly item?: v.GenericSchema;
  readonly wrapped?: v.GenericSchema;
}

/** Returns the schema of what {@linkcode withTextTimes} returns for documents with a schema. */
export function documentSchema(schema: v.GenericSchema): v.GenericSchema {
  if (schema === wallTimeMs) return textTime;
  const { pipe: [piped, ...actions] = [], item, wrapped, entries } = schema as SchemaParts;
  if (piped !== undefined) return v.pipe(documentSchema(piped), ...actions as []);
  if (item !== undefined) return v.array(documentSchema(item));
  if (wrapped !== undefined) return v.optional(documentSchema(wrapped));
  if (entries === undefined) return schema;
  return v.strictObject(Object.fromEntries(
    Object.entries(entries).map(([name, entry]) => [
      name.replace(WALL_TIME, "$1"),
      documentSchema(entry),
    ]),
  ));
}

/** Returns a document of {@linkcode withTextTimes} with its times in milliseconds again. */
export function withTimesInMs<T extends object>(document: object): T {
  return renamed(
    document,
    (name, value) =>
      DOCUMENT_TIME.test(name) && typeof value === "string"
        ? [`${name}Ms`, Date.parse(value)]
        : undefined,
  ) as T;
}

/** Replaces fields at any depth; `replace` returns undefined for those that stay. */
function renamed(
  document: object,
  replace: (name: string, value: unknown) => readonly [string, unknown] | undefined,
): object {
  const text = JSON.stringify(document, (_, value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
    const fields = Object.entries(value).map(([name, one]) => replace(name, one) ?? [name, one]);
    return Object.fromEntries(fields);
  });
  return JSON.parse(text);
}
