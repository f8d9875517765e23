import { pullImageResponse } from "./cri_messages.ts";
import {
  cut,
  dataFrame,
  type FieldStyle,
  FLAG,
  FRAME,
  frame,
  grpcMessage,
  headerFrames,
  HpackEncoder,
  joined,
  PREFACE,
} from "./http2_peer.ts";

/** Bytes that one side sends at once. */
export interface Sent {
  readonly from: "client" | "server";
  readonly bytes: Uint8Array;
}

/** Wire encoding of a call, which must not affect the reader. */
export interface WireStyle {
  readonly fields: FieldStyle;
  readonly padding: number;
  readonly priority: boolean;
  /** Where to split the header block into CONTINUATION frames, as fractions of its length. */
  readonly blockCuts: readonly number[];
  /** Where to split the message into DATA frames. */
  readonly dataCuts: readonly number[];
  /** Whether END_STREAM is in a separate, empty frame. */
  readonly emptyEnd: boolean;
}

export const PLAIN: WireStyle = {
  fields: { huffman: true, literal: "incremental", indexed: true },
  padding: 0,
  priority: false,
  blockCuts: [],
  dataCuts: [],
  emptyEnd: false,
};

/** A call and its response. */
export interface WireCall {
  readonly path: string;
  readonly message: Uint8Array;
  /** First byte of the gRPC prefix; 1 means compressed. */
  readonly flag?: number;
  readonly answer:
    | { readonly kind: "message"; readonly message: Uint8Array }
    | { readonly kind: "status"; readonly status: string; readonly text: string }
    | { readonly kind: "reset"; readonly by: "client" | "server" }
    | { readonly kind: "none" };
  readonly style?: WireStyle;
}

export const PULL = "/runtime.v1.ImageService/PullImage";
export const REMOVE = "/runtime.v1.ImageService/RemoveImage";

/** Returns the response of a successful pull. */
export function pulled(imageId: string): WireCall["answer"] {
  return { kind: "message", message: pullImageResponse(imageId) };
}

/** Encodes both sides of a connection. */
export class Conversation {
  readonly #client = new HpackEncoder();
  readonly #server = new HpackEncoder();
  #nextStream = 1;

  /** Returns what both sides send before the first call. */
  opening(): Sent[] {
    // HEADER_TABLE_SIZE 8192, INITIAL_WINDOW_SIZE 65535.
    const settings = [0, 1, 0, 0, 32, 0, 0, 4, 0, 0, 255, 255];
    return [
      { from: "client", bytes: joined(PREFACE, frame(FRAME.settings, 0, 0, settings)) },
      { from: "server", bytes: frame(FRAME.settings, 0, 0, settings) },
      { from: "server", bytes: frame(FRAME.settings, FLAG.ack, 0) },
      { from: "client", bytes: frame(FRAME.settings, FLAG.ack, 0) },
    ];
  }

  /** Returns frames that the reader has to ignore. */
  chatter(): Sent[] {
    return [
      { from: "client", bytes: frame(FRAME.ping, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8]) },
      { from: "server", bytes: frame(FRAME.ping, FLAG.ack, 0, [1, 2, 3, 4, 5, 6, 7, 8]) },
      { from: "server", bytes: frame(FRAME.windowUpdate, 0, 0, [0, 0, 1, 0]) },
      { from: "client", bytes: frame(200, 255, 77, [1, 2, 3]) },
      { from: "client", bytes: frame(FRAME.priority, 0, 1, [0, 0, 0, 3, 1]) },
    ];
  }

  /** Resizes the client's table, which the next header block announces. */
  resizeClient(bytes: number): void {
    this.#resize = this.#client.resize(bytes);
  }
  #resize: Uint8Array = new Uint8Array(0);

  /** Yields the steps of a call, between which steps of other calls may be sent. */
  *call(
    { path, message, flag = 0, answer, style = PLAIN }: WireCall,
  ): Generator<Sent, void> {
    const streamId = this.#nextStream;
    this.#nextStream += 2;
    const { blockCuts: cuts, padding, priority } = style;
    const request = this.#client.encode([
      [":method", "POST"],
      [":scheme", "http"],
      [":path", path],
      [":authority", "localhost"],
      ["content-type", "application/grpc"],
      ["te", "trailers"],
      ["grpc-timeout", `${119_000 + streamId}m`],
    ], style.fields);
    const block = joined(this.#resize, request);
    this.#resize = new Uint8Array(0);
    yield { from: "client", bytes: headerFrames(streamId, block, { cuts, padding, priority }) };
    yield* this.#data("client", streamId, grpcMessage(message, flag), style, true);
    yield* this.#answer(streamId, answer, style);
  }

  *#answer(
    streamId: number,
    answer: WireCall["answer"],
    style: WireStyle,
  ): Generator<Sent, void> {
    if (answer.kind === "none") return;
    if (answer.kind === "reset") {
      yield { from: answer.by, bytes: frame(FRAME.reset, 0, streamId, [0, 0, 0, 8]) };
      return;
    }
    const head: (readonly [string, string])[] = [
      [":status", "200"],
      ["content-type", "application/grpc"],
    ];
    if (answer.kind === "status") {
      const { status, text } = answer;
      const fields = [...head, ["grpc-status", status], ["grpc-message", text]] as const;
      yield this.#headers(streamId, fields, style, true);
      return;
    }
    yield this.#headers(streamId, head, style, false);
    yield* this.#data("server", streamId, grpcMessage(answer.message), style, false);
    yield this.#headers(streamId, [["grpc-status", "0"], ["grpc-message", ""]], style, true);
  }

  #headers(
    streamId: number,
    fields: readonly (readonly [string, string])[],
    { fields: how, blockCuts: cuts, padding, priority }: WireStyle,
    endStream: boolean,
  ): Sent {
    const block = this.#server.encode(fields, how);
    const bytes = headerFrames(streamId, block, { cuts, padding, priority, endStream });
    return { from: "server", bytes };
  }

  *#data(
    from: Sent["from"],
    streamId: number,
    bytes: Uint8Array,
    { dataCuts, padding, emptyEnd }: WireStyle,
    ends: boolean,
  ): Generator<Sent, void> {
    const parts = cut(bytes, dataCuts);
    for (const [i, part] of parts.entries()) {
      const endStream = ends && !emptyEnd && i === parts.length - 1;
      yield { from, bytes: dataFrame(streamId, part, { padding, endStream }) };
    }
    if (ends && emptyEnd) {
      yield { from, bytes: dataFrame(streamId, new Uint8Array(0), { endStream: true }) };
    }
  }
}

/** Parses a recording: one line per chunk, `client` or `server` and the bytes in base64. */
export function readRecording(text: string): Sent[] {
  return text.trim().split("\n").map((line) => {
    const [from, bytes = ""] = line.split(" ");
    return { from: from === "client" ? "client" : "server", bytes: Uint8Array.fromBase64(bytes) };
  });
}
