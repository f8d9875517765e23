import { join } from "@std/path";
import { type Plot, svgOf } from "../lib/svg_plot.ts";
import { bootBoundMs } from "./claims.ts";
import type { FleetRun } from "./fleet.ts";

const HOUR_S = 3_600;

/** Writes what a person wants to see of the runs: a boot, a day, an outage. */
export async function writePlots(runs: readonly FleetRun[], folder: string): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const days = runs.filter(({ options: { outage, limits } }) =>
    outage === undefined && limits.retryAfterMs === undefined
  );
  const shared = days.filter(({ options: { source } }) => source.place === "shared");
  const outages = runs.filter(({ options: { outage, source } }) =>
    outage !== undefined && source.place === "shared"
  );
  const plots: Record<string, Plot> = {
    "fleet-boot": bootPlot(shared),
    "fleet-day": ratePlot(days, { fromS: HOUR_S / 2, untilS: 24 * HOUR_S, windowS: 600 }),
    "fleet-outage": {
      ...ratePlot(outages, { fromS: 12.5 * HOUR_S, untilS: 16 * HOUR_S, windowS: 60 }),
      title: "An outage of an hour, from 13 h on: calls a second, over a minute",
      levels: [{ y: 30, name: "1.5 times the capacity" }],
    },
  };
  for (const [name, plot] of Object.entries(plots)) {
    await Deno.writeTextFile(join(folder, `${name}.svg`), svgOf(plot));
  }
}

/** Nodes that have their first credential, over the time since a common boot. */
function bootPlot(runs: readonly FleetRun[]): Plot {
  const bound = (run: FleetRun) => {
    const { nodes, limits } = run.options;
    const boundS = bootBoundMs(run) / 1_000;
    return [[0, limits.burst], [boundS, nodes]] as const;
  };
  const [first] = runs;
  return {
    title: "A common boot: nodes served",
    xLabel: "seconds since the boot",
    yLabel: "nodes",
    series: [
      ...runs.map((run) => ({
        name: run.options.source.name,
        points: [...quantiles(run.servedAtMs)],
      })),
      ...(first === undefined ? [] : [{ name: "what the bucket allows", points: bound(first) }]),
    ],
  };
}

function* quantiles(servedAtMs: readonly number[]): Generator<[number, number]> {
  const step = Math.max(1, Math.floor(servedAtMs.length / 200));
  for (let i = 0; i < servedAtMs.length; i += step) {
    yield [Math.round((servedAtMs[i] ?? 0) / 100) / 10, i + 1];
  }
  yield [Math.round((servedAtMs.at(-1) ?? 0) / 100) / 10, servedAtMs.length];
}

function ratePlot(
  runs: readonly FleetRun[],
  { fromS, untilS, windowS }: {
    readonly fromS: number;
    readonly untilS: number;
    readonly windowS: number;
  },
): Plot {
  return {
    title: "A day after a common boot: executions a second, over ten minutes",
    xLabel: "hours since the boot",
    yLabel: "1/s",
    series: runs.map(({ asked, options: { source } }) => ({
      name: source.name,
      points: [...rates(asked, { fromS, untilS, windowS })],
    })),
  };
}

function* rates(
  counts: Uint32Array,
  { fromS, untilS, windowS }: {
    readonly fromS: number;
    readonly untilS: number;
    readonly windowS: number;
  },
): Generator<[number, number]> {
  for (let atS = fromS; atS + windowS <= untilS; atS += windowS) {
    const count = counts.subarray(atS, atS + windowS).reduce((sum, value) => sum + value, 0);
    yield [(atS + windowS / 2) / HOUR_S, count / windowS];
  }
}
