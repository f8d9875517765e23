import {
  type CallOptions,
  type Credential,
  credentialSecret,
  type DeliveryOutcome,
  type DeliveryRequest,
  encodeRegistryAuth,
  type FileOutcome,
  type FileSystem,
  type FsDriver,
  type ImageReference,
  messageOf,
  type NydusdApi,
  type PeerResult,
  type RafsInstance,
  readBackendOfFile,
  readsOwnRegistry,
} from "../model/mod.ts";
import { rewriteConfigText } from "./config_text.ts";

/** What a deliverer works with. */
export interface DelivererOptions {
  readonly nydusdApi: NydusdApi;
  readonly files: FileSystem;
  readonly fsDriver: FsDriver;
  /** `auto`: only where a file holds a credential already; `always`; `never`. */
  readonly configFiles: "auto" | "always" | "never";
}

/** The part of an outcome that nydusd itself decides. */
type Reload =
  | { readonly kind: "delivered" | "unchanged" }
  | {
    readonly kind: "file-only" | "rejected" | "unreachable" | "unsupported";
    readonly detail: string;
  };

const FILE_MODE = 0o600;

/**
 * Delivers one credential to one mount: into nydusd's memory and into its configuration file. The
 * two do not depend on each other. The caller sees to it that calls for one daemon do not overlap.
 */
export class Deliverer {
  readonly #options: DelivererOptions;

  constructor(options: DelivererOptions) {
    this.#options = options;
  }

  /** Rejects for nothing but `signal`. */
  async deliver(order: DeliveryRequest, options: CallOptions = {}): Promise<DeliveryOutcome> {
    if (order.credential.kind === "identity-token") {
      const detail = "nydusd cannot use an identity token: use a provider that exchanges it";
      return { kind: "unsupported", detail, file: { kind: "skipped" } };
    }
    if (credentialSecret(order.credential).isEmpty) {
      const detail = "the credential is empty, which nydusd takes for an order to forget its own";
      return { kind: "unsupported", detail, file: { kind: "skipped" } };
    }
    const [reload, file] = await Promise.all([
      this.#reload(order, options),
      this.#rewrite(order),
    ]);
    return { ...reload, file };
  }

  async #reload(
    { daemon, instance, credential }: DeliveryRequest,
    options: CallOptions,
  ): Promise<Reload> {
    if (credential.kind !== "basic") {
      return { kind: "file-only", detail: "nydusd reads a registry token from its file only" };
    }
    if (daemon.state !== "running") {
      return { kind: "unreachable", detail: `nydusd is ${daemon.state}` };
    }
    if (daemon.configApi === "unsupported") {
      const version = daemon.version ?? "of an unknown version";
      return { kind: "file-only", detail: `nydusd ${version} cannot be told while it runs` };
    }
    const { mountId } = instance;
    if (mountId === undefined) {
      const { fsDriver } = this.#options;
      return fsDriver === "fscache"
        ? { kind: "file-only", detail: "nydusd's API does not name this mount" }
        : { kind: "unreachable", detail: "nydusd does not name this mount (yet)" };
    }
    const wanted = encodeRegistryAuth(credential);
    const { nydusdApi } = this.#options;
    // Of this mount alone: a shared daemon may have thousands.
    const one = { ...options, mountId };
    const before = await nydusdApi.readAuths(daemon.apiSocket, one);
    if (before.kind !== "ok") return failureReason("ask what it holds", before);
    if (before.value.get(mountId)?.equals(wanted)) return { kind: "unchanged" };
    const put = await nydusdApi.putAuth(daemon.apiSocket, mountId, wanted, options);
    if (put.kind !== "ok") return failureReason("store", put);
    const after = await nydusdApi.readAuths(daemon.apiSocket, one);
    if (after.kind !== "ok") return failureReason("read back", after);
    return after.value.get(mountId)?.equals(wanted)
      ? { kind: "delivered" }
      : { kind: "rejected", detail: "nydusd said stored, and holds something else" };
  }

  async #rewrite({ instance, credential }: DeliveryRequest): Promise<FileOutcome> {
    const { files, configFiles } = this.#options;
    const { configPath } = instance;
    if (configFiles === "never" || configPath === undefined) return { kind: "skipped" };
    try {
      return await this.#rewriteFile(configPath, credential, files, instance);
    } catch (error) {
      return { kind: "failed", detail: messageOf(error) };
    }
  }

  async #rewriteFile(
    path: string,
    credential: Credential,
    files: FileSystem,
    { image, backend }: RafsInstance,
  ): Promise<FileOutcome> {
    const stat = await files.stat(path, { noFollow: true });
    if (stat === undefined) return { kind: "absent" };
    if (stat.kind !== "file") {
      return { kind: "failed", detail: `${path} is a ${stat.kind}, not a file` };
    }
    const text = await files.readText(path);
    if (text === undefined) return { kind: "absent" };
    // The credential was chosen without knowing where the mount reads from: the file knows.
    if (backend === undefined && image !== undefined && !isOwn(text, image)) {
      return { kind: "skipped" };
    }
    const fill = this.#options.configFiles === "always";
    const { fsDriver } = this.#options;
    const rewritten = rewriteConfigText(text, fsDriver, credential, fill, backend?.host);
    switch (rewritten.kind) {
      case "changed":
        await files.writeAtomic(path, rewritten.text, {
          mode: FILE_MODE,
          uid: stat.uid,
          gid: stat.gid,
        });
        return { kind: "written" };
      case "invalid":
        return { kind: "failed", detail: `${path}: ${rewritten.detail}` };
      case "unchanged":
      case "secret-free":
        return { kind: rewritten.kind };
    }
  }
}

/** Whether a configuration file names the image's own registry, or none at all. */
function isOwn(text: string, image: ImageReference): boolean {
  try {
    const backend = readBackendOfFile(JSON.parse(text));
    return backend?.host === undefined || readsOwnRegistry(image, backend);
  } catch {
    return true; // what cannot be read is not rewritten either
  }
}

function failureReason(
  action: string,
  result: Exclude<PeerResult<unknown>, { kind: "ok" }>,
): Reload {
  switch (result.kind) {
    case "refused":
      if (result.status === 404) {
        return { kind: "file-only", detail: "this nydusd has no configuration API" };
      }
      return { kind: "rejected", detail: `${action}: ${result.detail}` };
    case "timed-out":
      return { kind: "unreachable", detail: `${action}: no answer in time` };
    case "no-socket":
    case "no-listener":
      return { kind: "unreachable", detail: `${action}: nobody listens` };
    case "broken":
      return { kind: "unreachable", detail: `${action}: ${result.detail}` };
  }
}
