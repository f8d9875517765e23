import type { FaultStage } from "./stage.ts";

/** Injects a fault; resolves to its remedy, or to undefined where it cannot be injected. */
export type Begin = (stage: FaultStage) => Promise<(() => Promise<void> | void) | undefined>;

/** A fault to inject. */
export interface Fault {
  readonly name: string;
  readonly begin: Begin;
  /** Time until the remedy. */
  readonly lastsMs: number;
  /** Reads may fail during the fault and shortly after: no agent could prevent it. */
  readonly failsReads?: true;
  /** The fault itself changes the daemons' configuration files. */
  readonly changesFiles?: true;
  /** The password does not rotate during the fault: rotation would be a remedy. */
  readonly keepsPassword?: true;
  /** The agent process is replaced. */
  readonly endsAgent?: true;
  /** Requires a stage whose clock can be stepped. */
  readonly stepsClock?: true;
}

/** Optional properties of a fault. */
type FaultOptions = Omit<Fault, "name" | "begin" | "lastsMs">;

export function fault(
  name: string,
  lastsMs: number,
  begin: Begin,
  options: FaultOptions = {},
): Fault {
  return { name, lastsMs, begin, ...options };
}

/** IDs of the daemons of a stage. */
export const DAEMONS = ["d1", "s1", "d2"] as const;

/** Remedy of a fault that needs none. */
export const NOTHING = () => {};
