import type { FleetRun } from "./fleet.ts";
export function writePlots(_runs: readonly FleetRun[], _folder: string): Promise<void> {
  return Promise.resolve();
}
