/** Encodes valid and invalid protobuf messages of CRI. */
import { joined } from "./http2_peer.ts";

export function varint(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push(left % 128 | 128);
  return [...bytes, left];
}

/** Encodes a length-delimited field. */
export function field(number: number, content: string | Uint8Array): Uint8Array {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  return joined(varint(number * 8 + 2), varint(bytes.length), bytes);
}

/** Encodes a field of wire type 0. */
export function numberField(number: number, value: number): Uint8Array {
  return joined(varint(number * 8), varint(value));
}

export interface AuthText {
  readonly username?: string;
  readonly password?: string;
  readonly auth?: string;
  readonly serverAddress?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
}

export interface PodText {
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
}

/** Encodes a `PullImageRequest`; proto3 omits empty strings. */
export function pullImageRequest(
  { image, auth, pod, extra }: {
    readonly image: string;
    readonly auth?: AuthText;
    readonly pod?: PodText;
    readonly extra?: Uint8Array;
  },
): Uint8Array {
  const texts = auth && [
    auth.username,
    auth.password,
    auth.auth,
    auth.serverAddress,
    auth.identityToken,
    auth.registryToken,
  ];
  const authFields = texts?.map((text = "", i) => text === "" ? [] : field(i + 1, text));
  const metadata = pod && joined(
    field(1, pod.name),
    field(2, pod.uid),
    field(3, pod.namespace),
    numberField(4, 2),
  );
  return joined(
    field(1, field(1, image)),
    authFields ? field(2, joined(...authFields)) : [],
    metadata ? field(3, joined(field(1, metadata), extra ?? [])) : [],
  );
}

export function removeImageRequest(image: string): Uint8Array {
  return field(1, field(1, image));
}

export function pullImageResponse(imageId: string): Uint8Array {
  return field(1, imageId);
}
