import type { AgentConfig } from "../config/mod.ts";
import {
  type AgentEvent,
  type Candidate,
  formatDuration,
  parseImageReference,
  type ProviderAttempt,
  REASON_CODES,
} from "../model/mod.ts";
import { outcomeOf } from "../observability/mod.ts";
import { openChain } from "../agent/mod.ts";
import { about, type CheckFindings } from "./check_findings.ts";
import type { Context } from "../platform/mod.ts";

/** A plugin that takes this part of its time limit is near to being stopped by it. */
const SLOW_PART = 0.5;

/** A run of a plugin or a helper. */
export type Execution = Extract<AgentEvent, { kind: "plugin-executed" }>;

/**
 * A dry run for one image: every source is asked, as at a renewal, and nothing is delivered. Says
 * of each plugin and helper that matches how it went, what fails and what is slow, and whether what
 * was got fits the times that are configured.
 */
export async function checkImage(
  context: Context,
  config: AgentConfig,
  ref: string,
  findings: CheckFindings,
): Promise<void> {
  const image = parseImageReference(ref);
  const executions: Execution[] = [];
  const notify = (event: AgentEvent) => {
    if (event.kind === "plugin-executed") executions.push(event);
  };
  const chain = await openChain(context, config, { notify });
  try {
    const request = { image, labels: {} };
    const { attempts, winner } = await chain.chain.resolve(request, { all: true, renewal: true });
    for (const attempt of attempts) checkAttempt(image.text, attempt, findings);
    for (const execution of executions) checkExecution(image.text, execution, config, findings);
    if (winner === undefined) {
      const remedy = `run: nydus-auth-agent explain ${image.text}`;
      findings.warnings.push(about(image.text, "no source has a credential for it", remedy));
      return;
    }
    const [candidate] = winner.candidates;
    findings.fine.push(`${image.text}: ${winner.provider} has a credential (${candidate.origin})`);
    checkLifetime(context, config, image.text, candidate, findings);
  } finally {
    await chain[Symbol.asyncDispose]();
  }
}

/** What fails is told also where another plugin of the provider has what is wanted. */
function checkAttempt(
  image: string,
  { provider, outcome }: ProviderAttempt,
  { warnings }: CheckFindings,
): void {
  const failed = outcome.notes.filter(({ reason }) => outcomeOf(reason) === "failed");
  if (failed.length === 0 && outcome.kind === "failed") {
    failed.push({ subject: "", reason: outcome.reason, detail: outcome.detail });
  }
  for (const { subject, reason, detail } of failed) {
    const who = subject === "" ? `provider ${provider}` : `provider ${provider}, ${subject}`;
    const problem = [REASON_CODES[reason], ...(detail === undefined ? [] : [detail])].join(": ");
    warnings.push(about(who, problem, `run: nydus-auth-agent explain ${image}`));
  }
}

/** How one plugin or helper did, against the time that it may take. */
export function checkExecution(
  image: string,
  { provider, plugin, result, durationMs }: Execution,
  { providers }: Pick<AgentConfig, "providers">,
  { warnings, fine }: CheckFindings,
): void {
  const name = provider === "docker" ? `helper ${plugin}` : `plugin ${plugin}`;
  const took = formatDuration(durationMs);
  if (result === "success") fine.push(`${image}: ${name} answered in ${took}`);
  if (result === "none") fine.push(`${image}: ${name} answered in ${took} that it has none`);
  const [limitMs, setting] = provider === "docker"
    ? [providers.docker.helperTimeoutMs, "providers.docker.helper_timeout"]
    : [providers.kubelet.timeoutMs, "providers.kubelet.timeout"];
  if (result === "timeout" || durationMs <= limitMs * SLOW_PART) return;
  const problem = `it took ${took} of the ${formatDuration(limitMs)} that it may take`;
  const remedy = `see what it waits for, or raise ${setting}`;
  warnings.push(about(name, problem, remedy));
}

/** Whether a credential of such a life can be renewed as is configured. */
export function checkLifetime(
  { clock }: Pick<Context, "clock">,
  { renewal }: Pick<AgentConfig, "renewal">,
  image: string,
  { expiresAtMs, refreshAtMs, fetchedAtMs, watched }: Candidate,
  { warnings, fine }: CheckFindings,
): void {
  const { leadTimeMs, refreshIntervalMs } = renewal;
  const nowMs = clock.wallMs();
  if (expiresAtMs === undefined) {
    const soft = refreshAtMs === undefined ? refreshIntervalMs : refreshAtMs - fetchedAtMs;
    const how = watched ? "its source is watched" : `it is asked for every ${formatDuration(soft)}`;
    fine.push(`${image}: the credential tells no end; ${how}`);
    return;
  }
  if (expiresAtMs <= nowMs) {
    const problem = `the source gave a credential that ended ${
      formatDuration(nowMs - expiresAtMs)
    } ago`;
    const remedy = "compare the clock of this node; if it is right, the source is broken";
    warnings.push(about(image, problem, remedy));
    return;
  }
  const lifetimeMs = expiresAtMs - nowMs;
  fine.push(`${image}: the credential lives another ${formatDuration(lifetimeMs)}`);
  if (leadTimeMs !== "auto" && leadTimeMs >= lifetimeMs) {
    const problem = `tokens live ${formatDuration(lifetimeMs)} and renewal.lead_time is ` +
      `${formatDuration(leadTimeMs)}: it would renew all the time`;
    const remedy = `set lead_time = "auto", or less than ${formatDuration(lifetimeMs / 2)}`;
    warnings.push(about(image, problem, remedy));
  }
}
