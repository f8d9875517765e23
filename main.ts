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
// Not by an empty event loop: a write to a peer that does not read would keep the process running.
Deno.exit(exitCode);
