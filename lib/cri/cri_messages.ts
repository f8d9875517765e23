import { defined } from "../model/mod.ts";
import { messageField, readFields, stringField, type WireField } from "./protobuf.ts";

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
 * same field numbers). Returns undefined if it is malformed.
 */
export function readPullImageRequest(message: Uint8Array): PullImageRequest | undefined {
  const request = readFields(message);
  const image = request && readImage(request);
  const auth = request && messageField(request, 2);
  const sandbox = request && messageField(request, 3);
  const authConfig = auth && readAuthConfig(auth);
  const metadata = sandbox && messageField(sandbox, 1);
  if (image === undefined || authConfig === undefined || metadata === undefined) return undefined;
  const pod = readPod(metadata);
  return defined({ image, auth: authConfig, pod });
}

/** Reads the image or ID of a `RemoveImageRequest`. Returns undefined if it is malformed. */
export function readRemoveImageRequest(message: Uint8Array): string | undefined {
  const request = readFields(message);
  return request && readImage(request);
}

/** Reads the image ID (`image_ref`) of a `PullImageResponse`. Returns undefined without one. */
export function readPullImageResponse(message: Uint8Array): string | undefined {
  const response = readFields(message);
  const imageId = response && stringField(response, 1);
  return imageId === undefined || imageId === "" || imageId.length > MAX_IMAGE_ID
    ? undefined
    : imageId;
}

/** Reads `ImageSpec image = 1 { string image = 1 }`, which both requests have. */
function readImage(request: readonly WireField[]): string | undefined {
  const spec = messageField(request, 1);
  return spec && stringField(spec, 1);
}

function readAuthConfig(fields: readonly WireField[]): AuthConfig | undefined {
  const [username, password, auth, serverAddress, identityToken, registryToken] = [1, 2, 3, 4, 5, 6]
    .map((number) => stringField(fields, number));
  if (
    username === undefined || password === undefined || auth === undefined ||
    serverAddress === undefined || identityToken === undefined || registryToken === undefined
  ) return undefined;
  return { username, password, auth, serverAddress, identityToken, registryToken };
}

/** Reads `PodSandboxMetadata`. An invalid pod is ignored; the credential is still used. */
function readPod(metadata: readonly WireField[]): PodIdentity | undefined {
  const name = stringField(metadata, 1) ?? "";
  const uid = stringField(metadata, 2) ?? "";
  const namespace = stringField(metadata, 3) ?? "";
  if (name === "" || namespace === "") return undefined;
  if ([name, uid, namespace].some((text) => text.length > MAX_POD_TEXT)) return undefined;
  return { name, namespace, uid };
}
