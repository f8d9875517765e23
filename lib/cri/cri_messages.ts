import { messageField, readFields, stringField, type WireField } from "./protobuf.ts";
import type { PodIdentity } from "./pull.ts";

/** `runtime.v1.AuthConfig`; a field that is not set is empty. Holds secrets: never print it. */
export interface AuthConfig {
  readonly username: string;
  readonly password: string;
  /** Base64 of `username:password`. */
  readonly auth: string;
  readonly serverAddress: string;
  readonly identityToken: string;
  readonly registryToken: string;
}

/** What is read of a `PullImageRequest`. */
export interface PullImageRequest {
  /** As the client wrote it. */
  readonly image: string;
  readonly auth: AuthConfig;
  /** Undefined when the pull is for no pod, or its names are absurd. */
  readonly pod?: PodIdentity;
}

/** Kubernetes' names have 253 characters at most. */
const MAX_POD_TEXT = 512;
/** An ID is a digest; CRI-O answers with a reference. */
const MAX_IMAGE_ID = 512;

/**
 * Reads a `PullImageRequest` (`k8s.io/cri-api` `pkg/apis/runtime/v1/api.proto`; `v1alpha2` has the
 * same numbers). Undefined when it is malformed.
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
  return { image, auth: authConfig, ...(pod && { pod }) };
}

/** The image of a `RemoveImageRequest`, which may be an ID. Undefined when it is malformed. */
export function readRemoveImageRequest(message: Uint8Array): string | undefined {
  const request = readFields(message);
  return request && readImage(request);
}

/** The ID that a `PullImageResponse` gives the image (`image_ref`); undefined without one. */
export function readPullImageResponse(message: Uint8Array): string | undefined {
  const response = readFields(message);
  const imageId = response && stringField(response, 1);
  return imageId === undefined || imageId === "" || imageId.length > MAX_IMAGE_ID
    ? undefined
    : imageId;
}

/** `ImageSpec image = 1 { string image = 1 }`, the same in both requests. */
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

/** `PodSandboxMetadata`. A pod that cannot be told is none: the credential counts all the same. */
function readPod(metadata: readonly WireField[]): PodIdentity | undefined {
  const name = stringField(metadata, 1) ?? "";
  const uid = stringField(metadata, 2) ?? "";
  const namespace = stringField(metadata, 3) ?? "";
  if (name === "" || namespace === "") return undefined;
  if ([name, uid, namespace].some((text) => text.length > MAX_POD_TEXT)) return undefined;
  return { name, namespace, uid };
}
