/** Runs one simulated nydusd as a process, for tests that have no whole program at hand. */
import { runSimDaemon } from "./daemon_process.ts";

if (import.meta.main) Deno.exit(await runSimDaemon(Deno.args.slice(1)));
