import { runProgram } from "./lib/cli/mod.ts";
import * as edge from "./lib/edge/mod.ts";

Deno.exitCode = await runProgram({
  host: edge.systemHost(),
  clock: edge.systemClock,
  random: edge.systemRandom,
  files: edge.systemFiles,
  processRunner: edge.systemProcessRunner(edge.systemClock),
  mainUrl: import.meta.url,
});
