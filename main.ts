import { runProgram } from "./lib/cli/mod.ts";
import * as edge from "./lib/edge/mod.ts";

const exitCode = await runProgram({
  host: edge.systemHost(),
  clock: edge.systemClock,
  random: edge.systemRandom,
  files: edge.systemFiles,
  processRunner: edge.systemProcessRunner(edge.systemClock),
  mainUrl: import.meta.url,
});
// Everything is closed; what still runs, such as a look-up of a name, must not delay a stop.
Deno.exit(exitCode);
