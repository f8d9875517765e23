import type { AgentConfig } from "../config/mod.ts";
import {
  formatDuration,
  type ImageForecast,
  messageOf,
  type OutageForecast,
} from "../model/mod.ts";
import { placeOf } from "../report/mod.ts";
import { type Context, EXIT } from "./context.ts";
import { getFromAgent } from "./status_answer.ts";
import { alignColumns, printable } from "./table.ts";

/**
 * `status --if-source-down`: asks the running agent what an outage of every source would bring.
 * Exit code 0 when no read would fail, 3 when some would, 1 when no agent answers.
 */
export async function tellOutage(
  context: Context,
  config: AgentConfig,
  downMs: number,
  output: string,
): Promise<number> {
  const { host } = context;
  let forecast: OutageForecast;
  try {
    forecast = await getFromAgent(config, `/v1/forecast?source_down=${downMs}ms`);
  } catch (error) {
    host.err(`${printable(messageOf(error))}\n`);
    return EXIT.failed;
  }
  const sentence = outageSentence(forecast);
  host.out(
    output === "json"
      ? `${JSON.stringify({ sentence, ...forecast }, null, 2)}\n`
      : `${sentence}\n\n${outageTable(forecast)}`,
  );
  return failing(forecast).length > 0 ? EXIT.warning : EXIT.ok;
}

/** The answer in one sentence: does it hold, and if not, what fails first and when. */
export function outageSentence(forecast: OutageForecast): string {
  const { images, downMs, nowMs } = forecast;
  const premise = `if every source were silent for ${formatDuration(downMs)} from now on`;
  const mounts = mountsOf(images);
  const failed = failing(forecast);
  const unknown = mountsOf(images.filter(({ readsEndAtMs }) => readsEndAtMs === undefined));
  const rest = unknown === 0 ? "" : `; of ${unknown} no end is known`;
  const [first] = failed;
  if (first === undefined) return `${premise}, all ${mounts} mounts would go on reading${rest}`;
  const inMs = Math.max(0, (first.readsEndAtMs ?? nowMs) - nowMs);
  const longestMs = Math.max(...failed.map(({ failingMs = 0 }) => failingMs));
  return `${premise}, ${mountsOf(failed)} of ${mounts} mounts would fail to read, the first in ` +
    `${formatDuration(inMs)} (${printable(placeOf(first))}), for ${formatDuration(longestMs)} at ` +
    `the longest${rest}`;
}

/** What would fail, the first one first. */
function failing({ images }: OutageForecast): ImageForecast[] {
  return images.filter(({ failingMs }) => failingMs !== undefined).sort(bySoonest);
}

function bySoonest(a: ImageForecast, b: ImageForecast): number {
  const [one, other] = [a.readsEndAtMs ?? Infinity, b.readsEndAtMs ?? Infinity];
  return one === other ? 0 : one < other ? -1 : 1;
}

function mountsOf(images: readonly ImageForecast[]): number {
  return images.reduce((sum, { mounts }) => sum + mounts, 0);
}

function outageTable({ images, nowMs }: OutageForecast): string {
  const rows = images.toSorted(bySoonest).map((image) => [
    printable(placeOf(image)),
    String(image.mounts),
    image.readsEndAtMs === undefined
      ? "no end known"
      : `${inWords(image.readsEndAtMs - nowMs)}${image.readsEndLearned ? " (learned)" : ""}`,
    String(image.failures),
    image.renewedByMs === undefined ? "when it changes" : inWords(image.renewedByMs - nowMs),
    image.failingMs === undefined ? "-" : formatDuration(image.failingMs),
  ]);
  const header = ["IMAGE", "MOUNTS", "READS END", "TRIES", "RENEWED BY", "FAILS FOR AT MOST"];
  return alignColumns([header, ...rows]);
}

function inWords(ms: number): string {
  return ms < 0 ? `${formatDuration(-ms)} ago` : `in ${formatDuration(ms)}`;
}
