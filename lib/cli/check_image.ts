import type { AgentConfig } from "../config/mod.ts";
import {
  type Candidate,
  formatDuration,
  parseImageReference,
  type ProviderAttempt,
  REASON_CODES,
} from "../model/mod.ts";
import { openChain } from "./chain.ts";
import { about, type CheckFindings } from "./check_findings.ts";
import type { Context } from "./context.ts";

/** A plugin that takes this part of its time limit is near to being stopped by it. */
const SLOW_PART = 0.5;

/**
 * A dry run for one image: every source is asked, as at a renewal, and nothing is delivered. Says
 * what fails, what is slow, and whether what was got fits the times that are configured.
 */
export async function checkImage(
  context: Context,
  config: AgentConfig,
  ref: string,
  findings: CheckFindings,
): Promise<void> {
  const image = parseImageReference(ref);
  const chain = await openChain(context, config);
  try {
    const request = { image, labels: {} };
    const { attempts, winner } = await chain.chain.resolve(request, { all: true, renewal: true });
    for (const attempt of attempts) checkAttempt(image.text, attempt, config, findings);
    if (winner === undefined) {
      const mend = `run: nydus-auth-agent explain ${image.text}`;
      findings.warnings.push(about(image.text, "no source has a credential for it", mend));
      return;
    }
    const [candidate] = winner.candidates;
    findings.fine.push(`${image.text}: ${winner.provider} has a credential (${candidate.origin})`);
    checkLife(context, config, image.text, candidate, findings);
  } finally {
    await chain[Symbol.asyncDispose]();
  }
}

function checkAttempt(
  image: string,
  { provider, outcome, durationMs }: ProviderAttempt,
  { providers: { kubelet } }: AgentConfig,
  { warnings }: CheckFindings,
): void {
  if (outcome.kind === "failed") {
    const problem = `${REASON_CODES[outcome.reason]}: ${outcome.detail}`;
    const mend = `run: nydus-auth-agent explain ${image}`;
    warnings.push(about(`provider ${provider}`, problem, mend));
  }
  if (provider === "kubelet" && durationMs > kubelet.timeoutMs * SLOW_PART) {
    const problem = `it took ${formatDuration(durationMs)} of the ` +
      `${formatDuration(kubelet.timeoutMs)} that it may take`;
    const mend = "see what the plugin waits for, or raise providers.kubelet.timeout";
    warnings.push(about(`provider ${provider}`, problem, mend));
  }
}

/** Whether a credential of such a life can be renewed as is configured. */
export function checkLife(
  { clock }: Pick<Context, "clock">,
  { renewal }: Pick<AgentConfig, "renewal">,
  image: string,
  { hardExpiresAtMs, softExpiresAtMs, fetchedAtMs, watched }: Candidate,
  { warnings, fine }: CheckFindings,
): void {
  const { leadTimeMs, refreshIntervalMs } = renewal;
  const nowMs = clock.wallMs();
  if (hardExpiresAtMs === undefined) {
    const soft = softExpiresAtMs === undefined ? refreshIntervalMs : softExpiresAtMs - fetchedAtMs;
    const how = watched ? "its source is watched" : `it is asked for every ${formatDuration(soft)}`;
    fine.push(`${image}: the credential tells no end; ${how}`);
    return;
  }
  if (hardExpiresAtMs <= nowMs) {
    const problem = `the source gave a credential that ended ${
      formatDuration(nowMs - hardExpiresAtMs)
    } ago`;
    const mend = "compare the clock of this node; if it is right, the source is broken";
    warnings.push(about(image, problem, mend));
    return;
  }
  const lifeMs = hardExpiresAtMs - nowMs;
  fine.push(`${image}: the credential lives another ${formatDuration(lifeMs)}`);
  if (leadTimeMs !== "auto" && leadTimeMs >= lifeMs) {
    const problem = `tokens live ${formatDuration(lifeMs)} and renewal.lead_time is ` +
      `${formatDuration(leadTimeMs)}: it would renew all the time`;
    const mend = `set lead_time = "auto", or less than ${formatDuration(lifeMs / 2)}`;
    warnings.push(about(image, problem, mend));
  }
}
