import type { AgentStatus } from "../model/mod.ts";
import { bySeverity, type Problem, problemsOf } from "./problems.ts";

/** A part of the agent's work, with a check of its own. */
export type FindingArea =
  | "loop"
  | "configuration"
  | "credentials"
  | "deliveries"
  | "reads"
  | "daemons"
  | "sources"
  | "discovery"
  | "cri-proxy";

/** Properties of all findings with the same code. */
export interface FindingDefinition {
  readonly area: FindingArea;
  readonly title: string;
  /** Findings that can cause this one. */
  readonly causes?: readonly string[];
  /** How long it lasts before it is shown: a restart or a rotation ends it earlier. */
  readonly showAfterMs?: number;
}

/** A restart or a rotation ends a problem within this time. */
const TRANSIENT_MS = 10_000;

/** Every finding. Those that cost reads come first. */
export const FINDINGS = {
  "loop-stuck": { area: "loop", title: "Reconciles do not complete" },
  "reads-failing": {
    area: "reads",
    title: "Reads fail",
    causes: [
      ...["credential-expired", "renewal-failed", "credential-missing", "credential-outdated"],
      ...["delivery-failed", "delivery-unsupported", "unapproved-host"],
    ],
    showAfterMs: TRANSIENT_MS,
  },
  "credential-expired": { area: "credentials", title: "A credential has expired" },
  "delivery-failed": {
    area: "deliveries",
    title: "Deliveries fail",
    causes: ["daemon-failing"],
    showAfterMs: TRANSIENT_MS,
  },
  "delivery-unsupported": { area: "deliveries", title: "A credential cannot be delivered" },
  "renewal-failed": { area: "credentials", title: "Renewals fail" },
  "credential-missing": { area: "credentials", title: "No credential, because a provider fails" },
  "credential-outdated": { area: "deliveries", title: "nydusd needs a restart" },
  "credential-not-renewed": { area: "credentials", title: "A credential is not renewed" },
  "unapproved-host": { area: "deliveries", title: "A mount uses an unapproved host" },
  "image-unknown": { area: "deliveries", title: "The image of a mount is unknown" },
  "config-file-failed": {
    area: "deliveries",
    title: "A configuration file of nydusd is outdated",
    showAfterMs: TRANSIENT_MS,
  },
  "daemon-failing": {
    area: "daemons",
    title: "nydusd does not respond",
    showAfterMs: TRANSIENT_MS,
  },
  "config-rejected": { area: "configuration", title: "The configuration was not reloaded" },
  "watch-interrupted": {
    area: "sources",
    title: "Kubernetes watches are interrupted",
    showAfterMs: TRANSIENT_MS,
  },
  "discovery-failed": {
    area: "discovery",
    title: "Discovery fails",
    showAfterMs: TRANSIENT_MS,
  },
  "pulls-not-observed": { area: "cri-proxy", title: "CRI pulls are not observed" },
} as const satisfies Readonly<Record<string, FindingDefinition>>;
/** A key of {@linkcode FINDINGS}. */
export type FindingCode = keyof typeof FINDINGS;

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
const CODES = Object.keys(FINDINGS) as FindingCode[];

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
    CODES.indexOf(a.finding.code) - CODES.indexOf(b.finding.code)
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
