import { type AgentStatus, formatDuration } from "../model/mod.ts";
import type { Finding } from "./finding.ts";
import { findingsOf } from "./findings.ts";
import { printable } from "./printable.ts";

/** One line of `/readyz?verbose`. */
export interface HealthCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly text: string;
  /** Whether readiness depends on it; the others tell of the world outside. */
  readonly gate: boolean;
}

/** What the agent's state comes to. */
export interface HealthView {
  /** The agent's own loop turns. Never false because of anything outside. */
  readonly live: boolean;
  /** The first round is done, and the loop turns. */
  readonly ready: boolean;
  readonly checks: readonly HealthCheck[];
  /** The one thing to know: what, since when, until when, what to do. */
  readonly summary: string;
  /** The end of the sentence: what to do, where there is something to do. */
  readonly remedy?: string;
  readonly level: HealthLevel;
  /** What the sentence is about, for telling one trouble from the next; `calm` when all is well. */
  readonly about: "loop" | "healthy" | "starting" | Finding["area"];
}

/** How things stand, in one word: `critical` when reads fail now or are about to. */
export type HealthLevel = "ok" | "warning" | "critical";

/** What {@linkcode healthOf} is told beside the state. */
export interface HealthOptions {
  readonly checkIntervalMs: number;
  /** Since when (wall time, ms) the trouble of this key has lasted, where that is known. */
  readonly since?: (key: string) => number | undefined;
}

/** How long the first round may take before the loop counts as stuck. */
const FIRST_RECONCILE_LIMIT_MS = 120_000;
const STUCK_MIN_MS = 60_000;
const STUCK_INTERVALS = 3;

/** What a state comes to at a moment (wall time, ms). Pure. */
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
  const findings = findingsOf(status, nowMs).map((finding) => withSince(finding, since, nowMs));
  const checks = [
    loopCheck(live, started, sinceMs),
    firstReconcileCheck(started, nowMs - status.startedAtMs),
    ...outsideChecks(findings, status.criProxy === undefined ? OUTSIDE : [...OUTSIDE, "cri-proxy"]),
  ];
  const view = { live, ready: live && started, checks };
  if (!live) {
    const what = started
      ? `nothing has been compared for ${formatDuration(sinceMs)}`
      : `the first look at the node is not done after ${formatDuration(sinceMs)}`;
    const remedy = "restart nydus-auth-agent, and please report it";
    return { ...view, summary: `${what}: ${remedy}`, remedy, level: "critical", about: "loop" };
  }
  const critical = findings.filter(({ level }) => level === "critical");
  const worst = critical.length > 0 ? critical : findings;
  if (worst[0] !== undefined) {
    const { level, area: about } = worst[0];
    const remedy = printable(worst[0].remedy);
    return { ...view, summary: sentenceOf(worst[0], findings.length), remedy, level, about };
  }
  if (!started) {
    const summary = "starting: the first look at the node is not done";
    return { ...view, summary, level: "ok", about: "starting" };
  }
  return { ...view, summary: healthySummary(status, nowMs), level: "ok", about: "healthy" };
}

/** Says since when, of a trouble whose own words do not. */
function withSince(
  finding: Finding,
  since: (key: string) => number | undefined,
  nowMs: number,
): Finding {
  const sinceMs = finding.reportedSinceMs ? undefined : since(finding.key);
  if (sinceMs === undefined || sinceMs >= nowMs) return finding;
  return { ...finding, text: `${finding.text}; so for ${formatDuration(nowMs - sinceMs)}` };
}

function loopCheck(ok: boolean, started: boolean, sinceMs: number): HealthCheck {
  const ago = formatDuration(Math.max(0, sinceMs));
  const text = started ? `the last round ended ${ago} ago` : `running for ${ago}`;
  return { name: "loop", ok, text, gate: true };
}

function firstReconcileCheck(ok: boolean, upMs: number): HealthCheck {
  const text = ok ? "done" : `not done ${formatDuration(Math.max(0, upMs))} after the start`;
  return { name: "first-reconcile", ok, text, gate: true };
}

const OUTSIDE = [
  "configuration",
  "credentials",
  "deliveries",
  "reads",
  "daemons",
  "sources",
  "discovery",
] as const;

function outsideChecks(
  findings: readonly Finding[],
  areas: readonly Finding["area"][],
): readonly HealthCheck[] {
  return areas.map((name) => {
    const own = findings.filter(({ area }) => area === name);
    const first = own.find(({ level }) => level === "critical") ?? own[0];
    const text = first === undefined ? "nothing is wrong" : sentenceOf(first, own.length);
    return { name, ok: first === undefined, text, gate: false };
  });
}

function sentenceOf({ text, remedy }: Finding, count: number): string {
  const more = count > 1 ? ` (and ${count - 1} more)` : "";
  return printable(`${text}${more}: ${remedy}`);
}

function healthySummary(status: AgentStatus, nowMs: number): string {
  const mounts = status.daemons.flatMap(({ instances }) => instances);
  if (mounts.length === 0) return "no nydus mount is on this node: there is nothing to renew";
  const bare = mounts.filter(({ delivery }) => delivery === "none").length;
  const waiting = mounts.filter(({ delivery }) => delivery === "pending").length;
  const late = mounts.filter(({ delivery }) => delivery === "file-only").length;
  const currentAuth = mounts.length - bare - waiting - late;
  const parts = currentAuth === mounts.length
    ? [mounts.length === 1 ? "the one mount holds a valid credential" : allInSync(currentAuth)]
    : [`${currentAuth} of ${mounts.length} mounts hold valid credentials`];
  const say = (count: number, one: string, several: string) => {
    if (count > 0) parts.push(`${count} ${count === 1 ? one : several}`);
  };
  say(bare, "needs none", "need none");
  const atStart = "told only when nydusd starts again";
  say(late, `is ${atStart}`, `are ${atStart}`);
  say(waiting, "waits for the first delivery", "wait for the first delivery");
  const watched = mounts.length === 1 ? "its source is watched" : "their sources are watched";
  return `${parts.join(", ")}; ${nextRenewal(status, nowMs) ?? watched}`;
}

function allInSync(count: number): string {
  return `all ${count} mounts hold valid credentials`;
}

/** Undefined where nothing is asked by the clock. */
function nextRenewal({ images }: AgentStatus, nowMs: number): string | undefined {
  const due = images.filter(({ provider }) => provider !== undefined && provider !== "adopted")
    .map(({ nextAttemptAtMs }) => nextAttemptAtMs ?? Infinity);
  const nextMs = due.reduce((first, each) => Math.min(first, each), Infinity) - nowMs;
  if (nextMs === Infinity) return undefined;
  return nextMs <= 0 ? "a renewal is due now" : `the next renewal is in ${formatDuration(nextMs)}`;
}
