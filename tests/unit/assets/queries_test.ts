import { deepEqual, equal, ok } from "node:assert/strict";
import { parse as parseYaml } from "yaml";
import { asset } from "../../../lib/assets/mod.ts";
import { LABEL_VALUES } from "../../../lib/report/label_values.ts";
import { METRICS } from "../../../lib/report/metric_names.ts";

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
  return parseYaml(asset("prometheus-rules.yaml")).groups.flatMap(
    (group: { readonly rules: readonly Rule[] }) => group.rules,
  );
}

function panels(): Panel[] {
  return JSON.parse(asset("grafana-dashboard.json")).panels;
}

Deno.test("asset prometheus-rules.yaml has the seven alerts, each with what to do and a runbook", async () => {
  deepEqual(rules().map((rule) => rule.alert), [
    "NydusCredentialAboutToExpire",
    "NydusCredentialExpired",
    "NydusCredentialDeliveryFailing",
    "NydusAuthAgentAbsent",
    "NydusCredentialPluginFailing",
    "NydusKubernetesWatchStale",
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
    equal(annotations.runbook_url, `runbooks.md#${alert.toLowerCase()}`);
    const text = sections.find((section) => section.startsWith(alert)) ?? "";
    ok(/\*\*(?:Look|Mend)/.test(text) && text.length > 400, `${alert} has a runbook`);
    const fires = new RegExp(`alertname: ${alert}\\n +exp_alerts:\\n +- exp_labels`);
    ok(fires.test(tested), `${alert} is made to fire`);
    ok(tested.includes(`alertname: ${alert}, exp_alerts: []`), `${alert} is seen silent`);
  }
});

Deno.test("asset grafana-dashboard.json has panels with queries and ids of their own", () => {
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
    /label_values\([^)]*\)/.exec(asset("grafana-dashboard.json"))?.[0] ?? "",
  ];
}

/** Metrics of ours in a query, each with the labels that its selector names. */
function selectors(query: string): { readonly metric: string; readonly labels: string[] }[] {
  const found = query.matchAll(/\b((?:snapshotter|nydus_auth_agent)_[a-z0-9_]+)(\{[^}]*\})?/g);
  return [...found].map(([, metric = "", selector = ""]) => ({
    metric,
    labels: [...selector.matchAll(/([a-z_]+)\s*=/g)].map((label) => label[1] ?? ""),
  }));
}

Deno.test("asset queries ask for metrics and labels that are served", () => {
  const asked = queries().flatMap(selectors);
  ok(new Set(asked.map(({ metric }) => metric)).size > 8);
  for (const { metric, labels } of asked) {
    const histogram = metric.endsWith("_bucket");
    const served = METRICS_BY_NAME.get(metric.replace(/_bucket$/, ""));
    ok(served !== undefined, metric);
    equal(served.type === "histogram", histogram, metric);
    const known = ["instance", "job", ...served.labels];
    deepEqual(labels.filter((label) => !known.includes(label)), [], metric);
  }
});

Deno.test("asset queries take rates of counters and histograms only", () => {
  for (const query of queries()) {
    for (const [, metric = ""] of query.matchAll(/\b(?:rate|increase)\(([a-z0-9_]+)/g)) {
      const served = METRICS_BY_NAME.get(metric.replace(/_bucket$/, ""));
      ok(served?.type === "counter" || served?.type === "histogram", metric);
    }
  }
});

Deno.test("asset queries name delivery states that exist", () => {
  const states = queries().flatMap((query) => [...query.matchAll(/state=~"([^"]*)"/g)])
    .flatMap((match) => (match[1] ?? "").split("|"));
  ok(states.length > 0);
  const known: readonly string[] = LABEL_VALUES.deliveryStates;
  deepEqual(states.filter((state) => !known.includes(state)), []);
});
