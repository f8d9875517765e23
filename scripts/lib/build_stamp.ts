import type { BuildInfo } from "../../lib/assets/build_info.ts";

/** The text in `lib/assets/build_info.ts` that stands for "run from source". */
export const DEVELOPMENT_STAMP = "nydus-auth-agent-build|development|development|";

/**
 * The bundle with the build's own values in place of the development ones.
 *
 * @throws {Error} when the bundle does not hold the stamp exactly once, or a value cannot stand
 * in it.
 */
export function stampBundle(bundle: string, info: BuildInfo): string {
  const values = [info.version, info.commit, info.denoVersion];
  const odd = values.find((value) => !/^[0-9A-Za-z.+_-]*$/.test(value));
  if (odd !== undefined) throw new Error(`stamp the bundle: "${odd}" cannot stand in it`);
  const parts = bundle.split(DEVELOPMENT_STAMP);
  if (parts.length !== 2) {
    throw new Error(`stamp the bundle: the stamp is there ${parts.length - 1} times, not once`);
  }
  return parts.join(["nydus-auth-agent-build", ...values].join("|"));
}
