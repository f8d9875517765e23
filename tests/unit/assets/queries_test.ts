import { deepEqual, equal, match, ok } from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "@std/path";
import { parse as parseYaml } from "yaml";
import { ASSETS } from "../../../lib/assets/mod.ts";
import { LABEL_VALUES, METRICS } from "../../../lib/observability/metrics.ts";

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: {
    readonly summary: string;
    readonly action: string;
    readonly runbook_url: string;
  };
}

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly targets: readonly { readonly expr: string }[];
}

function rules(): Rule[] {
  return parseYaml(ASSETS["prometheus-rules.yaml"].text).groups.flatMap(
    (group: { readonly rules: readonly Rule[] }) => group.rules,
  );
}

function panels(): Panel[] {
  return JSON.parse(ASSETS["grafana-dashboard.json"].text).panels;
}

Deno.test("prometheus-rules.yaml: has the eight alerts, each with a remedy and a runbook", async () => {
  deepEqual(rules().map((rule) => rule.alert), [
    "NydusCredentialAboutToExpire",
    "NydusCredentialExpired",
    "NydusCredentialDeliveryFailing",
    "NydusAuthAgentAbsent",
    "NydusCredentialPluginFailing",
    "NydusKubernetesWatchStale",
    "NydusAuthAgentDescriptorsExhausted",
    "NydusAuthAgentReconcileStuck",
  ]);
  const runbooks = await Deno.readTextFile(new URL("../../../docs/runbooks.md", import.meta.url));
  const sections = runbooks.split(/^## /m).slice(1);
  deepEqual(sections.map((text) => text.split("\n")[0]), rules().map(({ alert }) => alert));
  const tested = await Deno.readTextFile(
    new URL("../../alerts/rules.test.yaml", import.meta.url),
  );
  for (const { alert, annotations } of rules()) {
    ok(annotations.summary.length > 0, alert);
    ok(annotations.action.length > 0, alert);
    match(
      annotations.runbook_url,
      new RegExp(`^http://.*/docs/runbooks.md#${alert.toLowerCase()}$`),
    );
    const text = sections.find((section) => section.startsWith(alert)) ?? "";
    ok(/^- \*\*/m.test(text) && text.length > 400, `${alert} has a runbook`);
    const fires = new RegExp(`alertname: ${alert}\\n +exp_alerts:\\n +- exp_labels`);
    ok(fires.test(tested), `${alert}: has a test in which it fires`);
    ok(
      tested.includes(`alertname: ${alert}, exp_alerts: []`),
      `${alert}: has a test in which it does not fire`,
    );
  }
});

Deno.test("grafana-dashboard.json: the guide lists its panels", async () => {
  const guide = await Deno.readTextFile(
    new URL("../../../docs/guides/dashboards.md", import.meta.url),
  );
  const listed = [...guide.matchAll(/^\| ([A-Z].*?) +\|/gm)].map(([, title]) => title);
  deepEqual(listed, ["Panel", ...panels().map(({ title }) => title)]);
});

Deno.test("grafana-dashboard.json: has panels with queries and unique ids", () => {
  equal(new Set(panels().map((panel) => panel.id)).size, panels().length);
  for (const { title, targets } of panels()) {
    ok(targets.length > 0, title);
    for (const { expr } of targets) ok(expr.includes("instance"), title);
  }
});

const METRICS_BY_NAME = new Map<
  string,
  { readonly type: string; readonly labels: readonly string[] }
>(
  Object.values(METRICS).map((metric) => [metric.name, metric]),
);

function queries(): string[] {
  return [
    ...rules().map((rule) => rule.expr),
    ...panels().flatMap((panel) => panel.targets.map((target) => target.expr)),
    /label_values\([^)]*\)/.exec(ASSETS["grafana-dashboard.json"].text)?.[0] ?? "",
  ];
}

/** Returns the agent's metrics in a query, each with the labels of its selector. */
function selectors(query: string): { readonly metric: string; readonly labels: string[] }[] {
  const found = query.matchAll(/\b((?:snapshotter|nydus_auth_agent)_[a-z0-9_]+)(\{[^}]*\})?/g);
  return [...found].map(([, metric = "", selector = ""]) => ({
    metric,
    labels: [...selector.matchAll(/([a-z_]+)\s*=/g)].map((label) => label[1] ?? ""),
  }));
}

Deno.test("asset queries: use existing metrics and labels", () => {
  const used = queries().flatMap(selectors);
  ok(new Set(used.map(({ metric }) => metric)).size > 8);
  for (const { metric, labels } of used) {
    const histogram = metric.endsWith("_bucket");
    const served = METRICS_BY_NAME.get(metric.replace(/_bucket$/, ""));
    ok(served !== undefined, metric);
    equal(served.type === "histogram", histogram, metric);
    const known = ["instance", "job", ...served.labels];
    deepEqual(labels.filter((label) => !known.includes(label)), [], metric);
  }
});

/** PromQL keywords and functions. */
const WORDS = new Set(
  ("absent and bool by count histogram_quantile group_left group_right ignoring increase label_values " +
    "max max_over_time min offset on or rate sum time timestamp topk unless vector without").split(
      " ",
    ),
);
/** Metrics of Prometheus. */
const COMMON = ["up"];

/** Returns the metrics and labels in a query. */
function wordsOf(query: string): string[] {
  const bare = query.replace(/"[^"]*"/g, "").replace(/\[[^\]]*\]/g, "").replace(/\$\w+/g, "");
  return (bare.match(/[a-zA-Z_:][a-zA-Z0-9_:]*/g) ?? []).filter((word) => !WORDS.has(word));
}

Deno.test("asset queries: contain only PromQL keywords, existing metrics and their labels", () => {
  const labels = new Set([
    "instance",
    "job",
    "le",
    ...Object.values(METRICS).flatMap((m) => [...m.labels]),
  ]);
  const served = new Set([...METRICS_BY_NAME.keys(), ...COMMON]);
  for (const query of queries()) {
    const unknown = wordsOf(query).filter((word) =>
      !served.has(word.replace(/_bucket$/, "")) && !labels.has(word)
    );
    deepEqual(unknown, [], query);
    ok(wordsOf(query).some((word) => served.has(word.replace(/_bucket$/, ""))), query);
  }
  // Detects a misspelled metric.
  deepEqual(wordsOf('sum by (instance) (nydusd_auth_agent_instances{state="x"})'), [
    "instance",
    "nydusd_auth_agent_instances",
    "state",
  ]);
});

const PROMTOOL = (Deno.env.get("PATH") ?? "").split(":").map((dir) => join(dir, "promtool"))
  .find((path) => existsSync(path));

Deno.test({
  name: "asset queries: are accepted by Prometheus' parser",
  ignore: PROMTOOL === undefined,
  async fn() {
    // Grafana replaces its variables before it sends the query.
    const exprs = queries().filter((query) => !query.startsWith("label_values("))
      .map((query) => query.replaceAll("$instance", ".*"));
    const rules = exprs.map((expr, i) => ({ record: `query:${i}`, expr }));
    const file = await Deno.makeTempFile({ suffix: ".yaml" });
    try {
      await Deno.writeTextFile(file, JSON.stringify({ groups: [{ name: "g", rules }] }));
      const promtool = new Deno.Command(PROMTOOL ?? "", { args: ["check", "rules", file] });
      const { code, stderr } = await promtool.output();
      equal(code, 0, new TextDecoder().decode(stderr));
    } finally {
      await Deno.remove(file);
    }
  },
});

Deno.test("asset queries: calculate rates only of counters and histograms", () => {
  for (const query of queries()) {
    for (const [, metric = ""] of query.matchAll(/\b(?:rate|increase)\(([a-z0-9_]+)/g)) {
      const served = METRICS_BY_NAME.get(metric.replace(/_bucket$/, ""));
      ok(served?.type === "counter" || served?.type === "histogram", metric);
    }
  }
});

Deno.test("asset queries: use existing delivery states", () => {
  const states = queries().flatMap((query) => [...query.matchAll(/state=~"([^"]*)"/g)])
    .flatMap((match) => (match[1] ?? "").split("|"));
  ok(states.length > 0);
  const known: readonly string[] = LABEL_VALUES.deliveryStates;
  deepEqual(states.filter((state) => !known.includes(state)), []);
});
