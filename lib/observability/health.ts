import { type AgentStatus, formatDuration, printable } from "../model/mod.ts";
import { type Finding, findingsOf } from "./findings.ts";

/** One check, as in `/readyz?verbose`. */
export interface HealthCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly text: string;
  /** Whether readiness depends on it. Checks of anything outside the agent are not required. */
  readonly required: boolean;
}

/** The health of the agent and of its node. */
export interface HealthView {
  /** Whether reconciles complete. Never false because of anything outside the agent. */
  readonly live: boolean;
  /** Whether the agent is live and has completed the first reconcile. */
  readonly ready: boolean;
  readonly checks: readonly HealthCheck[];
  /** The worst problem and its remedy in one sentence, or the state of a healthy node. */
  readonly summary: string;
  /** The end of `summary` with the action to take, if there is something to do. */
  readonly remedy?: string;
  readonly level: HealthLevel;
  /** The topic of `summary`. */
  readonly about: "loop" | "healthy" | "starting" | Finding["area"];
}

/** The health in one word; `critical` if reads fail or will fail shortly. */
export type HealthLevel = "ok" | "warning" | "critical";

/** Options of {@linkcode healthOf}. */
export interface HealthOptions {
  readonly checkIntervalMs: number;
  /** Returns since when (wall time, ms) the finding with a key has lasted, if known. */
  readonly since?: (key: string) => number | undefined;
}

const FIRST_RECONCILE_LIMIT_MS = 120_000;
const STUCK_MIN_MS = 60_000;
const STUCK_INTERVALS = 3;
const MAX_TRACKED_FINDINGS = 10_000;

/** Computes the health and tracks since when each finding has lasted. */
export class HealthTracker {
  #since = new Map<string, number>();

  /** Returns the health at `nowMs` (wall time). Findings that are gone are forgotten. */
  view(status: AgentStatus, nowMs: number, options: { checkIntervalMs: number }): HealthView {
    const before = this.#since;
    const keys = findingsOf(status, nowMs).slice(0, MAX_TRACKED_FINDINGS).map(({ key }) => key);
    // The wall clock may have been set back.
    this.#since = new Map(keys.map((key) => [key, Math.min(before.get(key) ?? nowMs, nowMs)]));
    return healthOf(status, nowMs, { ...options, since: (key) => this.#since.get(key) });
  }
}

/** Returns the health for a status at `nowMs` (wall time). Pure. */
export function healthOf(
  status: AgentStatus,
  nowMs: number,
  { checkIntervalMs, since = () => undefined }: HealthOptions,
): HealthView {
  const started = status.firstReconcileAtMs !== undefined;
  const sinceMs = status.loopAgeMs ?? nowMs - (status.lastReconcileAtMs ?? status.startedAtMs);
  const limitMs = started
    ? Math.max(STUCK_INTERVALS * checkIntervalMs, STUCK_MIN_MS)
    : FIRST_RECONCILE_LIMIT_MS;
  const live = sinceMs <= limitMs;
  const findings = findingsOf(status, nowMs).map((finding) => withDuration(finding, since, nowMs));
  const checks = [
    loopCheck(live, started, sinceMs),
    firstReconcileCheck(started, nowMs - status.startedAtMs),
    ...areaChecks(findings, status.criProxy === undefined ? AREAS : [...AREAS, "cri-proxy"]),
  ];
  const view = { live, ready: live && started, checks };
  if (!live) {
    const what = started
      ? `no reconcile has completed for ${formatDuration(sinceMs)}`
      : `the first reconcile has not completed after ${formatDuration(sinceMs)}`;
    const remedy = "restart nydus-auth-agent and report a bug";
    return { ...view, summary: `${what}: ${remedy}`, remedy, level: "critical", about: "loop" };
  }
  const worst = findings.find(({ level }) => level === "critical") ?? findings[0];
  if (worst !== undefined) {
    const { level, area: about } = worst;
    const summary = findingText(worst, findings.length);
    return { ...view, summary, remedy: printable(worst.remedy), level, about };
  }
  if (!started) {
    const summary = "starting: the first reconcile has not completed";
    return { ...view, summary, level: "ok", about: "starting" };
  }
  return { ...view, summary: healthySummary(status, nowMs), level: "ok", about: "healthy" };
}

/** Adds how long a finding has lasted, if its text does not contain that. */
function withDuration(
  finding: Finding,
  since: (key: string) => number | undefined,
  nowMs: number,
): Finding {
  const sinceMs = finding.hasDuration ? undefined : since(finding.key);
  if (sinceMs === undefined || sinceMs >= nowMs) return finding;
  return { ...finding, text: `${finding.text} (for ${formatDuration(nowMs - sinceMs)})` };
}

function loopCheck(ok: boolean, started: boolean, sinceMs: number): HealthCheck {
  const duration = formatDuration(Math.max(0, sinceMs));
  const text = started
    ? `the last reconcile completed ${duration} ago`
    : `the first reconcile has been running for ${duration}`;
  return { name: "loop", ok, text, required: true };
}

function firstReconcileCheck(ok: boolean, upMs: number): HealthCheck {
  const text = ok ? "completed" : `not completed ${formatDuration(Math.max(0, upMs))} after start`;
  return { name: "first-reconcile", ok, text, required: true };
}

const AREAS = [
  "configuration",
  "credentials",
  "deliveries",
  "reads",
  "daemons",
  "sources",
  "discovery",
] as const;

function areaChecks(
  findings: readonly Finding[],
  areas: readonly Finding["area"][],
): readonly HealthCheck[] {
  return areas.map((name) => {
    const inArea = findings.filter(({ area }) => area === name);
    const worst = inArea.find(({ level }) => level === "critical") ?? inArea[0];
    const text = worst === undefined ? "no problems" : findingText(worst, inArea.length);
    return { name, ok: worst === undefined, text, required: false };
  });
}

function findingText({ text, remedy }: Finding, count: number): string {
  const more = count > 1 ? ` (and ${count - 1} more)` : "";
  return printable(`${text}${more}: ${remedy}`);
}

function healthySummary(status: AgentStatus, nowMs: number): string {
  const mounts = status.daemons.flatMap(({ instances }) => instances);
  if (mounts.length === 0) return "no nydus mounts on this node: nothing to renew";
  const count = (state: string) => mounts.filter(({ delivery }) => delivery === state).length;
  const [none, pending, fileOnly] = [count("none"), count("pending"), count("file-only")];
  const valid = mounts.length - none - pending - fileOnly;
  const parts = [
    valid < mounts.length
      ? `${valid} of ${mounts.length} mounts have valid credentials`
      : valid === 1
      ? "1 mount has a valid credential"
      : `all ${valid} mounts have valid credentials`,
  ];
  const add = (count: number, singular: string, plural: string) => {
    if (count > 0) parts.push(`${count} ${count === 1 ? singular : plural}`);
  };
  add(none, "needs none", "need none");
  const atRestart = "updated when nydusd restarts";
  add(fileOnly, `is ${atRestart}`, `are ${atRestart}`);
  add(pending, "is waiting for the first delivery", "are waiting for the first delivery");
  return `${parts.join(", ")}; ${nextRenewalText(status, nowMs)}`;
}

function nextRenewalText({ images }: AgentStatus, nowMs: number): string {
  const times = images.filter(({ provider }) => provider !== undefined && provider !== "adopted")
    .map(({ nextAttemptAtMs }) => nextAttemptAtMs ?? Infinity);
  const nextMs = Math.min(...times) - nowMs;
  if (nextMs === Infinity) return "renewed when a source changes";
  return nextMs <= 0 ? "a renewal is due now" : `the next renewal is in ${formatDuration(nextMs)}`;
}
