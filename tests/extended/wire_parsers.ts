/**
 * Every parser of bytes on the CRI connection. Add new ones here.
 *
 * @module
 */
import { parseImageReference } from "../../lib/model/mod.ts";
import { CriConnectionReader, type CriNote, PullCredentialCache } from "../../lib/cri/mod.ts";
import { pullCredential, readFields, readPullImageRequest } from "../../lib/cri/cri_messages.ts";
import { HpackDecoder } from "../../lib/cri/hpack.ts";
import { decodeHuffman } from "../../lib/cri/hpack.ts";

const IMAGE = parseImageReference("quay.io/team/app");

export const WIRE_PARSERS: Readonly<Record<string, (bytes: Uint8Array) => unknown>> = {
  readFields,
  decodeHuffman,
  readPullImageRequest,
  pullCredential(bytes) {
    const text = new TextDecoder().decode(bytes);
    const auth = { username: "", password: "", identityToken: "", registryToken: "" };
    return pullCredential({ ...auth, auth: text, serverAddress: text }, IMAGE);
  },
  HpackDecoder: (bytes) => new HpackDecoder().decode(bytes, () => {}),
  "reader of the client": (bytes) => reader().fromClient(bytes),
  "reader of the server": (bytes) => reader().fromServer(bytes),
};

/** Bytes that are expensive when repeated. */
export const WIRE_UNITS: readonly (readonly number[])[] = [
  [0],
  [255],
  [0x40],
  [0x80],
  [0xbe], // HPACK: the newest entry once more
  [0x3f, 0xe1, 0x1f],
  [10, 0],
  [10, 127],
  [8, 128],
  [0, 0, 1, 0, 0],
];

/** Creates a reader of a conversation between kubelet and containerd. */
export function reader(note: (note: CriNote) => void = () => {}) {
  return new CriConnectionReader({ cache: new PullCredentialCache({ now: () => 0 }), note });
}

/** Yields bytes of about a length: one unit repeated, after bytes that it can refer to. */
export function* growingBytes(): Generator<(n: number) => Uint8Array> {
  // HPACK: an entry with a value of 3,000 bytes, to which one byte can refer.
  const kept = [0x40, 0x01, 0x61, 0x7f, 0xb9, 0x16, ...new Array(3_000).fill(0x62)];
  for (const unit of WIRE_UNITS) {
    for (const before of [[], kept]) {
      yield (n) => {
        const bytes = new Uint8Array(Math.max(n, before.length));
        for (let i = 0; i < bytes.length; i++) bytes[i] = unit[i % unit.length] ?? 0;
        bytes.set(before);
        return bytes;
      };
    }
  }
}
