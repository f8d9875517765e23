import type { FaultStage } from "./stage.ts";

/** Makes it so; resolves with what mends it. Undefined: it cannot be made here. */
export type Begin = (stage: FaultStage) => Promise<(() => Promise<void> | void) | undefined>;

/** One thing that goes wrong, and its end. */
export interface Fault {
  readonly name: string;
  readonly begin: Begin;
  /** How long it lasts. */
  readonly lastsMs: number;
  /** Reads may fail while it lasts and shortly after: nobody could have kept them whole. */
  readonly spoilsReads?: true;
  /** It lays hands on the daemons' files itself. */
  readonly spoilsFiles?: true;
  /** The password stays while it lasts: setting another would mend it. */
  readonly keepsPassword?: true;
  /** The agent that was is not the one that is afterwards. */
  readonly endsAgent?: true;
  /** Takes a stage whose clock can be stepped. */
  readonly stepsClock?: true;
}

/** What else is to be said of a fault. */
type More = Omit<Fault, "name" | "begin" | "lastsMs">;

export function fault(name: string, lastsMs: number, begin: Begin, more: More = {}): Fault {
  return { name, lastsMs, begin, ...more };
}

/** The daemons of a stage. */
export const DAEMONS = ["d1", "s1", "d2"] as const;

/** What mends a fault that mends itself. */
export const NOTHING = () => {};
