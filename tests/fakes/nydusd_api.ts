import {
  type CallOptions,
  type NydusdApi,
  type PeerResult,
  type RegistryBackend,
  Secret,
} from "../../lib/model/mod.ts";

/** A nydusd in memory that records all calls. */
export class FakeNydusdApi implements NydusdApi {
  readonly calls: string[] = [];
  /** Of the calls that read or store credentials. */
  readonly signals: (AbortSignal | undefined)[] = [];
  /** By mount id; initially empty, as in a nydusd that started without a credential. */
  readonly currentAuth = new Map<string, Secret>();
  version = "v2.4.4";
  state = "RUNNING";
  mounts: string[] = ["/"];
  backend: RegistryBackend = {
    host: "registry.example.com",
    repo: "app",
    skipVerify: false,
    caFiles: [],
    mirrors: [],
  };
  /** Returns the failure of a call; undefined for success. */
  fault: (call: string, socket: string) => Exclude<PeerResult<never>, { kind: "ok" }> | undefined =
    () => undefined;
  /** Awaited in every call, to test concurrency. */
  pause: () => Promise<void> = () => Promise.resolve();

  info(socket: string) {
    return this.#answer("info", socket, () => ({
      version: this.version,
      state: this.state,
      mounts: this.mounts.map((mountId) => ({
        mountId,
        backendType: "registry",
        backend: this.backend,
      })),
    }));
  }

  /** Like the real nydusd, omits a mount without a stored value. */
  readAuths(
    socket: string,
    { mountId, signal }: CallOptions & { readonly mountId?: string } = {},
  ) {
    this.signals.push(signal);
    const isQueried = ([id]: readonly [string, Secret]) => mountId === undefined || id === mountId;
    return this.#answer(
      "readAuths",
      socket,
      () => new Map([...this.currentAuth].filter(isQueried)),
    );
  }

  putAuth(socket: string, mountId: string, auth: Secret, { signal }: CallOptions = {}) {
    this.signals.push(signal);
    return this.#answer(`putAuth ${mountId}`, socket, () => {
      this.currentAuth.set(mountId, auth);
    });
  }

  backendReads(socket: string) {
    return this.#answer("backendReads", socket, () => ({ reads: 0, errors: 0 }));
  }

  async #answer<T>(call: string, socket: string, work: () => T): Promise<PeerResult<T>> {
    this.calls.push(call);
    await this.pause();
    return this.fault(call, socket) ?? { kind: "ok", value: work() };
  }
}

/** Encodes `user:password` as nydusd stores it. */
export const registryAuth = (pair: string) => new Secret(btoa(pair));
