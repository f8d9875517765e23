import { type Credential, type ImageReference, parseImageTarget } from "../../model/mod.ts";
import { credentialsOf, type DockerConfig } from "./docker_config.ts";
import { SecretKeyring } from "./secret_keyring.ts";

/** An entry of `auths`, and what it holds. */
interface AuthEntry {
  readonly key: string;
  readonly credentials: readonly Credential[];
}

/** One for each configuration: compiled when it is read, not at every question. */
const keyrings = new WeakMap<DockerConfig, SecretKeyring<ReturnType<typeof secretOf>>>();

/**
 * The entries for an image as the kubelet finds them in the same file, the most specific key first:
 * keys with a path, and with wildcards. Docker knows hosts alone and takes one entry; where that is
 * refused, another may serve.
 */
export function otherAuths(
  config: DockerConfig,
  { text }: ImageReference,
  taken: string,
): readonly AuthEntry[] {
  if (config.auths.size < 2) return [];
  const keyring = keyrings.get(config) ?? new SecretKeyring([secretOf(config)]);
  keyrings.set(config, keyring);
  try {
    return keyring.find(parseImageTarget(text)).map(({ entry }) => entry)
      .filter(({ key }) => key !== taken);
  } catch {
    return []; // what does not parse matches no key
  }
}

function secretOf({ auths }: DockerConfig) {
  const entries = [...auths].map(([key, auth]) => ({ key, credentials: credentialsOf(auth) }));
  return { namespace: "", name: "", entries, problems: [] };
}
