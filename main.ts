import { runProgram } from "./lib/cli/mod.ts";
import { systemClock, systemFiles, systemHost, systemProcessRunner, systemRandom } from "./lib/edge/mod.ts";

Deno.exitCode = await runProgram({
  host: systemHost(),
  clock: systemClock,
  random: systemRandom,
  files: systemFiles,
  processRunner: systemProcessRunner(systemClock),
  mainUrl: import.meta.url,
});
