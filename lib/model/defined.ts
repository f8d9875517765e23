/** `T` with each field that may be undefined made optional. */
export type Defined<T extends object> =
  & { [K in keyof T as undefined extends T[K] ? never : K]: T[K] }
  & { [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined> };

/**
 * Returns a copy of an object without the fields that are undefined, so that an optional field is
 * either absent or has a value.
 *
 * @example An unknown tag
 * ```ts
 * import { defined } from "./defined.ts";
 * const image = defined({ name: "nginx", tag: undefined });
 * if ("tag" in image) throw new Error("the tag is present");
 * ```
 */
export function defined<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as Defined<T>;
}

/** Returns the fields of an object; undefined for any other value. */
export function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return value as Readonly<Record<string, unknown>>;
}

/** Adds the newest entry of a map; beyond the limit, the oldest one is evicted. */
export function setNewest<K, V>(map: Map<K, V>, key: K, value: V, max: number): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > max && oldest !== undefined) map.delete(oldest);
}
