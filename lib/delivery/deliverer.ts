import {
  type CallOptions,
  type Credential,
  credentialSecret,
  type Daemon,
  type DeliveryOutcome,
  type DeliveryRequest,
  describeFailure,
  encodeRegistryAuth,
  type FileOutcome,
  type FileSystem,
  type FsDriver,
  messageOf,
  type NydusdApi,
  type PeerFailure,
  type RafsInstance,
  readBackendOfFile,
  readsOwnRegistry,
} from "../model/mod.ts";

interface DelivererOptions {
  readonly nydusdApi: NydusdApi;
  readonly files: FileSystem;
  readonly fsDriver: FsDriver;
  /** `auto`: update files that contain a credential; `always`: also add one; `never`. */
  readonly configFiles: "auto" | "always" | "never";
}

/** The result of the hot reload. */
type Reload =
  | { readonly kind: "delivered" | "unchanged" }
  | {
    readonly kind: "file-only" | "rejected" | "unreachable" | "unsupported";
    readonly detail: string;
  };

/** A credential that nydusd can use. */
export type UsableCredential = Exclude<Credential, { readonly kind: "identity-token" }>;

const FILE_MODE = 0o600;

/**
 * Delivers one credential to one mount: to the running nydusd by a hot reload, and to its
 * configuration file for the next start. Each happens even if the other fails.
 *
 * Invariants: a hot reload reads the current value, PUTs, and reads back, so that calls for one
 * daemon must not overlap; the caller serializes them.
 */
export class Deliverer {
  readonly #options: DelivererOptions;

  constructor(options: DelivererOptions) {
    this.#options = options;
  }

  /** Rejects only on `signal`. */
  async deliver(request: DeliveryRequest, options: CallOptions = {}): Promise<DeliveryOutcome> {
    const { credential } = request;
    if (credential.kind === "identity-token" || credentialSecret(credential).isEmpty) {
      const detail = credential.kind === "identity-token"
        ? "nydusd cannot use an identity token; use a provider that exchanges it"
        : "the credential is empty, which would remove the one in nydusd";
      return { kind: "unsupported", detail, file: { kind: "skipped" } };
    }
    const [reload, file] = await Promise.all([
      this.#reload(request, options),
      this.#rewrite(request, credential)
        .catch((error): FileOutcome => ({ kind: "failed", detail: messageOf(error) })),
    ]);
    return { ...reload, file };
  }

  async #reload(
    { daemon, instance, credential }: DeliveryRequest,
    options: CallOptions,
  ): Promise<Reload> {
    if (credential.kind !== "basic") {
      return {
        kind: "file-only",
        detail: "nydusd reads a registry token only from its configuration file",
      };
    }
    if (daemon.state !== "running") {
      return { kind: "unreachable", detail: `nydusd is ${daemon.state}` };
    }
    const detail = restartReason(daemon);
    if (detail !== undefined) return { kind: "file-only", detail };
    const { nydusdApi, fsDriver } = this.#options;
    const { mountId } = instance;
    if (mountId === undefined) {
      return fsDriver === "fscache"
        ? { kind: "file-only", detail: "the API of nydusd does not list this mount" }
        : { kind: "unreachable", detail: "nydusd does not list this mount yet" };
    }
    const wanted = encodeRegistryAuth(credential);
    const one = { ...options, mountId };
    const before = await nydusdApi.readAuths(daemon.apiSocket, one);
    if (before.kind !== "ok") return reloadFailure("read the current credential", before);
    if (before.value.get(mountId)?.equals(wanted)) return { kind: "unchanged" };
    const put = await nydusdApi.putAuth(daemon.apiSocket, mountId, wanted, options);
    if (put.kind !== "ok") return reloadFailure("store the credential", put);
    const after = await nydusdApi.readAuths(daemon.apiSocket, one);
    if (after.kind !== "ok") return reloadFailure("read back the credential", after);
    return after.value.get(mountId)?.equals(wanted)
      ? { kind: "delivered" }
      : { kind: "rejected", detail: "nydusd confirmed the credential but has another" };
  }

  async #rewrite(
    { instance }: DeliveryRequest,
    credential: UsableCredential,
  ): Promise<FileOutcome> {
    const { files, configFiles } = this.#options;
    const { configPath: path } = instance;
    if (configFiles === "never" || path === undefined) return { kind: "skipped" };
    const stat = await files.stat(path, { noFollow: true });
    if (stat === undefined) return { kind: "absent" };
    if (stat.kind !== "file") {
      return { kind: "failed", detail: `${path} is a ${stat.kind}, not a file` };
    }
    const text = await files.readText(path);
    if (text === undefined) return { kind: "absent" };
    const rewritten = rewriteConfigText(text, credential, configFiles === "always", instance);
    if (rewritten.kind === "failed") {
      return { kind: "failed", detail: `${path}: ${rewritten.detail}` };
    }
    if (rewritten.kind !== "changed") return rewritten;
    const { uid, gid } = stat;
    await files.writeAtomic(path, rewritten.text, { mode: FILE_MODE, owner: { uid, gid } });
    return { kind: "written" };
  }
}

function reloadFailure(action: string, failure: PeerFailure): Reload {
  if (failure.kind === "refused" && failure.status === 404) {
    return { kind: "file-only", detail: "nydusd has no configuration API" };
  }
  const detail = `failed to ${action}: ${describeFailure(failure)}`;
  return { kind: failure.kind === "refused" ? "rejected" : "unreachable", detail };
}

/** Returns why a nydusd reads its credential only at its start; undefined if its API stores one. */
function restartReason(
  { configApi, version = "of an unknown version" }: Daemon,
): string | undefined {
  if (numberOf(version) >= 3_000_000) return `nydusd ${version} reads its credential once at start`;
  return configApi === "unsupported" ? `nydusd ${version} has no configuration API` : undefined;
}

/**
 * From which version, as one number, nydusd uses a stored credential after which delay (ms). Sources
 * in `dragonflyoss/nydus`: `api/src/http_handler.rs` (before 2.4.1 without a route /config),
 * `storage/src/backend/registry.rs` (2.4.1: `refresh_cached_auth_from_config` before every request;
 * since 2.4.2 a thread polls with `REGISTRY_CONFIG_POLL_INTERVAL`). Version 3 has no API.
 */
const IN_USE_DELAYS: readonly (readonly [since: number, delayMs: number | undefined])[] = [
  [0, undefined],
  [2_004_001, 0],
  [2_004_002, 5_000],
  [3_000_000, undefined],
];
const LATEST = "2.4.4";

/**
 * Returns the delay (ms) after which a nydusd of this version uses a stored credential. Undefined
 * for versions without the configuration API. An unknown version counts as the latest with it.
 */
export function inUseDelayMs(version: string): number | undefined {
  const own = numberOf(version);
  return IN_USE_DELAYS.findLast(([since]) => own >= since)?.[1];
}

function numberOf(version: string): number {
  const [, major, minor = 0, patch = 0] = /^v?(\d+)(?:\.(\d+)\.(\d+))?/.exec(version) ?? [];
  if (major === undefined) return numberOf(LATEST);
  return Number(major) * 1_000_000 + Number(minor) * 1_000 + Number(patch);
}

type Fields = Record<string, unknown>;

/**
 * Replaces the credential in the text of a daemon's configuration file and keeps every other field,
 * with the digits of its numbers. Removes the form that is not used (`auth` or `registry_token`),
 * which would be stale.
 *
 * @param fill Whether to add a credential to a file without one.
 * @param instance The mount that the credential was selected for. A file with another host than its
 * backend is invalid; if its backend is not known yet, the file must have the image's own registry.
 */
export function rewriteConfigText(
  text: string,
  credential: UsableCredential,
  fill: boolean,
  { image, backend: inUse }: Pick<RafsInstance, "image" | "backend"> = {},
): FileOutcome | { readonly kind: "changed"; readonly text: string } {
  const file = parseExactly(text);
  const backend = backendOf(file);
  if (backend === undefined) {
    return { kind: "failed", detail: "not the configuration of a nydusd with a registry backend" };
  }
  const host = backend["host"];
  if (inUse?.host !== undefined && host !== undefined && host !== inUse.host) {
    return { kind: "failed", detail: `its host is ${host}, but nydusd reads from ${inUse.host}` };
  }
  const inFile = readBackendOfFile(file);
  const isForeign = inFile?.host !== undefined && image && !readsOwnRegistry(image, inFile);
  if (inUse === undefined && isForeign) return { kind: "skipped" };
  const { auth = "", registry_token: token = "" } = backend;
  // The snapshotter keeps secrets out of this file.
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

/** Returns the settings of the backend, for FUSE or fscache, if it is a registry. */
function backendOf(file: unknown): Fields | undefined {
  const root = fieldsOf(file);
  const fuse = fieldsOf(fieldsOf(root?.["device"])?.["backend"]);
  const fscache = fieldsOf(root?.["config"]);
  const inFuse = fieldsOf(fuse?.["config"]);
  const { type = "registry", settings } = inFuse
    ? { type: fuse?.["type"], settings: inFuse }
    : { type: fscache?.["backend_type"], settings: fieldsOf(fscache?.["backend_config"]) };
  return type === "registry" ? settings : undefined;
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
