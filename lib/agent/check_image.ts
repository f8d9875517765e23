import type { AgentConfig } from "../config/mod.ts";
import {
  type AgentEvent,
  type Candidate,
  credentialFingerprint,
  formatDuration,
  type ImageReference,
  parseImageReference,
  type ProbeVerdict,
  profileOfHost,
  type ProviderAttempt,
  REASON_CODES,
  reasonOutcome,
} from "../model/mod.ts";
import { type Context, createRegistryHttp } from "../platform/mod.ts";
import { defaultProbeTarget, RegistryProbe } from "../verification/mod.ts";
import { openChain } from "./chain.ts";
import { type CheckFindings, finding } from "./check_node.ts";

/** A plugin that takes longer than this part of its timeout is reported as slow. */
const SLOW_PART = 0.5;

/** An execution of a plugin or a credential helper. */
export type Execution = Extract<AgentEvent, { kind: "plugin-executed" }>;

/**
 * Queries every provider for an image, as a renewal does, and delivers nothing. Reports failed and
 * slow plugins and helpers, whether the credential's lifetime fits the configuration, and on request
 * the registry's verdict on each credential.
 */
export async function checkImage(
  context: Context,
  config: AgentConfig,
  ref: string,
  probe: boolean,
  findings: CheckFindings,
): Promise<void> {
  const image = parseImageReference(ref);
  const executions: Execution[] = [];
  const notify = (event: AgentEvent) => {
    if (event.kind === "plugin-executed") executions.push(event);
  };
  await using chain = await openChain(context, config, { notify });
  const request = { image, labels: {} };
  const { attempts, winner } = await chain.chain.resolve(request, { all: true, renewal: true });
  for (const attempt of attempts) checkAttempt(image.text, attempt, findings);
  for (const execution of executions) checkExecution(image.text, execution, config, findings);
  if (probe) await probeRegistry(context, image, attempts, findings);
  if (winner === undefined) {
    const remedy = `run: nydus-auth-agent explain ${image.text}`;
    findings.warnings.push(finding(image.text, "no provider has a credential for it", remedy));
    return;
  }
  const [candidate] = winner.candidates;
  findings.passed.push(`${image.text}: ${winner.provider} has a credential (${candidate.origin})`);
  checkLifetime(context, config, image.text, candidate, findings);
}

/** Reports failures also when another plugin of the provider has a credential. */
function checkAttempt(
  image: string,
  { provider, outcome }: ProviderAttempt,
  { warnings }: CheckFindings,
): void {
  const failed = outcome.notes.filter(({ reason }) => reasonOutcome(reason) === "failed");
  if (failed.length === 0 && outcome.kind === "failed") {
    failed.push({ subject: "", reason: outcome.reason, detail: outcome.detail });
  }
  for (const { subject, reason, detail } of failed) {
    const source = subject === "" ? `provider ${provider}` : `provider ${provider}, ${subject}`;
    const problem = [REASON_CODES[reason], ...(detail === undefined ? [] : [detail])].join(": ");
    warnings.push(finding(source, problem, `run: nydus-auth-agent explain ${image}`));
  }
}

/** Reports how long a plugin or helper took, compared with its timeout. */
export function checkExecution(
  image: string,
  { provider, plugin, result, durationMs }: Execution,
  { providers }: Pick<AgentConfig, "providers">,
  { warnings, passed }: CheckFindings,
): void {
  const name = provider === "docker" ? `helper ${plugin}` : `plugin ${plugin}`;
  const took = formatDuration(durationMs);
  if (result === "success") passed.push(`${image}: ${name} returned a credential in ${took}`);
  if (result === "none") passed.push(`${image}: ${name} returned no credential in ${took}`);
  const [timeoutMs, key] = provider === "docker"
    ? [providers.docker.helperTimeoutMs, "providers.docker.helper_timeout"]
    : [providers.kubelet.timeoutMs, "providers.kubelet.timeout"];
  if (result === "timeout" || durationMs <= timeoutMs * SLOW_PART) return;
  const problem = `it took ${took} of its timeout of ${formatDuration(timeoutMs)}`;
  warnings.push(finding(name, problem, `find out why it is slow, or raise ${key}`));
}

/** Reports whether a credential with this lifetime can be renewed as configured. */
export function checkLifetime(
  { clock }: Pick<Context, "clock">,
  { renewal }: Pick<AgentConfig, "renewal">,
  image: string,
  { expiresAtMs, refreshAtMs, fetchedAtMs, watched }: Candidate,
  { warnings, passed }: CheckFindings,
): void {
  const { leadTimeMs, refreshIntervalMs } = renewal;
  const nowMs = clock.wallMs();
  if (expiresAtMs === undefined) {
    const intervalMs = refreshAtMs === undefined ? refreshIntervalMs : refreshAtMs - fetchedAtMs;
    const renewed = watched
      ? "it is renewed when its file changes"
      : `it is renewed every ${formatDuration(intervalMs)}`;
    passed.push(`${image}: the credential has no expiry; ${renewed}`);
    return;
  }
  if (expiresAtMs <= nowMs) {
    const ago = formatDuration(nowMs - expiresAtMs);
    const problem = `the provider returned a credential that expired ${ago} ago`;
    const remedy = "compare the clock of this node; if it is right, the provider is broken";
    warnings.push(finding(image, problem, remedy));
    return;
  }
  const lifetimeMs = expiresAtMs - nowMs;
  passed.push(`${image}: the credential expires in ${formatDuration(lifetimeMs)}`);
  if (leadTimeMs !== "auto" && leadTimeMs >= lifetimeMs) {
    const problem = `its lifetime is ${formatDuration(lifetimeMs)} and renewal.lead_time is ` +
      `${formatDuration(leadTimeMs)}: it would be renewed constantly`;
    const remedy = `set lead_time = "auto", or less than ${formatDuration(lifetimeMs / 2)}`;
    warnings.push(finding(image, problem, remedy));
  }
}

const MEANINGS: Readonly<Record<ProbeVerdict["kind"], string>> = {
  "accepted": "the registry serves the image with this credential",
  "anonymous": "the registry serves the image without a credential",
  "refused": "the registry rejects this credential: it is wrong, or has expired",
  "forbidden": "the registry accepts this credential, but not for pulling this repository",
  "not-found": "the registry accepts this credential and has no such image",
  "unreachable": "the registry could not be reached",
  "throttled": "the registry limits the rate of requests",
  "unknown": "the response of the registry is inconclusive",
};

/** Probes the registry of an image without a credential, and with every one that was found. */
async function probeRegistry(
  { clock }: Context,
  image: ImageReference,
  attempts: readonly ProviderAttempt[],
  { passed, warnings, problems }: CheckFindings,
): Promise<void> {
  const target = defaultProbeTarget(image);
  const probe = new RegistryProbe({ http: createRegistryHttp(), clock });
  const profile = profileOfHost(target.host);
  if (profile !== undefined) passed.push(`${target.host}: ${profile.name}: ${profile.lifetime}`);
  const verdicts = new Map<string, ProbeVerdict>();
  const found = attempts.flatMap(({ provider, outcome }) =>
    outcome.kind === "found" ? outcome.candidates.map((one) => ({ provider, ...one })) : []
  );
  const none = { provider: "none", origin: "without a credential", credential: undefined };
  for (const { provider, origin, credential } of [none, ...found]) {
    const key = credential === undefined ? "" : credentialFingerprint(credential);
    const verdict = verdicts.get(key) ?? await probe.probe(target, credential);
    verdicts.set(key, verdict);
    const meaning = credential === undefined && verdict.kind === "refused"
      ? "the image is not public"
      : MEANINGS[verdict.kind];
    const text = `${verdict.kind} (${origin}): ${meaning} (${verdict.detail})`;
    if (credential === undefined || isServed(verdict)) {
      passed.push(`probe with ${provider}: ${text}`);
    } else {
      const remedy = "log in again, or request access";
      warnings.push(finding(`probe with ${provider}`, text, remedy));
    }
  }
  if (![...verdicts.values()].some(isServed)) {
    const problem = "the registry serves it for none of the credentials";
    problems.push(finding(image.text, problem, "add a credential that may pull it"));
  }
}

function isServed({ kind }: ProbeVerdict): boolean {
  return kind === "accepted" || kind === "anonymous";
}
