import type { TLSSocket } from "node:tls";
import type { Secret } from "../model/mod.ts";
import { tryClose } from "./files.ts";
import { type ByteStream, writeAll } from "./http1.ts";
import { ConnectError, literalAddress } from "./connect.ts";

/** Options of {@linkcode connectTls}. */
export interface TlsOptions {
  /** Name or address that the certificate is verified for, as in a URL. */
  readonly host: string;
  /** Additional certificate authorities, as PEM. */
  readonly caCerts: readonly string[];
  /** Accepts any certificate. */
  readonly skipVerify: boolean;
  /** The client's certificate and its key; both or neither. */
  readonly certPem?: string;
  readonly keyPem?: Secret;
}

/** Received bytes that were not read yet, above which reading from the peer is paused. */
const MAX_QUEUED_BYTES = 256 * 1024;
const BUFFER_BYTES = 16 * 1024;
/** How long a TLS client may take to close its connection after the bridge has ended it. */
const CLOSING_MS = 5_000;

/**
 * Establishes TLS over a connection. The stream takes ownership of the connection, which is also
 * closed if this fails or `signal` aborts.
 *
 * Both TLS clients of the runtime keep a connection open until the peer closes it if the handshake
 * never completes, even after they are closed. The client is therefore connected to a loopback
 * bridge, which can close the connection in place of the peer.
 */
export async function connectTls(
  peer: Deno.TcpConn,
  options: TlsOptions,
  signal: AbortSignal,
): Promise<ByteStream> {
  const bridge = new Bridge(peer);
  signal.addEventListener("abort", () => bridge.close());
  try {
    signal.throwIfAborted();
    // Deno's own client supports neither of these options.
    const needsNode = options.skipVerify || options.certPem !== undefined;
    return needsNode ? await nodeTls(bridge, options) : await denoTls(bridge, options);
  } catch (error) {
    bridge.close();
    signal.throwIfAborted();
    throw error;
  }
}

async function denoTls(bridge: Bridge, { host, caCerts }: TlsOptions): Promise<ByteStream> {
  const local = await Deno.connect(bridge.address);
  let connection: Deno.TlsConn | undefined;
  const close = () => {
    bridge.close();
    (connection ?? local).close();
  };
  try {
    await bridge.accept(Promise.resolve(local.localAddr.port));
    const hostname = literalAddress(host) ?? host;
    connection = await Deno.startTls(local, { hostname, caCerts: [...caCerts] });
    await connection.handshake();
  } catch (error) {
    close();
    throw error;
  }
  const { read, write } = connection;
  return { read: read.bind(connection), write: write.bind(connection), close };
}

/**
 * Checks that a client's key belongs to its certificate: Deno aborts the process otherwise. While
 * certificates are rotated, the two files may be of different generations.
 *
 * @throws {ConnectError} when the key belongs to another certificate.
 */
export async function checkKeyPair(
  { certPem, keyPem }: Pick<TlsOptions, "certPem" | "keyPem">,
): Promise<void> {
  if (certPem === undefined || keyPem === undefined) return;
  const { createPrivateKey, createPublicKey, X509Certificate } = await import("node:crypto");
  const format = { type: "spki", format: "der" } as const;
  let own: Uint8Array;
  let certified: Uint8Array;
  try {
    own = createPublicKey(createPrivateKey(keyPem.reveal())).export(format);
    certified = new X509Certificate(certPem).publicKey.export(format);
  } catch {
    return; // a kind of key that only Deno's TLS reads, or a text that it refuses
  }
  if (own.toHex() !== certified.toHex()) {
    throw new ConnectError("the client's key does not belong to its certificate");
  }
}

async function nodeTls(bridge: Bridge, options: TlsOptions): Promise<ByteStream> {
  const { connect } = await import("node:tls");
  const { host, caCerts, skipVerify, certPem, keyPem } = options;
  await checkKeyPair(options);
  const isName = literalAddress(host) === undefined;
  // Node would verify the address of the bridge.
  if (!isName && !skipVerify) {
    throw new ConnectError("the server's certificate cannot be verified for an IP address");
  }
  const socket = connect({
    host: bridge.address.hostname,
    port: bridge.address.port,
    servername: isName ? host : "",
    rejectUnauthorized: !skipVerify,
    ...(caCerts.length > 0 && { ca: [...caCerts] }),
    ...(certPem !== undefined && keyPem && { cert: certPem, key: keyPem.reveal() }),
  });
  const stream = new NodeTlsStream(socket, bridge);
  const port = new Promise<number | undefined>((resolve) => {
    socket.once("connect", () => resolve(socket.localPort));
    socket.once("close", () => resolve(undefined));
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.once("close", () => reject(new ConnectError("the connection was cut")));
    socket.once("secureConnect", resolve);
    bridge.accept(port).catch(reject);
  });
  return stream;
}

/**
 * Adapts a TLS socket of Node to a stream. The socket is never paused, because some versions of the
 * runtime do not resume it: the bridge stops reading from the peer instead.
 */
class NodeTlsStream implements ByteStream {
  readonly #socket: TLSSocket;
  readonly #bridge: Bridge;
  readonly #queue: Uint8Array[] = [];
  #end: { readonly error?: unknown } | undefined;
  #wake = () => {};

  constructor(socket: TLSSocket, bridge: Bridge) {
    this.#socket = socket;
    this.#bridge = bridge;
    socket.on("data", (chunk: Uint8Array) => {
      this.#queue.push(chunk);
      bridge.queued(chunk.length);
      this.#wake();
    });
    socket.on("error", (error) => this.#ended({ error }));
    socket.on("end", () => this.#ended({}));
    socket.on("close", () => this.#ended({}));
  }

  async read(into: Uint8Array): Promise<number | null> {
    while (this.#queue[0] === undefined) {
      if (this.#end !== undefined) {
        if ("error" in this.#end) throw this.#end.error;
        return null;
      }
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const [chunk] = this.#queue;
    const part = chunk.subarray(0, into.length);
    into.set(part);
    if (part.length === chunk.length) this.#queue.shift();
    else this.#queue[0] = chunk.subarray(part.length);
    this.#bridge.queued(-part.length);
    return part.length;
  }

  write(bytes: Uint8Array): Promise<number> {
    this.#socket.write(bytes); // errors are reported by the next read
    return Promise.resolve(bytes.length);
  }

  close(): void {
    this.#bridge.close();
    this.#socket.destroy();
    this.#ended({ error: new ConnectError("the connection was closed") });
  }

  #ended(end: { readonly error?: unknown }): void {
    this.#end ??= end;
    this.#wake();
  }
}

/** A loopback connection to a TLS client whose bytes are copied to the peer and back. */
class Bridge {
  readonly #peer: Deno.TcpConn;
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  #local: Deno.TcpConn | undefined;
  #queuedBytes = 0;
  #resume = () => {};
  #isAccepting = false;
  #isClosed = false;
  #closing: ReturnType<typeof setTimeout> | undefined;

  constructor(peer: Deno.TcpConn) {
    this.#peer = peer;
  }

  get address(): { readonly hostname: string; readonly port: number } {
    return this.#listener.addr;
  }

  /** Counts bytes that the TLS client delivered and that were not read yet. */
  queued(bytes: number): void {
    this.#queuedBytes += bytes;
    if (this.#queuedBytes <= MAX_QUEUED_BYTES) this.#resume();
  }

  /** Accepts the client that connects from a port and rejects other programs. */
  async accept(fromPort: Promise<number | undefined>): Promise<void> {
    this.#isAccepting = true;
    let local = await this.#listener.accept();
    while (local.remoteAddr.port !== await fromPort) {
      local.close();
      local = await this.#listener.accept();
    }
    this.#listener.close();
    this.#local = local;
    if (this.#isClosed) endOf(local);
    void this.#copyToClient(local);
    void this.#copyToPeer(local);
  }

  /**
   * Closes the connection to the peer, and ends the one to the TLS client, which then closes it. The
   * runtime never closes a client whose connection is reset during its handshake: closing a
   * connection that was not accepted, or has unread bytes, resets it.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#resume();
    tryClose(this.#peer);
    if (!this.#isAccepting) return void tryClose(this.#listener);
    if (this.#local !== undefined) endOf(this.#local);
    const timer = setTimeout(() => {
      tryClose(this.#listener);
      tryClose(this.#local);
    }, CLOSING_MS);
    Deno.unrefTimer(timer);
    this.#closing = timer;
  }

  /** Copies until the client ends. Drops what it sends after the bridge has been closed. */
  async #copyToPeer(local: Deno.TcpConn): Promise<void> {
    const buffer = new Uint8Array(BUFFER_BYTES);
    try {
      for (let count = await local.read(buffer); count !== null; count = await local.read(buffer)) {
        if (this.#isClosed) continue;
        await writeAll(this.#peer, buffer.subarray(0, count)).catch(() => this.close());
      }
    } catch {
      // A reset is an end as well.
    }
    this.close();
    clearTimeout(this.#closing);
    tryClose(local);
  }

  async #copyToClient(local: Deno.TcpConn): Promise<void> {
    const buffer = new Uint8Array(BUFFER_BYTES);
    const peer = this.#peer;
    try {
      for (let count = await peer.read(buffer); count !== null; count = await peer.read(buffer)) {
        await writeAll(local, buffer.subarray(0, count));
        while (this.#queuedBytes > MAX_QUEUED_BYTES && !this.#isClosed) {
          await new Promise<void>((resolve) => this.#resume = resolve);
        }
      }
      await local.closeWrite();
    } catch {
      this.close();
    }
  }
}

/** Ends a connection without a reset: the other side reads its end. */
function endOf(connection: Deno.TcpConn): void {
  connection.closeWrite().catch(() => {});
}
