import { deepEqual, doesNotMatch, equal, ok } from "node:assert/strict";
import type { AgentStatus } from "../../../lib/model/mod.ts";
import { METRICS } from "../../../lib/observability/metrics.ts";
import { AgentMetrics } from "../../../lib/observability/mod.ts";
import { EVENTS } from "./events.ts";
import { daemonOf, imageOf, mountOf, NOW_MS, PROCESS, statusOf } from "./status_of.ts";

const IMAGE = "registry.example/app:1";

function metricsOf(status: () => AgentStatus = () => statusOf()): AgentMetrics {
  return new AgentMetrics({
    status,
    build: { version: "1.2.3", commit: "abc1234", deno: "2.9.6" },
    now: () => NOW_MS,
    process: PROCESS,
  });
}

async function linesOf(metrics: AgentMetrics): Promise<string[]> {
  return (await metrics.page()).body.split("\n");
}

Deno.test("METRICS: has unique names, and counters end in _total", () => {
  const metrics = Object.values(METRICS);
  equal(new Set(metrics.map(({ name }) => name)).size, metrics.length);
  for (const { name, type } of metrics) equal(name.endsWith("_total"), type === "counter", name);
});

Deno.test("AgentMetrics.page: exports every metric, and label values of closed sets from the start", async () => {
  const lines = await linesOf(metricsOf());
  for (const { name, type } of Object.values(METRICS)) {
    ok(lines.some((line) => line.startsWith(`# HELP ${name} `)), name);
    ok(lines.includes(`# TYPE ${name} ${type}`), name);
  }
  for (
    const line of [
      'nydus_auth_agent_provider_requests_total{provider="kubelet"} 0',
      'nydus_auth_agent_provider_failures_total{provider="docker",reason="helper-timeout"} 0',
      'nydus_auth_agent_provider_failures_total{provider="kubelet",reason="plugin-failed"} 0',
      'nydus_auth_agent_provider_failures_total{provider="labels",reason="internal-error"} 0',
      'nydus_auth_agent_deliveries_total{result="rejected"} 0',
      "nydus_auth_agent_delivery_failures_total 0",
      'nydus_auth_agent_instances{state="refused"} 0',
      'nydus_auth_agent_daemons{state="unresponsive"} 0',
      'nydus_auth_agent_build_info{version="1.2.3",commit="abc1234",deno="2.9.6"} 1',
      "process_resident_memory_bytes 4096",
      `process_start_time_seconds ${NOW_MS / 1000 - 3_600}`,
      "process_cpu_seconds_total 2.5",
      "process_open_fds 21",
      "process_max_fds 1024",
      "nydus_auth_agent_event_loop_delay_seconds_count 0",
    ]
  ) ok(lines.includes(line), line);
  const reasons = lines.filter((line) => /_failures_total\{.*reason=/.test(line)).join("\n");
  doesNotMatch(reasons, /provider="(?:labels|cri|docker|kubesecret)",reason="plugin-/);
  doesNotMatch(reasons, /provider="(?:labels|cri|kubelet|kubesecret)",reason="helper-/);
  doesNotMatch(reasons, /reason="(?:found|no-config-file|anonymous-entry)"/);
});

Deno.test("AgentMetrics.page: exports no series for an unknown time", async () => {
  const { lastReconcileAtMs: _, ...before } = statusOf();
  const lines = await linesOf(metricsOf(() => before));
  for (
    const name of ["reconcile_last_timestamp_seconds", "config_last_reload_timestamp_seconds"]
  ) ok(!lines.some((line) => line.startsWith(`nydus_auth_agent_${name} `)), name);
  ok(!lines.some((line) => line.startsWith("nydus_auth_agent_outage_tolerance_seconds ")));
});

Deno.test("AgentMetrics.page: exports no duplicate series for two mounts of an image", async () => {
  const status = statusOf({
    images: [imageOf(IMAGE, { expiresAtMs: NOW_MS + 60_000, refreshAtMs: NOW_MS + 1_000 })],
    daemons: [
      daemonOf("d1", [mountOf("1"), { ...mountOf("2"), readsFailAtMs: NOW_MS + 60_000 }]),
      daemonOf("d2", [mountOf("1")]),
    ],
  });
  const metrics = metricsOf(() => status);
  for (const provider of ["kubelet", "docker"] as const) {
    const renewed = { kind: "credential-renewed", image: IMAGE, provider } as const;
    metrics.notify({ ...renewed, changed: true, fingerprint: "00000000" });
  }
  const series = (await linesOf(metrics)).filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.slice(0, line.lastIndexOf(" ")));
  equal(new Set(series).size, series.length);
  const lines = await linesOf(metrics);
  ok(lines.includes('nydus_auth_agent_instances{state="in-use"} 3'));
  ok(lines.includes(`snapshotter_credential_store_entries{image_ref="${IMAGE}"} 1`));
  ok(lines.includes(
    `snapshotter_credential_renewals_total{image_ref="${IMAGE}",result="success"} 2`,
  ));
  ok(lines.includes("nydus_auth_agent_outage_tolerance_seconds 60"));
});

Deno.test("AgentMetrics: removes the series of an image that is no longer mounted", async () => {
  let images = [imageOf(IMAGE, { expiresAtMs: NOW_MS + 60_000, renewedAtMs: NOW_MS })];
  const metrics = metricsOf(() => statusOf({ images }));
  ok((await linesOf(metrics)).some((line) => line.includes(IMAGE)));
  images = [];
  metrics.notify({ kind: "credential-evicted", image: IMAGE });
  ok(!(await linesOf(metrics)).some((line) => line.includes(IMAGE)));
  // A renewal that was in progress must not add the series again.
  metrics.notify({
    kind: "renewal-failed",
    image: IMAGE,
    reason: "plugin-failed",
    detail: "",
    expired: false,
    nextAttemptAtMs: NOW_MS,
  });
  ok(!(await linesOf(metrics)).some((line) => line.includes(IMAGE)));
});

Deno.test("AgentMetrics: an adopted credential is not in the store", async () => {
  const images = [imageOf(IMAGE, { provider: "adopted", renewedAtMs: NOW_MS })];
  const lines = await linesOf(metricsOf(() => statusOf({ images })));
  ok(!lines.some((line) => line.startsWith("snapshotter_credential_store_entries{")));
  ok(!lines.some((line) => line.includes("last_success_timestamp_seconds{")));
});

Deno.test("AgentMetrics.notify: counts totals and failures separately", async () => {
  const metrics = metricsOf();
  const request = { kind: "provider-queried", provider: "kubelet", image: IMAGE } as const;
  metrics.notify({ ...request, outcome: "none", reason: "plugin-not-matched", durationMs: 2 });
  metrics.notify({ ...request, outcome: "failed", reason: "plugin-failed", durationMs: 2_000 });
  const executed = { kind: "plugin-executed", provider: "kubelet", plugin: "ecr" } as const;
  for (const result of ["success", "none", "failure", "timeout"] as const) {
    metrics.notify({ ...executed, result, durationMs: 40 });
  }
  const attempted = { daemonId: "d", snapshotId: "1", image: IMAGE, durationMs: 1 } as const;
  const unchanged = { kind: "unchanged" } as const;
  for (
    const outcome of [
      { kind: "delivered", file: unchanged },
      { kind: "rejected", file: unchanged, detail: "500" },
      { kind: "delivered", file: { kind: "failed", detail: "read-only" } },
    ] as const
  ) metrics.notify({ kind: "delivery-attempted", ...attempted, outcome });
  metrics.notify({ kind: "discovery-problem", source: "system-api", subject: "s", detail: "d" });
  metrics.notify({ kind: "discovery-problem", source: "x\n", subject: "s", detail: "d" });
  metrics.notify(EVENTS["registry-probed"]);
  metrics.notify({ kind: "config-loaded", hash: "old", files: [] });
  metrics.notify({ kind: "config-loaded", hash: "new", files: [] });
  metrics.notify({ kind: "config-refused", problems: [] });
  const lines = await linesOf(metrics);
  for (
    const line of [
      'provider_requests_total{provider="kubelet"} 2',
      'provider_failures_total{provider="kubelet",reason="plugin-failed"} 1',
      'provider_failures_total{provider="kubelet",reason="plugin-timeout"} 0',
      'provider_request_duration_seconds_bucket{le="0.005",provider="kubelet"} 1',
      'provider_request_duration_seconds_count{provider="kubelet"} 2',
      'registry_probes_total{verdict="refused"} 1',
      'plugin_executions_total{plugin="ecr"} 4',
      'plugin_execution_failures_total{plugin="ecr"} 2',
      'deliveries_total{result="delivered"} 2',
      "delivery_failures_total 2",
      'discovery_problems_total{source="system-api"} 1',
      'discovery_problems_total{source="other"} 1',
      'config_info{hash="new"} 1',
      `config_last_reload_timestamp_seconds ${NOW_MS / 1000}`,
      "config_reload_failures_total 1",
    ]
  ) ok(lines.includes(`nydus_auth_agent_${line}`), line);
  ok(!lines.some((line) => line.includes('hash="old"')));
});

Deno.test("AgentMetrics: an image with two endpoints has one series with the worst value", async () => {
  const images = [
    imageOf(IMAGE, { expiresAtMs: NOW_MS + 9_000, renewedAtMs: NOW_MS - 1_000 }),
    imageOf(IMAGE, {
      endpoint: "mirror:5000/app:1",
      expiresAtMs: NOW_MS + 5_000,
      renewedAtMs: NOW_MS - 2_000,
      nextAttemptAtMs: NOW_MS + 3_000,
    }),
  ];
  let current = images;
  const metrics = metricsOf(() => statusOf({ images: current }));
  const renewal = { kind: "credential-renewed", image: IMAGE, provider: "docker" } as const;
  metrics.notify({ ...renewal, changed: true, fingerprint: "a" });
  metrics.notify({ ...renewal, endpoint: "mirror:5000/app:1", changed: true, fingerprint: "b" });
  const valueOf = async (series: string) =>
    (await linesOf(metrics)).filter((line) => line.startsWith(series))
      .map((line) => Number(line.split(" ").at(-1)));
  const label = `{image_ref="${IMAGE}"}`;
  const own = "nydus_auth_agent_credential_";
  deepEqual(await valueOf(`snapshotter_credential_store_entries${label}`), [1]);
  deepEqual(await valueOf(`${own}expiry_timestamp_seconds`), [(NOW_MS + 5_000) / 1000]);
  deepEqual(await valueOf(`${own}last_success_timestamp_seconds`), [(NOW_MS - 2_000) / 1000]);
  deepEqual(await valueOf(`${own}renewal_due_timestamp_seconds`), [(NOW_MS + 3_000) / 1000]);
  const renewals = `snapshotter_credential_renewals_total{image_ref="${IMAGE}",result="success"}`;
  deepEqual(await valueOf(renewals), [2]);
  // One endpoint is gone, the image is still mounted.
  current = images.slice(0, 1);
  metrics.notify({ kind: "credential-evicted", image: IMAGE, endpoint: "mirror:5000/app:1" });
  deepEqual(await valueOf(renewals), [2]);
  current = [];
  metrics.notify({ kind: "credential-evicted", image: IMAGE });
  deepEqual(await valueOf(renewals), []);
});

Deno.test("AgentMetrics: observes the delay of timers, and cannot count descriptors without a shell", async () => {
  const metrics = new AgentMetrics({
    status: () => statusOf(),
    build: { version: "", commit: "", deno: "" },
    now: () => NOW_MS,
    process: { ...PROCESS, openDescriptors: () => Promise.resolve(undefined) },
  });
  for (const ms of [4, 30]) metrics.observeEventLoopDelay(ms);
  const lines = await linesOf(metrics);
  const own = "nydus_auth_agent_event_loop_delay_seconds";
  ok(lines.includes(`${own}_bucket{le="0.005"} 1`));
  ok(lines.includes(`${own}_sum 0.034`));
  ok(!lines.some((line) => line.startsWith("process_open_fds ")));
  // A counter that is set, not added to, at every scrape.
  ok((await linesOf(metrics)).includes("process_cpu_seconds_total 2.5"));
});

Deno.test("AgentMetrics.page: has the totals of the CRI proxy, which stay when it is disabled", async () => {
  const criProxy = {
    state: "in-path",
    socket: "/s",
    restoredImages: 0,
    openConnections: 3,
    connections: 5,
    refusedConnections: 1,
    bytesToRuntime: 70,
    bytesToClients: 80,
    pulls: 9,
    lostReadings: 2,
    skippedMessages: 4,
  } as const;
  let parts: Partial<AgentStatus> = { criProxy };
  const metrics = metricsOf(() => statusOf(parts));
  const values = async () =>
    (await linesOf(metrics)).filter((line) => line.startsWith("nydus_auth_agent_cri_proxy_"))
      .map((line) => line.slice("nydus_auth_agent_cri_proxy_".length));
  const totals = [
    'bytes_total{to="clients"} 80',
    'bytes_total{to="runtime"} 70',
    "connection_failures_total 1",
    "connections_total 5",
    "parse_failures_total 2",
    "pulls_total 9",
    "skipped_messages_total 4",
  ];
  await values();
  deepEqual((await values()).toSorted(), ["in_path 1", "open_connections 3", ...totals].toSorted());
  parts = { criProxy: { ...criProxy, state: "bypassed" } };
  ok((await values()).includes("in_path 0"));
  parts = {};
  deepEqual((await values()).toSorted(), ["in_path 0", "open_connections 0", ...totals].toSorted());
});

Deno.test("AgentMetrics: counts unapproved hosts by action", async () => {
  const metrics = metricsOf();
  const event = { daemonId: "d", snapshotId: "7", image: IMAGE, hosts: ["a", "b"] } as const;
  metrics.notify({ kind: "unapproved-host", ...event, action: "withheld" });
  const lines = await linesOf(metrics);
  ok(lines.includes('nydus_auth_agent_unapproved_hosts_total{action="withheld"} 1'));
  ok(lines.includes('nydus_auth_agent_unapproved_hosts_total{action="delivered"} 0'));
  ok(!lines.some((line) => line.includes('"a"')), "hosts are not labels");
});

Deno.test("AgentMetrics.page: counts mounts with an outdated credential", async () => {
  const behind = { delivery: "file-only", behindSinceMs: NOW_MS } as const;
  const status = statusOf({
    images: [imageOf(IMAGE)],
    daemons: [
      daemonOf("a", [mountOf("1"), mountOf("2", behind)]),
      daemonOf("b", [mountOf("1", behind)]),
    ],
  });
  ok((await linesOf(metricsOf(() => status))).includes("nydus_auth_agent_instances_behind 2"));
  ok((await linesOf(metricsOf())).includes("nydus_auth_agent_instances_behind 0"));
});
