import {
  type Credential,
  credentialFromPair,
  credentialSecret,
  credentialUsername,
  decodeRegistryAuth,
  defined,
  type ImageReference,
  isDockerHub,
  Secret,
} from "../model/mod.ts";
import { WireError } from "./http2_frames.ts";

/**
 * The length-delimited fields of a protobuf message by number: strings and nested messages. Of
 * several with one number, the last one counts.
 */
export type WireFields = ReadonlyMap<number, Uint8Array>;

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

const MAX_VARINT_BYTES = 10;
const MAX_FIELD_NUMBER = 2 ** 29 - 1;
/** Fields with higher numbers are skipped: nothing is read from them. */
const MAX_READ_NUMBER = 6;

/**
 * Reads the fields of a protobuf message, as views. Skips those of other wire types. Groups, which
 * the CRI does not use, are malformed.
 *
 * @throws {WireError}
 */
export function readFields(message: Uint8Array): WireFields {
  const fields = new Map<number, Uint8Array>();
  let at = 0;
  const take = (length: number): Uint8Array => {
    if (length > message.length - at) throw malformed();
    at += length;
    return message.subarray(at - length, at);
  };
  /** Exact up to 2^53, more than any valid length or key. */
  const varint = (): number => {
    let value = 0;
    for (let i = 0, scale = 1; i < MAX_VARINT_BYTES; i++, scale *= 128) {
      const [byte = 0] = take(1);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw malformed();
  };
  while (at < message.length) {
    const key = varint();
    const number = Math.floor(key / 8);
    if (number < 1 || number > MAX_FIELD_NUMBER) throw malformed();
    switch (key % 8) {
      case VARINT:
        varint();
        break;
      case FIXED64:
        take(8);
        break;
      case FIXED32:
        take(4);
        break;
      case LENGTH_DELIMITED: {
        const bytes = take(varint());
        if (number <= MAX_READ_NUMBER) fields.set(number, bytes);
        break;
      }
      default:
        throw malformed();
    }
  }
  return fields;
}

function malformed(): WireError {
  return new WireError("malformed-message");
}

/** Returns a string field; empty if it is missing. */
function stringField(fields: WireFields, number: number): string {
  const bytes = fields.get(number) ?? new Uint8Array(0);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw malformed();
  }
}

/** Returns the fields of a nested message; none if it is missing. */
function messageField(fields: WireFields, number: number): WireFields {
  return readFields(fields.get(number) ?? new Uint8Array(0));
}

/** The pod that an image was pulled for (`PodSandboxMetadata`). */
export interface PodIdentity {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

/** `runtime.v1.AuthConfig`; unset fields are empty. Contains secrets: never log it. */
export interface AuthConfig {
  readonly username: string;
  readonly password: string;
  /** Base64 of `username:password`. */
  readonly auth: string;
  readonly serverAddress: string;
  readonly identityToken: string;
  readonly registryToken: string;
}

/** The fields of a `PullImageRequest` that are used. */
export interface PullImageRequest {
  /** As sent by the client. */
  readonly image: string;
  readonly auth: AuthConfig;
  /** Undefined if the request has no pod, or its fields are too long. */
  readonly pod?: PodIdentity;
}

/** Names in Kubernetes have at most 253 characters. */
const MAX_POD_TEXT = 512;
/** An ID is a digest; CRI-O returns a reference. */
const MAX_IMAGE_ID = 512;

/**
 * Reads a `PullImageRequest` (`k8s.io/cri-api` `pkg/apis/runtime/v1/api.proto`; `v1alpha2` has the
 * same field numbers).
 *
 * @throws {WireError}
 */
export function readPullImageRequest(message: Uint8Array): PullImageRequest {
  const request = readFields(message);
  const auth = messageField(request, 2);
  const pod = readPod(messageField(messageField(request, 3), 1));
  return {
    image: readImage(request),
    auth: {
      username: stringField(auth, 1),
      password: stringField(auth, 2),
      auth: stringField(auth, 3),
      serverAddress: stringField(auth, 4),
      identityToken: stringField(auth, 5),
      registryToken: stringField(auth, 6),
    },
    ...defined({ pod }),
  };
}

/**
 * Reads the image or ID of a `RemoveImageRequest`.
 *
 * @throws {WireError}
 */
export function readRemoveImageRequest(message: Uint8Array): string {
  return readImage(readFields(message));
}

/**
 * Reads the image ID (`image_ref`) of a `PullImageResponse`. Returns undefined without one.
 *
 * @throws {WireError}
 */
export function readPullImageResponse(message: Uint8Array): string | undefined {
  const imageId = stringField(readFields(message), 1);
  return imageId === "" || imageId.length > MAX_IMAGE_ID ? undefined : imageId;
}

/** Reads `ImageSpec image = 1 { string image = 1 }`, which both requests have. */
function readImage(request: WireFields): string {
  return stringField(messageField(request, 1), 1);
}

/** Reads `PodSandboxMetadata`. An unusable pod is ignored; the credential is still used. */
function readPod(metadata: WireFields): PodIdentity | undefined {
  const pod = {
    name: stringField(metadata, 1),
    uid: stringField(metadata, 2),
    namespace: stringField(metadata, 3),
  };
  if (pod.name === "" || pod.namespace === "") return undefined;
  return Object.values(pod).some((text) => text.length > MAX_POD_TEXT) ? undefined : pod;
}

/** Limit of user name and secret together; nydusd accepts 51,200 bytes in base64. */
const MAX_CREDENTIAL_CHARS = 32 * 1_024;

/**
 * Returns the credential that a pull request contains for its image. The fields are tried in
 * containerd's order (`internal/cri/server/images/image_pull.go`, `ParseAuth`): user name and
 * password, identity token, encoded pair; then the registry token, which containerd does not use.
 * Unlike in containerd, a user name without a password does not hide the other fields, and server
 * addresses are compared by registry, regardless of their spelling.
 *
 * @returns undefined for an anonymous pull
 * @throws {WireError} if the credential is unusable
 */
export function pullCredential(auth: AuthConfig, image: ImageReference): Credential | undefined {
  const credential = credentialOf(auth);
  if (credential === undefined) return undefined;
  const { serverAddress } = auth;
  if (serverAddress !== "" && registryOf(serverAddress) !== registryOf(image.registry)) {
    throw new WireError("other-registry");
  }
  if (charsOf(credential) > MAX_CREDENTIAL_CHARS) throw new WireError("credential-too-large");
  return credential;
}

/** Returns the length of user name and secret. */
export function charsOf(credential: Credential): number {
  return credentialUsername(credential).length + credentialSecret(credential).reveal().length;
}

function credentialOf(auth: AuthConfig): Credential | undefined {
  const { username, password, identityToken, registryToken } = auth;
  if (username !== "" && password !== "") return credentialFromPair(username, password);
  if (identityToken !== "") {
    return { kind: "identity-token", username, token: new Secret(identityToken) };
  }
  return decodedCredential(auth.auth) ?? credentialFromPair("", registryToken);
}

function decodedCredential(auth: string): Credential | undefined {
  let decoded: Credential | undefined;
  try {
    decoded = decodeRegistryAuth(auth);
  } catch {
    throw new WireError("malformed-auth");
  }
  if (decoded === undefined) return undefined;
  // Fixed-length encoders append NULs to the password; containerd trims them too.
  const secret = credentialSecret(decoded).reveal().replace(/^\0+|\0+$/g, "");
  return credentialFromPair(credentialUsername(decoded), secret);
}

/**
 * Returns the registry of a server address: in lower case, without scheme, user, path and default
 * port, with one name for Docker Hub.
 */
export function registryOf(address: string): string {
  const parts = /^(?:([a-z][a-z0-9+.-]*):\/\/|\/\/)?([^/?#]*)/i.exec(address);
  const [, scheme = "", rest = ""] = parts ?? [];
  const host = rest.slice(rest.lastIndexOf("@") + 1).toLowerCase();
  const bare = host.replace(scheme.toLowerCase() === "http" ? /:80$/ : /:443$/, "");
  return isDockerHub(bare) ? "docker.io" : bare;
}
