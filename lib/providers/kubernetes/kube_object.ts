import { type Fields, isFields } from "../../formats/mod.ts";

/** The metadata of an object or list. */
export function metadataOf(object: Fields): Fields {
  return isFields(object["metadata"]) ? object["metadata"] : {};
}

/** `namespace/name`. */
export function keyOf(object: Fields): string {
  const { namespace, name } = metadataOf(object);
  return `${typeof namespace === "string" ? namespace : ""}/${
    typeof name === "string" ? name : ""
  }`;
}

/** The `resourceVersion` of an object or list. */
export function versionOf(object: Fields): string | undefined {
  const { resourceVersion } = metadataOf(object);
  return typeof resourceVersion === "string" && resourceVersion !== ""
    ? resourceVersion
    : undefined;
}

/** Versions are decimal numbers of any length (KEP-5504); others cannot be compared. */
export function isOlder(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined || !/^\d+$/.test(a) || !/^\d+$/.test(b)) return false;
  return BigInt(a) < BigInt(b);
}
