import { AgentError } from "../../model/mod.ts";
import { credentialsOf, readDockerAuth } from "../docker/mod.ts";
import type { PullSecret, SecretEntry } from "../docker/mod.ts";
import { type Fields, goField, isFields } from "../../formats/mod.ts";

/** The types of secrets that hold pull credentials, with the field that holds them. */
export const PULL_SECRET_TYPES: ReadonlyMap<string, string> = new Map([
  ["kubernetes.io/dockerconfigjson", ".dockerconfigjson"],
  ["kubernetes.io/dockercfg", ".dockercfg"],
]);
const MAX_ENTRIES = 1_000;

/**
 * Reads a Secret of the core API. Never throws: one that is broken has problems instead of entries,
 * and of several entries the good ones count. (The kubelet refuses all secrets of a pod for one
 * that is broken: `pkg/credentialprovider/secrets/secrets.go`.)
 */
export function readPullSecret(object: Fields): PullSecret {
  const metadata = isFields(object["metadata"]) ? object["metadata"] : {};
  const entries: SecretEntry[] = [];
  const problems: string[] = [];
  try {
    for (const [key, fields] of Object.entries(authsOf(object))) {
      if (entries.length >= MAX_ENTRIES) throw broken(`it has more than ${MAX_ENTRIES} entries`);
      readEntry(key, fields, entries, problems);
    }
  } catch (error) {
    problems.push(wordsOf(error));
  }
  return {
    namespace: textOf(metadata, "namespace"),
    name: textOf(metadata, "name"),
    entries,
    problems,
  };
}

function textOf(fields: Fields, name: string): string {
  const value = fields[name];
  return typeof value === "string" ? value : "";
}

function broken(what: string): AgentError {
  return new AgentError("invalid-config", what);
}

/** Only our own errors are known to quote nothing. */
function wordsOf(error: unknown): string {
  return error instanceof AgentError
    ? error.message.replace("read docker configuration: ", "")
    : "it cannot be read";
}

function authsOf(object: Fields): Fields {
  const type = textOf(object, "type");
  const field = PULL_SECRET_TYPES.get(type);
  if (field === undefined) {
    throw broken(`its type is ${JSON.stringify(type.slice(0, 80))}, not that of a pull secret`);
  }
  const data = isFields(object["data"]) ? object["data"] : {};
  const encoded = textOf(data, field);
  if (encoded === "") throw broken(`its field ${field} is missing or empty`);
  const file = parse(decode(encoded, field), field);
  if (field === ".dockercfg") return file;
  const auths = goField(file, "auths") ?? {};
  if (!isFields(auths)) throw broken(`auths in ${field} is not an object`);
  return auths;
}

function decode(encoded: string, field: string): string {
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(encoded);
  } catch {
    throw broken(`its field ${field} is not base64`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw broken(`its field ${field} is not UTF-8 text`);
  }
}

function parse(text: string, field: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw broken(`its field ${field} is not JSON`);
  }
  if (!isFields(value)) throw broken(`its field ${field} is not a JSON object`);
  return value;
}

function readEntry(
  key: string,
  fields: unknown,
  entries: SecretEntry[],
  problems: string[],
): void {
  try {
    if (!isFields(fields)) throw broken(`auths.${key} is not an object`);
    const auth = readDockerAuth(key, padded(fields));
    if (auth.undecodable) throw broken(`auths.${key}.auth is not UTF-8 text`);
    entries.push({ key, credentials: credentialsOf(auth) });
  } catch (error) {
    problems.push(wordsOf(error));
  }
}

/** Kubernetes takes base64 without its padding too, docker does not. */
function padded(fields: Fields): Fields {
  const auth = goField(fields, "auth");
  if (typeof auth !== "string" || auth.length % 4 === 0 || auth.includes("=")) return fields;
  const others = Object.entries(fields).filter(([name]) => name.toLowerCase() !== "auth");
  return { ...Object.fromEntries(others), auth: auth.padEnd(Math.ceil(auth.length / 4) * 4, "=") };
}
