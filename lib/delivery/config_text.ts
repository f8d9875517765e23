import { type Credential, encodeRegistryAuth, type FsDriver } from "../model/mod.ts";
import { editMembers, hasObject, memberAt } from "./json_edit.ts";

/** The result of rewriting a configuration file. */
export type RewriteOutcome =
  | { readonly kind: "changed"; readonly text: string }
  | { readonly kind: "unchanged" }
  /** It contains neither `auth` nor `registry_token`: the snapshotter keeps secrets out of it. */
  | { readonly kind: "secret-free" }
  | { readonly kind: "invalid"; readonly detail: string };

const FUSE_PATH = ["device", "backend", "config"];
const FSCACHE_PATH = ["config", "backend_config"];

/**
 * Replaces the credential in the text of a daemon's configuration file and keeps every other
 * character. Removes the form that is not used (`auth` or `registry_token`), which would be stale.
 *
 * @param fill Whether to add a credential to a file without one.
 * @param host The host that the credential is for, if known: a file with another host is invalid.
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
    return { kind: "invalid", detail: "not the configuration of a nydusd with a registry backend" };
  }
  const fileHost = memberAt(text, path, "host");
  if (host !== undefined && fileHost !== undefined && fileHost !== host) {
    return { kind: "invalid", detail: `its host is ${fileHost}, but nydusd reads from ${host}` };
  }
  const auth = memberAt(text, path, "auth") ?? "";
  const token = memberAt(text, path, "registry_token") ?? "";
  if (auth === "" && token === "" && !fill) return { kind: "secret-free" };
  const wanted = wantedMembers(credential);
  if (wanted === undefined) return { kind: "unchanged" };
  const changes = {
    ...(auth !== (wanted.auth ?? "") && { auth: wanted.auth }),
    ...(token !== (wanted.registry_token ?? "") && { registry_token: wanted.registry_token }),
  };
  if (Object.keys(changes).length === 0) return { kind: "unchanged" };
  const edited = editMembers(text, path, changes);
  return edited === undefined
    ? { kind: "invalid", detail: "it cannot be edited" }
    : { kind: "changed", text: edited };
}

/** Returns the path of the backend configuration: that of the driver, else that of the other. */
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
