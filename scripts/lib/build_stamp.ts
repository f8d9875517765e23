import type { BuildInfo } from "../../lib/assets/mod.ts";

/** The placeholder in `lib/assets/mod.ts`, which means "run from source". */
export const DEVELOPMENT_STAMP = "nydus-auth-agent-build|development|development|";

/**
 * Replaces the placeholder in the bundle with the values of the build.
 *
 * @throws {Error} when the bundle does not contain the placeholder exactly once, or a value has an
 * unsupported character.
 */
export function stampBundle(bundle: string, info: BuildInfo): string {
  const values = [info.version, info.commit, info.denoVersion];
  const invalid = values.find((value) => !/^[0-9A-Za-z.+_-]*$/.test(value));
  if (invalid !== undefined) {
    throw new Error(`failed to stamp the bundle: unsupported value "${invalid}"`);
  }
  const parts = bundle.split(DEVELOPMENT_STAMP);
  if (parts.length !== 2) {
    throw new Error(`failed to stamp the bundle: found ${parts.length - 1} times instead of once`);
  }
  return parts.join(["nydus-auth-agent-build", ...values].join("|"));
}
