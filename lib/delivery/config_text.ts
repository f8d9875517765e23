import { type Credential, encodeRegistryAuth } from "../model/mod.ts";
import type { Section } from "./consumer.ts";

/** The result of rewriting a configuration file. */
type RewriteOutcome =
  | { readonly kind: "changed"; readonly text: string }
  | { readonly kind: "unchanged" }
  /** It contains neither `auth` nor `registry_token`: the snapshotter keeps secrets out of it. */
  | { readonly kind: "secret-free" }
  | { readonly kind: "invalid"; readonly detail: string };

/** A credential that nydusd can use. */
export type UsableCredential = Exclude<Credential, { readonly kind: "identity-token" }>;

type Fields = Record<string, unknown>;

/**
 * Replaces the credential in the text of a daemon's configuration file and keeps every other field,
 * with the digits of its numbers. Removes the form that is not used (`auth` or `registry_token`),
 * which would be stale.
 *
 * @param sections Where the file may have the backend, the first one that it has counts.
 * @param fill Whether to add a credential to a file without one.
 * @param host The host that the credential is for, if known: a file with another host is invalid.
 */
export function rewriteConfigText(
  text: string,
  sections: readonly Section[],
  credential: UsableCredential,
  fill: boolean,
  host?: string,
): RewriteOutcome {
  const file = parseExactly(text);
  const backend = backendOf(file, sections);
  if (backend === undefined) {
    return { kind: "invalid", detail: "not the configuration of a nydusd with a registry backend" };
  }
  if (host !== undefined && backend["host"] !== undefined && backend["host"] !== host) {
    const detail = `its host is ${backend["host"]}, but nydusd reads from ${host}`;
    return { kind: "invalid", detail };
  }
  const { auth = "", registry_token: token = "" } = backend;
  if (auth === "" && token === "" && !fill) return { kind: "secret-free" };
  const wanted = wantedFields(credential);
  if (auth === wanted.auth && token === wanted.registry_token) return { kind: "unchanged" };
  for (const [name, value] of Object.entries(wanted)) {
    if (value !== "") backend[name] = value;
    else if (backend[name] !== "") delete backend[name];
  }
  return { kind: "changed", text: JSON.stringify(file) };
}

// Not in the type library yet.
const { rawJSON, isRawJSON } = JSON as unknown as {
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): boolean;
};

/** Parses JSON, with the source text of numbers; undefined if that fails. */
function parseExactly(text: string): unknown {
  const exact = (_key: string, value: unknown, context?: { readonly source: string }) =>
    typeof value === "number" && context !== undefined ? rawJSON(context.source) : value;
  try {
    return JSON.parse(text, exact);
  } catch {
    return undefined;
  }
}

/** Returns the settings of the first section that the file has, if it is of a registry. */
function backendOf(file: unknown, sections: readonly Section[]): Fields | undefined {
  const at = (path: readonly string[]) =>
    path.reduce<unknown>((here, name) => fieldsOf(here)?.[name], file);
  const section = sections.find(({ settings }) => fieldsOf(at(settings)) !== undefined);
  const { type = "registry" } = { type: section && at(section.type) };
  return section && type === "registry" ? fieldsOf(at(section.settings)) : undefined;
}

function fieldsOf(value: unknown): Fields | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  return Array.isArray(value) || isRawJSON(value) ? undefined : value as Fields;
}

function wantedFields(credential: UsableCredential) {
  return credential.kind === "basic"
    ? { auth: encodeRegistryAuth(credential).reveal(), registry_token: "" }
    : { auth: "", registry_token: credential.token.reveal() };
}
