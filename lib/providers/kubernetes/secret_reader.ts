import { AgentError } from "../../model/mod.ts";
import { type Fields, goField, isFields } from "../../formats/mod.ts";
import { credentialsOf, type PullSecret, readDockerAuth, type SecretEntry } from "../docker/mod.ts";
import { metadataOf, stringOf } from "./informer.ts";

/** The types of pull secrets, each with the field that contains the credentials. */
const PULL_SECRET_TYPES: ReadonlyMap<string, string> = new Map([
  ["kubernetes.io/dockerconfigjson", ".dockerconfigjson"],
  ["kubernetes.io/dockercfg", ".dockercfg"],
]);
const MAX_ENTRIES = 1_000;

/**
 * Reads a pull secret of the core API. Never throws: an invalid secret has problems instead of
 * entries, and valid entries are used even when others are invalid. (The kubelet rejects all
 * secrets of a pod when one is invalid: `pkg/credentialprovider/secrets/secrets.go`.)
 */
export function readPullSecret(object: Fields): PullSecret {
  const { namespace, name } = metadataOf(object);
  const entries: SecretEntry[] = [];
  const problems: string[] = [];
  try {
    for (const [key, fields] of Object.entries(authsOf(object))) {
      if (entries.length >= MAX_ENTRIES) throw invalid(`it has more than ${MAX_ENTRIES} entries`);
      readEntry(key, fields, entries, problems);
    }
  } catch (error) {
    problems.push(messageOf(error));
  }
  return { namespace: stringOf(namespace), name: stringOf(name), entries, problems };
}

function invalid(what: string): AgentError {
  return new AgentError("invalid-config", what);
}

/** Returns the message of an `AgentError` only: others may quote values. */
function messageOf(error: unknown): string {
  return error instanceof AgentError
    ? error.message.replace("read docker configuration: ", "")
    : "it cannot be read";
}

function authsOf(object: Fields): Fields {
  const type = stringOf(object["type"]);
  const field = PULL_SECRET_TYPES.get(type);
  if (field === undefined) {
    throw invalid(`its type is ${JSON.stringify(type.slice(0, 80))}, which is not a pull secret`);
  }
  const data = isFields(object["data"]) ? object["data"] : {};
  const encoded = stringOf(data[field]);
  if (encoded === "") throw invalid(`its field ${field} is missing or empty`);
  const file = decode(encoded, field);
  if (field === ".dockercfg") return file;
  const auths = goField(file, "auths") ?? {};
  if (!isFields(auths)) throw invalid(`auths in ${field} is not an object`);
  return auths;
}

function decode(encoded: string, field: string): Fields {
  let value: unknown;
  try {
    const bytes = Uint8Array.fromBase64(encoded);
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    // Reported below.
  }
  if (!isFields(value)) throw invalid(`its field ${field} is not a JSON object in base64`);
  return value;
}

function readEntry(
  key: string,
  fields: unknown,
  entries: SecretEntry[],
  problems: string[],
): void {
  try {
    if (!isFields(fields)) throw invalid(`auths.${key} is not an object`);
    const auth = readDockerAuth(key, withPadding(fields));
    if (auth.undecodable) throw invalid(`auths.${key}.auth is not UTF-8 text`);
    entries.push({ key, credentials: credentialsOf(auth) });
  } catch (error) {
    problems.push(messageOf(error));
  }
}

/** Adds the padding of base64, which Kubernetes does not require but docker does. */
function withPadding(fields: Fields): Fields {
  const auth = goField(fields, "auth");
  if (typeof auth !== "string" || auth.length % 4 === 0 || auth.includes("=")) return fields;
  const others = Object.entries(fields).filter(([name]) => name.toLowerCase() !== "auth");
  return { ...Object.fromEntries(others), auth: auth.padEnd(Math.ceil(auth.length / 4) * 4, "=") };
}
