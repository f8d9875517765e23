import type { AgentConfig } from "../config/mod.ts";
import {
  type Candidate,
  type CredentialRequest,
  type ProviderNote,
  REASON_CODES,
  type Resolution,
  unapprovedHosts,
} from "../model/mod.ts";
import type { CredentialChain } from "../providers/mod.ts";
import type { Context } from "../platform/mod.ts";
import { type ExplainedLocation, explainLocations, locationsOf } from "./read_locations.ts";

/** A candidate without its secret and user name. Times are RFC 3339. */
export interface ExplainedCandidate {
  readonly form: string;
  readonly origin: string;
  readonly pattern?: string;
  readonly plugin?: string;
  readonly fetchedAt: string;
  readonly refreshAt?: string;
  readonly expiresAt?: string;
}

/** What one provider answered. */
export interface ExplainedProvider {
  readonly provider: string;
  readonly outcome: "found" | "none" | "failed";
  readonly reason: string;
  readonly meaning: string;
  readonly detail?: string;
  readonly retryAt?: string;
  readonly durationMs: number;
  readonly notes: readonly ProviderNote[];
  readonly candidates?: readonly ExplainedCandidate[];
}

/** Another place than its own registry that an image is read from, or would be. */
export interface LocationExplanation {
  readonly host: string;
  readonly why: string;
  /** What was asked for there, when that is not the image itself. */
  readonly asked?: string;
  readonly providers: readonly ExplainedProvider[];
  readonly hosts: readonly {
    readonly role: string;
    readonly host: string;
    readonly approvedBy?: string;
  }[];
  readonly winner?: ExplainedCandidate & {
    readonly provider: string;
    readonly foundFor: "endpoint" | "registry";
  };
  readonly unapprovedHosts?: readonly string[];
  readonly decision?: "withheld" | "delivered";
}

/** Why an image gets the credential that it gets. Without secrets. */
export interface Explanation {
  readonly image: string;
  readonly registry: string;
  readonly providers: readonly ExplainedProvider[];
  readonly winner?: ExplainedCandidate & { readonly provider: string };
  readonly places: readonly LocationExplanation[];
}

/** Asks every provider, for the image and for every other place that it is read from. */
export async function explainImage(
  context: Context,
  config: AgentConfig,
  chain: CredentialChain,
  request: CredentialRequest,
): Promise<Explanation> {
  const found = await locationsOf(context, config, request.image);
  const resolution = await chain.resolve(request, { all: true });
  const places = await explainLocations(chain, request, found);
  const { image, winner } = resolution;
  return {
    image: image.text,
    registry: image.registry,
    providers: providersOf(resolution),
    ...(winner && { winner: { provider: winner.provider, ...describe(winner.candidates[0]) } }),
    places: places.map((place) => imageLabel(place, config)),
  };
}

function providersOf({ attempts }: Pick<Resolution, "attempts">): ExplainedProvider[] {
  return attempts.map(({ provider, outcome, durationMs }) => ({
    provider,
    outcome: outcome.kind,
    reason: outcome.reason,
    meaning: REASON_CODES[outcome.reason],
    ...(outcome.kind === "failed" && {
      detail: outcome.detail,
      ...(outcome.retryAtMs !== undefined && { retryAt: iso(outcome.retryAtMs) }),
    }),
    durationMs: Math.round(durationMs),
    notes: outcome.notes,
    ...(outcome.kind === "found" && { candidates: outcome.candidates.map(describe) }),
  }));
}

function imageLabel(
  { place, resolution }: ExplainedLocation,
  config: AgentConfig,
): LocationExplanation {
  const { endpoint, why } = place;
  const { winner, attempts } = resolution;
  const there = attempts.filter(({ forEndpoint }) => forEndpoint);
  const [candidate] = winner?.candidates ?? [];
  const unapproved = unapprovedHosts(endpoint, candidate ?? {});
  return {
    host: endpoint.host,
    why,
    ...(endpoint.target && { asked: endpoint.target.text }),
    providers: providersOf({ attempts: there }),
    hosts: endpoint.hosts.map(({ role, host, approvedBy }) => ({
      role,
      host,
      ...(approvedBy !== undefined && { approvedBy }),
    })),
    ...(winner && {
      winner: {
        provider: winner.provider,
        foundFor: winner.candidates[0].forEndpoint ? "endpoint" : "registry",
        ...describe(winner.candidates[0]),
      },
    }),
    ...(winner && unapproved.length > 0 && {
      unapprovedHosts: unapproved,
      decision: config.delivery.unapprovedHostPolicy === "refuse" ? "withheld" : "delivered",
    }),
  };
}

function describe(candidate: Candidate): ExplainedCandidate {
  const { credential, origin, pattern, plugin, fetchedAtMs, refreshAtMs, expiresAtMs } = candidate;
  return {
    form: credential.kind,
    origin,
    ...(pattern !== undefined && { pattern }),
    ...(plugin !== undefined && { plugin }),
    fetchedAt: iso(fetchedAtMs),
    ...(refreshAtMs !== undefined && { refreshAt: iso(refreshAtMs) }),
    ...(expiresAtMs !== undefined && { expiresAt: iso(expiresAtMs) }),
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
