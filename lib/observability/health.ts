import * as v from "valibot";
import {
  type AgentStatus,
  fields,
  formatDuration,
  type Immutable,
  printable,
  wallTimeMs,
} from "../model/mod.ts";
import {
  bySeverity,
  FINDING_AREAS,
  FINDING_CODES,
  type FindingDefinition,
  FINDINGS,
  loopState,
  type Problem,
  problemsOf,
} from "./problems.ts";

const text = v.string();
const codes = v.array(v.picklist(FINDING_CODES));

/** The health of the agent and of its node. */
export const healthSchema = v.strictObject({
  /** Whether reconciles complete. Never false because of anything outside the agent. */
  live: v.boolean(),
  /** Whether the agent is live and has completed the first reconcile. */
  ready: v.boolean(),
  /** `critical` if reads fail or will fail shortly. */
  level: v.picklist(["ok", "warning", "critical"]),
  /** The topic of `summary`. */
  about: v.picklist(["healthy", "starting", ...FINDING_AREAS]),
  /** The worst problem and its remedy in one sentence, or the state of a healthy node. */
  summary: text,
  /** The end of `summary` with the action to take, if there is something to do. */
  remedy: v.exactOptional(text),
  /** As in `/readyz?verbose`. Readiness depends on those that are required. */
  checks: v.array(
    v.strictObject({ ...fields(text, "name", "text"), ...fields(v.boolean(), "ok", "required") }),
  ),
  /** A finding is all problems with one cause. */
  findings: v.pipe(
    v.array(v.strictObject({
      code: v.pipe(
        v.picklist(FINDING_CODES),
        v.description("Stable; the title and the text are not."),
      ),
      area: v.picklist(FINDING_AREAS),
      title: text,
      severity: v.picklist(["warning", "critical"]),
      key: v.pipe(text, v.description("Identifies the finding as long as it lasts.")),
      count: v.pipe(
        v.number(),
        v.minValue(0),
        v.description("Affected images, mounts or daemons."),
      ),
      images: v.pipe(v.array(text), v.description("Some of the affected images.")),
      ...fields(text, "text", "remedy"),
      sinceMs: v.exactOptional(wallTimeMs),
      dependsOn: v.exactOptional(
        v.pipe(codes, v.description("Codes of the findings that cause this one.")),
      ),
    })),
    v.description("The first one determines the summary."),
  ),
});
export type HealthView = Immutable<v.InferOutput<typeof healthSchema>>;
export type HealthCheck = HealthView["checks"][number];
export type HealthLevel = HealthView["level"];
export type Finding = HealthView["findings"][number];

const MAX_FINDINGS = 200;

/** Computes the health and tracks since when each finding has lasted. */
export class HealthTracker {
  #since: ReadonlyMap<string, number> = new Map();

  /** Returns the health at `nowMs` (wall time). Findings that are gone are forgotten. */
  view(status: AgentStatus, nowMs: number): HealthView {
    const before = this.#since;
    const findings = findingsOf(status, nowMs).map((finding) => {
      // The wall clock may have been set back.
      return { trackedMs: Math.min(before.get(finding.key) ?? nowMs, nowMs), finding };
    });
    this.#since = new Map(findings.map(({ trackedMs, finding }) => [finding.key, trackedMs]));
    const dated = findings.map(({ trackedMs, finding }) => ({ sinceMs: trackedMs, ...finding }));
    return healthOf(status, nowMs, dated);
  }
}

/** Returns the health for a status at `nowMs` (wall time). Pure. */
export function healthOf(
  status: AgentStatus,
  nowMs: number,
  found: readonly Finding[] = findingsOf(status, nowMs),
): HealthView {
  const started = status.firstReconcileAtMs !== undefined;
  const live = !loopState(status, nowMs).isStuck;
  const findings = found.filter((finding) => hasLasted(finding, nowMs));
  const shared = {
    live,
    ready: live && started,
    checks: [...loopChecks(status, nowMs), ...areaChecks(findings, status.criProxy !== undefined)],
    findings: findings.slice(0, MAX_FINDINGS),
  };
  const [worst] = findings;
  if (worst !== undefined) {
    const { severity: level, area: about } = worst;
    const summary = findingText(worst, findings.length);
    return { ...shared, summary, remedy: printable(worst.remedy), level, about };
  }
  if (!started) {
    const summary = "starting: the first reconcile has not completed";
    return { ...shared, summary, level: "ok", about: "starting" };
  }
  return { ...shared, summary: healthySummary(status, nowMs), level: "ok", about: "healthy" };
}

/** Whether a finding has lasted long enough to be shown. */
function hasLasted({ code, sinceMs = -Infinity }: Finding, nowMs: number): boolean {
  const { showAfterMs = 0 }: FindingDefinition = FINDINGS[code];
  return Math.max(0, nowMs - sinceMs) >= showAfterMs;
}

/** The checks that readiness depends on. */
function loopChecks(status: AgentStatus, nowMs: number): readonly HealthCheck[] {
  const { durationMs, isStuck } = loopState(status, nowMs);
  const started = status.firstReconcileAtMs !== undefined;
  const duration = formatDuration(durationMs);
  const text = started
    ? `the last reconcile completed ${duration} ago`
    : `the first reconcile has been running for ${duration}`;
  const upMs = Math.max(0, nowMs - status.startedAtMs);
  const first = started ? "completed" : `not completed ${formatDuration(upMs)} after start`;
  return [
    { name: "loop", ok: !isStuck, text, required: true },
    { name: "first-reconcile", ok: started, text: first, required: true },
  ];
}

function areaChecks(findings: readonly Finding[], hasCriProxy: boolean): readonly HealthCheck[] {
  const areas = FINDING_AREAS.filter((area) =>
    area !== "loop" && (area !== "cri-proxy" || hasCriProxy)
  );
  return areas.map((name) => {
    const inArea = findings.filter(({ area }) => area === name);
    const [worst] = inArea;
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

const MAX_IMAGES = 5;

/** The problems with one cause, the worst first. */
type Group = readonly [Problem, ...Problem[]];

/**
 * Returns the findings of a status: the severe ones first, and of those the ones that cost reads. A
 * finding whose problems are all caused by others is listed after them, and they are at least as
 * severe.
 */
export function findingsOf(status: AgentStatus, nowMs: number): readonly Finding[] {
  const byCause = Map.groupBy(problemsOf(status, nowMs), ({ cause }) => cause);
  const groups = [...byCause.values()].map((all) => all.sort(bySeverity) as unknown as Group);
  const causes = new Map(groups.map((group) => [group, causesOf(group, groups)]));
  const isCritical = (group: Group): boolean =>
    group[0].severity === "critical" ||
    groups.some((effect) => causes.get(effect)?.includes(group) && isCritical(effect));
  const depth = (group: Group): number =>
    Math.max(0, ...(causes.get(group) ?? []).map((cause) => 1 + depth(cause)));
  return groups.map((group) => ({
    finding: findingOf(group, isCritical(group), causes.get(group) ?? []),
    depth: depth(group),
  })).sort((a, b) =>
    bySeverity(a.finding, b.finding) || a.depth - b.depth ||
    FINDING_CODES.indexOf(a.finding.code) - FINDING_CODES.indexOf(b.finding.code)
  ).map(({ finding }) => finding);
}

function findingOf(problems: Group, isCritical: boolean, causes: readonly Group[]): Finding {
  const [{ code, cause, text, remedy }] = problems;
  const { area, title } = FINDINGS[code];
  const count = problems.length;
  const sinceMs = Math.min(...problems.map((problem) => problem.sinceMs ?? Infinity));
  return {
    code,
    area,
    title,
    severity: isCritical ? "critical" : "warning",
    key: cause,
    count,
    images: [...new Set(problems.flatMap(({ image }) => image ?? []))].slice(0, MAX_IMAGES),
    text: count === 1 ? text : `${text} (${count - 1} more with the same cause)`,
    remedy,
    ...(sinceMs !== Infinity && { sinceMs }),
    ...(causes.length > 0 && { dependsOn: [...new Set(causes.map(([{ code }]) => code))] }),
  };
}

/** Returns the findings that cause one, if they explain all of its problems. */
function causesOf(group: Group, groups: readonly Group[]): readonly Group[] {
  const { causes = [] }: FindingDefinition = FINDINGS[group[0].code];
  /** Whether a problem is of the same mount, or of its image or daemon. */
  const isAt = ({ image, daemon }: Problem, cause: Problem) =>
    (cause.image ?? cause.daemon) !== undefined &&
    (cause.image ?? image) === image && (cause.daemon ?? daemon) === daemon;
  const candidates = groups.filter(([{ code }]) => causes.includes(code));
  const explanations = group.map((problem) =>
    candidates.filter((candidate) => candidate.some((cause) => isAt(problem, cause)))
  );
  return explanations.every(({ length }) => length > 0) ? [...new Set(explanations.flat())] : [];
}
