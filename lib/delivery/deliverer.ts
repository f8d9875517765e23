import {
  type CallOptions,
  credentialSecret,
  type DeliveryOutcome,
  type DeliveryRequest,
  describeFailure,
  encodeRegistryAuth,
  type FileOutcome,
  type FileSystem,
  type FsDriver,
  type ImageReference,
  messageOf,
  type NydusdApi,
  type PeerFailure,
  readBackendOfFile,
  readsOwnRegistry,
} from "../model/mod.ts";
import { rewriteConfigText, type UsableCredential } from "./config_text.ts";
import { consumerOf } from "./consumer.ts";

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
    if (credential.kind === "identity-token") {
      const detail = "nydusd cannot use an identity token; use a provider that exchanges it";
      return { kind: "unsupported", detail, file: { kind: "skipped" } };
    }
    if (credentialSecret(credential).isEmpty) {
      const detail = "the credential is empty, which would remove the one in nydusd";
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
    const { restartReason, listsMounts } = consumerOf(daemon, this.#options.fsDriver);
    if (restartReason !== undefined) return { kind: "file-only", detail: restartReason };
    const { mountId } = instance;
    if (mountId === undefined) {
      return listsMounts
        ? { kind: "unreachable", detail: "nydusd does not list this mount yet" }
        : { kind: "file-only", detail: "the API of nydusd does not list this mount" };
    }
    const wanted = encodeRegistryAuth(credential);
    const { nydusdApi } = this.#options;
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
    { daemon, instance: { configPath: path, image, backend } }: DeliveryRequest,
    credential: UsableCredential,
  ): Promise<FileOutcome> {
    const { files, configFiles, fsDriver } = this.#options;
    if (configFiles === "never" || path === undefined) return { kind: "skipped" };
    const stat = await files.stat(path, { noFollow: true });
    if (stat === undefined) return { kind: "absent" };
    if (stat.kind !== "file") {
      return { kind: "failed", detail: `${path} is a ${stat.kind}, not a file` };
    }
    const text = await files.readText(path);
    if (text === undefined) return { kind: "absent" };
    // The credential was selected without knowing which host the mount reads from; the file shows it.
    if (backend === undefined && image !== undefined && !namesOwnRegistry(text, image)) {
      return { kind: "skipped" };
    }
    const fill = configFiles === "always";
    const owner = { uid: stat.uid, gid: stat.gid };
    const { sections } = consumerOf(daemon, fsDriver);
    const rewritten = rewriteConfigText(text, sections, credential, fill, backend?.host);
    switch (rewritten.kind) {
      case "changed":
        await files.writeAtomic(path, rewritten.text, { mode: FILE_MODE, ...owner });
        return { kind: "written" };
      case "invalid":
        return { kind: "failed", detail: `${path}: ${rewritten.detail}` };
      case "unchanged":
      case "secret-free":
        return { kind: rewritten.kind };
    }
  }
}

/** Whether the host in a configuration file is the image's own registry, or missing. */
function namesOwnRegistry(text: string, image: ImageReference): boolean {
  try {
    const backend = readBackendOfFile(JSON.parse(text));
    return backend?.host === undefined || readsOwnRegistry(image, backend);
  } catch {
    return true; // invalid files are not rewritten
  }
}

function reloadFailure(action: string, failure: PeerFailure): Reload {
  if (failure.kind === "refused" && failure.status === 404) {
    return { kind: "file-only", detail: "nydusd has no configuration API" };
  }
  const detail = `failed to ${action}: ${describeFailure(failure)}`;
  return { kind: failure.kind === "refused" ? "rejected" : "unreachable", detail };
}
