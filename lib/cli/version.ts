import { BUILD_INFO } from "../assets/mod.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";

/** `version`: what this program is, and what it was built from. */
export function version(context: Context, output: string): number {
  const { host } = context;
  const { version, commit } = BUILD_INFO;
  const denoVersion = BUILD_INFO.denoVersion || host.denoVersion;
  const json = JSON.stringify({ version, commit, denoVersion });
  host.out(`${output === "json" ? json : versionLine(context)}\n`);
  return EXIT.ok;
}

/** The version in one line. */
export function versionLine({ host }: Context): string {
  const { version, commit } = BUILD_INFO;
  const denoVersion = BUILD_INFO.denoVersion || host.denoVersion;
  return `nydus-auth-agent ${version} (commit ${commit}, deno ${denoVersion})`;
}
