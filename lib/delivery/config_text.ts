import { type Credential, encodeRegistryAuth, type FsDriver } from "../model/mod.ts";
import { editMembers, hasObject, memberAt } from "./json_edit.ts";

/** What rewriting a daemon's configuration file means. */
export type RewriteOutcome =
  | { readonly kind: "changed"; readonly text: string }
  | { readonly kind: "unchanged" }
  /** It holds neither `auth` nor `registry_token`: someone keeps secrets out of it. */
  | { readonly kind: "secret-free" }
  | { readonly kind: "invalid"; readonly detail: string };

const FUSE_PATH = ["device", "backend", "config"];
const FSCACHE_PATH = ["config", "backend_config"];

/**
 * Puts a credential into the text of a daemon's configuration file. Every other character stays.
 * The form that is not used is removed, so that no stale one is left beside it.
 *
 * @param fill Whether a file that holds no credential may be given one.
 * @param host The host that the credential is for, where known: a file that names another is not
 * touched.
 */
export function rewriteConfigText(
  text: string,
  fsDriver: FsDriver,
  credential: Credential,
  fill: boolean,
  host?: string,
): RewriteOutcome {
  const path = configPath(text, fsDriver);
  if (path === undefined) {
    return { kind: "invalid", detail: "it is no configuration of a nydusd that reads a registry" };
  }
  const named = memberAt(text, path, "host");
  if (host !== undefined && named !== undefined && named !== host) {
    return { kind: "invalid", detail: `it names the host ${named}, and nydusd reads from ${host}` };
  }
  const auth = memberAt(text, path, "auth") ?? "";
  const token = memberAt(text, path, "registry_token") ?? "";
  if (auth === "" && token === "" && !fill) return { kind: "secret-free" };
  const wanted = wantedMembers(credential);
  if (wanted === undefined) return { kind: "unchanged" };
  if (auth === (wanted.auth ?? "") && token === (wanted.registry_token ?? "")) {
    return { kind: "unchanged" };
  }
  const changes = {
    ...(auth !== (wanted.auth ?? "") && { auth: wanted.auth }),
    ...(token !== (wanted.registry_token ?? "") && { registry_token: wanted.registry_token }),
  };
  const edited = editMembers(text, path, changes);
  return edited === undefined
    ? { kind: "invalid", detail: "it cannot be edited" }
    : { kind: "changed", text: edited };
}

/** Where the driver keeps it; the other place serves where a file is of the other form. */
function configPath(text: string, fsDriver: FsDriver): readonly string[] | undefined {
  const order = fsDriver === "fscache" ? [FSCACHE_PATH, FUSE_PATH] : [FUSE_PATH, FSCACHE_PATH];
  const path = order.find((one) => hasObject(text, one));
  if (path === undefined) return undefined;
  const type = path === FUSE_PATH
    ? memberAt(text, ["device", "backend"], "type")
    : memberAt(text, ["config"], "backend_type");
  return type === undefined || type === "registry" ? path : undefined;
}

function wantedMembers(
  credential: Credential,
): { readonly auth: string | undefined; readonly registry_token: string | undefined } | undefined {
  switch (credential.kind) {
    case "basic":
      return { auth: encodeRegistryAuth(credential).reveal(), registry_token: undefined };
    case "registry-token":
      return { auth: undefined, registry_token: credential.token.reveal() };
    case "identity-token":
      return undefined;
  }
}
