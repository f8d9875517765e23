import type { Clock, FileSystem, ProcessRunner, Random } from "../model/mod.ts";
import type { Host } from "./host.ts";

/** The ports that the agent and every command are given; nothing of them is a global. */
export interface Context {
  readonly host: Host;
  readonly clock: Clock;
  readonly random: Random;
  readonly files: FileSystem;
  readonly processRunner: ProcessRunner;
  /** URL of the program's entry, for starting it again. */
  readonly mainUrl: string;
}
