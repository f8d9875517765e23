import { pullImageRequest, pullImageResponse } from "../../tests/fakes/cri_messages.ts";
import {
  dataFrame,
  FLAG,
  FRAME,
  frame,
  grpcMessage,
  headerFrames,
  HpackEncoder,
  joined,
  PREFACE,
} from "../../tests/fakes/http2_peer.ts";

const HEADER_BYTES = 9;
const FRAME_BYTES = 16 * 1024;
const STYLE = { huffman: true, literal: "incremental", indexed: true } as const;
const READ_BYTES = 256 * 1024;

/** A minimal HTTP/2 client connection without flow control. */
export interface BenchConversation {
  readonly connection: Deno.UnixConn;
  readonly headers: HpackEncoder;
  readonly frames: FrameReader;
  nextStream: number;
}

/** Opens the client side of a connection. */
export async function openConversation(connection: Deno.UnixConn): Promise<BenchConversation> {
  await writeAll(connection, joined(PREFACE, frame(FRAME.settings, 0, 0)));
  return {
    connection,
    headers: new HpackEncoder(),
    frames: new FrameReader(connection),
    nextStream: 1,
  };
}

/** Sends messages in DATA frames of 16 KiB, and receives messages of the same size. */
export async function passMessages(
  conversation: BenchConversation,
  count: number,
  bytes: number,
): Promise<void> {
  for (let i = 0; i < count; i++) {
    const streamId = open(conversation);
    const block = conversation.headers.encode(
      requestFields("/runtime.v1.ImageService/ImageStatus"),
      STYLE,
    );
    const sending = writeAll(
      conversation.connection,
      joined(headerFrames(streamId, block), ...largeMessage(streamId, bytes)),
    );
    await conversation.frames.untilEnd(streamId);
    await sending;
  }
}

/** Sends a pull request with a credential and waits for the response. */
export async function callOnce(conversation: BenchConversation, index: number): Promise<void> {
  const streamId = open(conversation);
  const block = conversation.headers.encode(
    requestFields("/runtime.v1.ImageService/PullImage"),
    STYLE,
  );
  const message = pullImageRequest({
    image: `registry.example/team/app${index % 100}:v1`,
    auth: { username: "robot", password: `password-${index}` },
    pod: { name: "pod", uid: `uid-${index % 20}`, namespace: "team" },
  });
  await writeAll(
    conversation.connection,
    joined(
      headerFrames(streamId, block),
      dataFrame(streamId, grpcMessage(message), { endStream: true }),
    ),
  );
  await conversation.frames.untilEnd(streamId);
}

/** Serves every call: a pull gets an image ID, any other call a response of the request's size. */
export async function serveCalls(path: string): Promise<number> {
  for await (const connection of Deno.listen({ transport: "unix", path })) {
    void serveConnection(connection).catch(() => {}).finally(() => connection.close());
  }
  return 0;
}

async function serveConnection(connection: Deno.UnixConn): Promise<void> {
  const headers = new HpackEncoder();
  await new FrameReader(connection, PREFACE.length).each(async ({ streamId, ended, dataBytes }) => {
    if (!ended) return;
    const begin = headers.encode([[":status", "200"], ["content-type", "application/grpc"]], STYLE);
    const end = headers.encode([["grpc-status", "0"], ["grpc-message", ""]], STYLE);
    const body = dataBytes > FRAME_BYTES
      ? largeMessage(streamId, dataBytes, false)
      : [dataFrame(streamId, grpcMessage(pullImageResponse(`sha256:${"a".repeat(64)}`)))];
    await writeAll(
      connection,
      joined(
        headerFrames(streamId, begin),
        ...body,
        headerFrames(streamId, end, { endStream: true }),
      ),
    );
  });
}

function open(conversation: BenchConversation): number {
  const streamId = conversation.nextStream;
  conversation.nextStream += 2;
  return streamId;
}

function requestFields(path: string): readonly (readonly [string, string])[] {
  return [
    [":method", "POST"],
    [":scheme", "http"],
    [":path", path],
    [":authority", "localhost"],
    ["content-type", "application/grpc"],
    ["te", "trailers"],
    ["grpc-timeout", "2000m"],
  ];
}

function largeMessage(streamId: number, bytes: number, ends = true): Uint8Array[] {
  const piece = new Uint8Array(FRAME_BYTES);
  const whole = frame(FRAME.data, 0, streamId, piece);
  const count = Math.ceil(bytes / FRAME_BYTES);
  const last = frame(FRAME.data, ends ? FLAG.endStream : 0, streamId, piece);
  return [...new Array<Uint8Array>(count - 1).fill(whole), last];
}

/** Parsed header of a frame. */
interface FrameHeader {
  readonly streamId: number;
  readonly ended: boolean;
  /** DATA bytes of the stream so far. */
  readonly dataBytes: number;
}

/** Reads frame headers and skips payloads. */
class FrameReader {
  readonly #connection: Deno.UnixConn;
  readonly #buffer = new Uint8Array(READ_BYTES);
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headererLength = 0;
  #skip: number;
  #at = 0;
  #end = 0;
  #dataBytes = 0;

  constructor(connection: Deno.UnixConn, skip = 0) {
    this.#connection = connection;
    this.#skip = skip;
  }

  async untilEnd(streamId: number): Promise<void> {
    for (let frame = await this.#next(); frame !== undefined; frame = await this.#next()) {
      if (frame.streamId === streamId && frame.ended) return;
    }
    throw new Error("connection closed");
  }

  async each(handle: (frame: FrameHeader) => Promise<void>): Promise<void> {
    for (let frame = await this.#next(); frame !== undefined; frame = await this.#next()) {
      await handle(frame);
    }
  }

  /** Returns the next frame after its payload has arrived. */
  async #next(): Promise<FrameHeader | undefined> {
    if (!await this.#skipPayload() || !await this.#readHeader()) return undefined;
    const [a = 0, b = 0, c = 0, type = 0, flags = 0, d = 0, e = 0, f = 0, g = 0] = this.#header;
    this.#skip = a << 16 | b << 8 | c;
    if (type === FRAME.data) this.#dataBytes += this.#skip;
    if (!await this.#skipPayload()) return undefined;
    const ended = (type === FRAME.data || type === FRAME.headers) && (flags & FLAG.endStream) !== 0;
    const dataBytes = this.#dataBytes;
    if (ended) this.#dataBytes = 0;
    return { streamId: d << 24 | e << 16 | f << 8 | g, ended, dataBytes };
  }

  async #readHeader(): Promise<boolean> {
    for (this.#headererLength = 0; this.#headererLength < HEADER_BYTES;) {
      if (this.#at === this.#end && !await this.#fill()) return false;
      this.#header[this.#headererLength++] = this.#buffer[this.#at++] ?? 0;
    }
    return true;
  }

  /** Skips the rest of a payload. */
  async #skipPayload(): Promise<boolean> {
    while (this.#skip > 0) {
      if (this.#at === this.#end && !await this.#fill()) return false;
      const step = Math.min(this.#skip, this.#end - this.#at);
      this.#at += step;
      this.#skip -= step;
    }
    return true;
  }

  async #fill(): Promise<boolean> {
    const count = await this.#connection.read(this.#buffer);
    this.#at = 0;
    this.#end = count ?? 0;
    return count !== null;
  }
}

async function writeAll(connection: Deno.UnixConn, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await connection.write(bytes.subarray(done));
}
