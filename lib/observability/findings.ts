import type { AgentStatus } from "../model/mod.ts";
import {
  bySeverity,
  FINDING_CODES,
  type FindingArea,
  type FindingCode,
  type FindingDefinition,
  FINDINGS,
  type Problem,
  problemsOf,
} from "./problems.ts";

/** A finding: all problems with one cause. */
export interface Finding extends Omit<Problem, "cause" | "image" | "daemon"> {
  readonly area: FindingArea;
  readonly title: string;
  /** Identifies the finding as long as it lasts. */
  readonly key: string;
  /** Number of affected images, mounts or daemons. */
  readonly count: number;
  /** Some of the affected images. */
  readonly images: readonly string[];
  /** The findings that cause it. */
  readonly dependsOn?: readonly FindingCode[];
}

const MAX_IMAGES = 5;

/** The problems of a finding. */
interface Group {
  readonly key: string;
  /** The worst first; never empty. */
  readonly problems: readonly Problem[];
  readonly places: ReadonlySet<string>;
}

/**
 * Returns the findings of a status: the severe ones first, and of those the ones that cost reads. A
 * finding whose problems are all caused by others is listed after them, and they are at least as
 * severe.
 */
export function findingsOf(status: AgentStatus, nowMs: number): readonly Finding[] {
  const byCause = Map.groupBy(problemsOf(status, nowMs), ({ cause }) => cause);
  const groups = [...byCause].map(([key, problems]): Group => {
    const places = new Set(problems.map(placeOf));
    return { key, problems: problems.toSorted(bySeverity), places };
  });
  const causes = new Map(groups.map((group) => [group, causesOf(group, groups)]));
  const isCritical = (group: Group): boolean =>
    group.problems.some(({ severity }) => severity === "critical") ||
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

function findingOf(
  { key, problems }: Group,
  isCritical: boolean,
  causes: readonly Group[],
): Finding {
  const { text = "", remedy = "" } = problems[0] ?? {};
  const code = codeOf(problems);
  const { area, title } = FINDINGS[code];
  const count = problems.length;
  const starts = problems.map(({ sinceMs }) => sinceMs ?? Infinity);
  const sinceMs = Math.min(...starts);
  return {
    code,
    area,
    title,
    severity: isCritical ? "critical" : "warning",
    key,
    count,
    images: [...new Set(problems.flatMap(({ image }) => image ?? []))].slice(0, MAX_IMAGES),
    text: count === 1 ? text : `${text} (${count - 1} more with the same cause)`,
    remedy,
    ...(sinceMs !== Infinity && { sinceMs }),
    ...(causes.length > 0 &&
      { dependsOn: [...new Set(causes.map(({ problems }) => codeOf(problems)))] }),
  };
}

/** Returns the code of the worst problem. */
function codeOf([worst]: readonly Problem[]): FindingCode {
  return worst?.code ?? "loop-stuck";
}

function placeOf({ image = "", daemon = "" }: Problem): string {
  return `${image} ${daemon}`;
}

/** Returns the findings that cause one, if they explain all of its problems. */
function causesOf({ problems }: Group, groups: readonly Group[]): readonly Group[] {
  const { causes = [] }: FindingDefinition = FINDINGS[codeOf(problems)];
  const explains = ({ places }: Group, { image = "", daemon = "" }: Problem) =>
    [`${image} ${daemon}`, `${image} `, ` ${daemon}`].some((place) =>
      place !== " " && places.has(place)
    );
  const candidates = groups.filter(({ problems }) => causes.includes(codeOf(problems)));
  const explanations = problems.map((problem) =>
    candidates.filter((group) => explains(group, problem))
  );
  return explanations.every(({ length }) => length > 0) ? [...new Set(explanations.flat())] : [];
}
