import { BUILD_INFO } from "../assets/mod.ts";
import { type Context, EXIT } from "./context.ts";

/** `version`: what this program is, and what it was built from. */
export function version({ host }: Context, output: string): number {
  const { version, commit } = BUILD_INFO;
  const denoVersion = BUILD_INFO.denoVersion || host.denoVersion;
  host.out(
    output === "json"
      ? JSON.stringify({ version, commit, denoVersion }) + "\n"
      : `nydus-auth-agent ${version} (commit ${commit}, deno ${denoVersion})\n`,
  );
  return EXIT.ok;
}
