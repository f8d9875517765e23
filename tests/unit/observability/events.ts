import type { AgentEvent } from "../../../lib/model/mod.ts";
import { NOW_MS } from "./status_of.ts";

/** The image of the events. */
export const IMAGE = "registry.example/app:1";
/** A failed renewal. */
export const FAILED: AgentEvent = {
  kind: "renewal-failed",
  image: IMAGE,
  provider: "kubelet",
  reason: "plugin-failed",
  detail: "exit code 1",
  expired: false,
  nextAttemptAtMs: NOW_MS,
};
/** A renewal with a new credential. */
export const RENEWED: AgentEvent = {
  kind: "credential-renewed",
  image: IMAGE,
  provider: "kubelet",
  changed: true,
  fingerprint: "0011aabb",
};
/** A request to a provider, without its result. */
export const REQUEST = {
  kind: "provider-queried",
  provider: "docker",
  image: IMAGE,
  durationMs: 1,
} as const;
/** A delivery, without its outcome. */
export const ATTEMPTED = {
  kind: "delivery-attempted",
  daemonId: "d",
  snapshotId: "1",
  image: IMAGE,
  durationMs: 1,
} as const;
/** The result of a configuration file that cannot be written. */
export const FILE_FAILED = { kind: "failed", detail: "read-only" } as const;

/** One event of every kind. A new kind does not compile without an entry. */
export const EVENTS: { readonly [K in AgentEvent["kind"]]: Extract<AgentEvent, { kind: K }> } = {
  "provider-queried": { ...REQUEST, outcome: "failed", reason: "unreadable" },
  "plugin-executed": {
    kind: "plugin-executed",
    provider: "kubelet",
    plugin: "ecr",
    result: "timeout",
    durationMs: 60_000,
  },
  "credential-renewed": RENEWED as Extract<AgentEvent, { kind: "credential-renewed" }>,
  "renewal-failed": FAILED as Extract<AgentEvent, { kind: "renewal-failed" }>,
  "registry-probed": {
    kind: "registry-probed",
    image: IMAGE,
    host: "registry.example",
    provider: "docker",
    origin: "/c, auths entry registry.example",
    fingerprint: "00000000",
    verdict: "refused",
    detail: "the registry answered 401",
    durationMs: 1,
  },
  "candidate-selected": {
    kind: "candidate-selected",
    image: IMAGE,
    provider: "kubelet",
    origin: "ecr",
    fingerprint: "00000000",
    reason: "accepted",
    detail: "the registry accepts it",
    otherCandidates: 1,
  },
  "credential-evicted": { kind: "credential-evicted", image: IMAGE },
  "credential-adopted": {
    kind: "credential-adopted",
    image: IMAGE,
    fingerprint: "00000000",
    origin: "nydusd d1",
  },
  "unapproved-host": {
    kind: "unapproved-host",
    daemonId: "d1",
    snapshotId: "7",
    image: "registry.example/app:1",
    hosts: ["mirror.example:5000"],
    action: "delivered",
  },
  "delivery-attempted": {
    ...ATTEMPTED,
    outcome: { kind: "rejected", file: FILE_FAILED, detail: "status 500" },
  },
  "delivery-state-changed": {
    kind: "delivery-state-changed",
    daemonId: "d",
    snapshotId: "1",
    image: IMAGE,
    from: "pending",
    to: "refused",
  },
  "daemon-state-changed": { kind: "daemon-state-changed", daemonId: "d", to: "unresponsive" },
  "discovery-problem": { kind: "discovery-problem", source: "root", subject: "/r", detail: "x" },
  "discovery-recovered": { kind: "discovery-recovered", source: "root", subject: "/r" },
  "reconcile-finished": {
    kind: "reconcile-finished",
    trigger: "tick",
    durationMs: 1,
    daemons: 1,
    instances: 1,
    images: 1,
  },
  "source-changed": { kind: "source-changed", source: "docker", path: "/c" },
  "agent-started": {
    kind: "agent-started",
    version: "1",
    commit: "c",
    files: ["/f"],
    listeners: ["127.0.0.1:9111"],
    providers: ["docker"],
  },
  "agent-stopped": { kind: "agent-stopped", reason: "received SIGTERM", uptimeMs: 5_000 },
  "agent-failed": { kind: "agent-failed", detail: "failed" },
  "config-loaded": { kind: "config-loaded", hash: "h", files: ["/f"] },
  "config-refused": {
    kind: "config-refused",
    problems: [{ file: "/f", place: "a.b", problem: "wrong", remedy: "fix it" }],
  },
  "health-changed": {
    kind: "health-changed",
    level: "critical",
    about: "credentials",
    summary: "the credential has expired",
  },
  "warning": { kind: "warning", code: "reads-failing", text: "full" },
};
