import type { AgentConfig } from "../config/mod.ts";
import { ApprovedHosts, type ApprovedHostsOptions, Discovery } from "../discovery/mod.ts";
import {
  type Candidate,
  type CredentialRequest,
  defined,
  type Endpoint,
  endpointOf,
  type ImageReference,
  type NodeView,
  type ProviderNote,
  REASON_CODES,
  type Resolution,
  unapprovedHosts,
} from "../model/mod.ts";
import {
  type Context,
  createNydusdApi,
  createSnapshotterApi,
  createUnixHttp,
} from "../platform/mod.ts";
import type { CredentialChain } from "../providers/mod.ts";

/** A candidate without its secret and username. Times are RFC 3339. */
export interface ExplainedCandidate {
  readonly form: string;
  readonly origin: string;
  readonly pattern?: string;
  readonly plugin?: string;
  readonly fetchedAt: string;
  readonly refreshAt?: string;
  readonly expiresAt?: string;
}

/** The result of one provider. */
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

/** A location other than the image's own registry that the image is read from, or would be. */
export interface ExplainedLocation {
  readonly host: string;
  /** Which mounts read from there, or why one would. */
  readonly reason: string;
  /** The reference that providers are queried for first. */
  readonly target?: string;
  /** Results for that reference. */
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

/** Why an image gets its credential, without secrets. */
export interface Explanation {
  readonly image: string;
  readonly registry: string;
  readonly providers: readonly ExplainedProvider[];
  readonly winner?: ExplainedCandidate & { readonly provider: string };
  readonly locations: readonly ExplainedLocation[];
}

/** Queries every provider, for the image and for every other location that it is read from. */
export async function explainImage(
  context: Context,
  config: AgentConfig,
  chain: CredentialChain,
  request: CredentialRequest,
): Promise<Explanation> {
  const found = await readLocations(context, config, request.image);
  const resolution = await chain.resolve(request, { all: true });
  const locations = await Promise.all(
    found.map((location) => explainLocation(chain, request, location, config)),
  );
  const { image, winner } = resolution;
  return {
    image: image.text,
    registry: image.registry,
    providers: providersOf(resolution),
    ...(winner && { winner: { provider: winner.provider, ...describe(winner.candidates[0]) } }),
    locations,
  };
}

/** Returns the configuration that decides which hosts daemons may read from. */
export function approvedHostsOf(
  { node, delivery }: AgentConfig,
): Omit<ApprovedHostsOptions, "files"> {
  return defined({
    mirrorsDir: node.mirrorsDir,
    templatePath: node.daemonTemplate,
    vpcRegistry: node.vpcRegistry,
    allowedHosts: delivery.allowedHosts,
  });
}

/** Discovers the daemons and mounts of this node. */
export async function discoverOnce({ files }: Context, config: AgentConfig): Promise<NodeView> {
  using http = createUnixHttp();
  const nydusdApi = createNydusdApi(http);
  const snapshotterApi = createSnapshotterApi(http);
  const hosts = approvedHostsOf(config);
  const discovery = new Discovery({ config: config.node, hosts, snapshotterApi, nydusdApi, files });
  return await discovery.discover();
}

interface ReadLocation {
  readonly endpoint: Endpoint;
  readonly reason: string;
}

/** Mounts that are listed for one location. */
const MAX_MOUNTS = 5;

/**
 * Returns where mounts on this node read an image from, other than its own registry. For an image
 * that is not mounted, returns the mirrors that the snapshotter would choose from.
 */
async function readLocations(
  context: Context,
  config: AgentConfig,
  image: ImageReference,
): Promise<readonly ReadLocation[]> {
  const { daemons } = await discoverOnce(context, config);
  const mounts = daemons
    .flatMap(({ id, instances }) => instances.map((instance) => ({ daemonId: id, ...instance })))
    .filter((mount) => mount.image?.text === image.text);
  if (mounts.length === 0) {
    const options = { ...approvedHostsOf(config), files: context.files };
    return await mirrorLocations(new ApprovedHosts(options), image);
  }
  const byEndpoint = Map.groupBy(
    mounts.filter(({ endpoint }) => endpoint !== undefined),
    ({ endpoint }) => JSON.stringify(endpoint),
  );
  return [...byEndpoint.values()].flatMap((group): ReadLocation[] => {
    const endpoint = group[0]?.endpoint;
    if (endpoint === undefined) return [];
    const names = group.map(({ daemonId, snapshotId }) => `${daemonId}/${snapshotId}`);
    const more = names.length > MAX_MOUNTS ? ` and ${names.length - MAX_MOUNTS} more` : "";
    return [{ endpoint, reason: `by mount ${names.slice(0, MAX_MOUNTS).join(", ")}${more}` }];
  });
}

async function mirrorLocations(
  approvedHosts: ApprovedHosts,
  image: ImageReference,
): Promise<readonly ReadLocation[]> {
  const mirrors = await approvedHosts.mirrorsFor(image);
  const endpoints = await Promise.all(mirrors.map(({ host, path }) => {
    const backend = { host, skipVerify: false, caFiles: [], mirrors: [] };
    return endpointOf(image, backend, () => Promise.resolve(path));
  }));
  const reason = "the image is not mounted here; a mount may choose this mirror of its registry";
  return endpoints.flatMap((endpoint) => endpoint === undefined ? [] : [{ endpoint, reason }]);
}

/** Queries every provider for a location. */
export async function explainLocation(
  chain: CredentialChain,
  request: CredentialRequest,
  { endpoint, reason }: ReadLocation,
  { delivery }: AgentConfig,
): Promise<ExplainedLocation> {
  const { target } = endpoint;
  const { winner, attempts } = await chain.resolve(
    { ...request, ...defined({ endpoint: target }) },
    { all: true },
  );
  const location = {
    host: endpoint.host,
    reason,
    ...defined({ target: target?.text }),
    providers: providersOf({ attempts: attempts.filter(({ forEndpoint }) => forEndpoint) }),
    hosts: endpoint.hosts.map(({ role, host, approvedBy }) => defined({ role, host, approvedBy })),
  };
  if (winner === undefined) return location;
  const [candidate] = winner.candidates;
  const foundFor = candidate.forEndpoint ? "endpoint" : "registry";
  const unapproved = unapprovedHosts(endpoint, candidate);
  return {
    ...location,
    winner: { provider: winner.provider, foundFor, ...describe(candidate) },
    ...(unapproved.length > 0 && {
      unapprovedHosts: unapproved,
      decision: delivery.unapprovedHostPolicy === "refuse" ? "withheld" : "delivered",
    }),
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

function describe(candidate: Candidate): ExplainedCandidate {
  const { credential, origin, pattern, plugin, fetchedAtMs, refreshAtMs, expiresAtMs } = candidate;
  return {
    form: credential.kind,
    origin,
    ...defined({ pattern, plugin }),
    fetchedAt: iso(fetchedAtMs),
    ...(refreshAtMs !== undefined && { refreshAt: iso(refreshAtMs) }),
    ...(expiresAtMs !== undefined && { expiresAt: iso(expiresAtMs) }),
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
