import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { AgentEvent } from "../../../lib/model/mod.ts";
import { AgentMetrics } from "../../../lib/observability/mod.ts";
import { EVENTS, IMAGE } from "./events.ts";
import { daemonOf, imageOf, mountOf, NOW_MS, PROCESS, statusOf } from "./status_of.ts";

const CANARY = "hunter2-canary";
/** An image whose name contains syntax of the exposition format. */
const HOSTILE_IMAGE = 'registry.example/hostile"} 1\nfake_total 7\\';

/** Free text of events. */
const FREE_TEXT = { detail: CANARY, text: CANARY, fingerprint: CANARY };

/** Returns metrics after every kind of event, with every kind of series. */
function busyMetrics(): AgentMetrics {
  const times = { expiresAtMs: NOW_MS + 60_000, refreshAtMs: NOW_MS, renewedAtMs: NOW_MS };
  const mounts = [mountOf("1"), mountOf("2")];
  const status = statusOf({
    images: [imageOf(IMAGE, { ...times, nextAttemptAtMs: NOW_MS }), imageOf(HOSTILE_IMAGE, times)],
    daemons: [daemonOf("a", mounts), daemonOf("b", mounts, { state: "unresponsive" })],
  });
  const metrics = new AgentMetrics({
    status: () => status,
    build: { version: "1.2.3", commit: "abc1234", deno: "2.9.6" },
    now: () => NOW_MS,
    process: PROCESS,
  });
  for (const event of Object.values(EVENTS)) {
    const marked: AgentEvent & Record<string, unknown> = { ...event };
    metrics.notify({ ...marked, ...FREE_TEXT });
  }
  metrics.notify({ ...EVENTS["credential-renewed"], image: HOSTILE_IMAGE });
  return metrics;
}

interface Family {
  readonly type: string;
  readonly samples: { readonly name: string; readonly series: string; readonly value: number }[];
}

const SAMPLE = /^([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)$/;

/** Parses metrics as strictly as a linter: HELP, TYPE, then the samples of that family. */
function parsePage(body: string): Map<string, Family> {
  const families = new Map<string, Family>();
  let helped = "";
  let current = "";
  for (const line of body.split("\n").filter((line) => line !== "")) {
    const [, keyword, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (keyword === "HELP") helped = name;
    else if (keyword === "TYPE") {
      equal(name, helped, "HELP precedes TYPE");
      ok(!families.has(name), `${name} is a duplicate`);
      families.set(name, { type: rest, samples: [] });
      current = name;
    } else {
      const [, sample = "", labels = "", value = ""] = SAMPLE.exec(line) ?? [];
      ok(sample !== "", `not a sample: ${line}`);
      equal(sample.replace(/_(?:total|bucket|sum|count)$/, ""), current.replace(/_total$/, ""));
      const number = value === "+Inf" ? Infinity : Number(value);
      ok(!Number.isNaN(number), line);
      families.get(current)?.samples.push({ name: sample, series: sample + labels, value: number });
    }
  }
  return families;
}

Deno.test("AgentMetrics.page: passes the rules of a linter", async () => {
  const families = parsePage((await busyMetrics().page()).body);
  const series = [...families.values()].flatMap(({ samples }) => samples.map((s) => s.series));
  equal(new Set(series).size, series.length, "no duplicate series");
  for (const [name, { type, samples }] of families) {
    match(type, /^(?:counter|gauge|histogram)$/);
    ok(type !== "gauge" || !name.endsWith("_total"), name);
    for (const sample of samples) {
      if (type === "counter") ok(sample.name.endsWith("_total") && sample.value >= 0, name);
    }
    if (type === "histogram") checkHistogram(name, samples);
  }
});

function checkHistogram(name: string, samples: Family["samples"]): void {
  const buckets = samples.filter((sample) => sample.name === `${name}_bucket`);
  const bySeries = Map.groupBy(buckets, ({ series }) => series.replace(/le="[^"]*",?/, ""));
  for (const group of bySeries.values()) {
    const values = group.map(({ value }) => value);
    deepEqual(values, values.toSorted((a, b) => a - b), `${name} is cumulative`);
    match(group.at(-1)?.series ?? "", /le="\+Inf"/);
  }
  const counts = samples.filter((sample) => sample.name === `${name}_count`);
  equal(bySeries.size, counts.length, name);
}

Deno.test("AgentMetrics.page: escapes label values and exports no free text", async () => {
  const { body } = await busyMetrics().page();
  ok(!body.split("\n").some((line) => line.startsWith("fake_total")));
  ok(body.includes('image_ref="registry.example/hostile\\"} 1\\nfake_total 7\\\\"'));
  ok(!body.includes(CANARY));
});
