import { runProgram } from "./lib/cli/mod.ts";
import * as edge from "./lib/platform/mod.ts";

const exitCode = await runProgram({
  host: edge.systemHost(),
  clock: edge.systemClock,
  random: edge.systemRandom,
  files: edge.systemFiles,
  processRunner: edge.systemProcessRunner(edge.systemClock),
  mainUrl: import.meta.url,
});
// Everything is closed. What still runs (a lookup of a name, a write to a peer that does not read)
// must not delay a stop.
Deno.exit(exitCode);
