import { runProgram } from "./lib/cli/mod.ts";
import * as platform from "./lib/platform/mod.ts";

const exitCode = await runProgram({
  host: platform.systemHost(),
  clock: platform.systemClock,
  random: platform.systemRandom,
  files: platform.systemFiles,
  processRunner: platform.systemProcessRunner(platform.systemClock),
  mainUrl: import.meta.url,
});
// All resources are closed. Pending system calls, such as a DNS lookup, must not delay the exit.
Deno.exit(exitCode);
