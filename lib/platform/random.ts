import type { Random } from "../model/mod.ts";

/** The runtime's own random numbers: for spreading load, not for secrets. */
export const systemRandom: Random = { next: () => Math.random() };
