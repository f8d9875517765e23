import type { AgentConfig } from "../config/mod.ts";
import { ApprovedHosts, type ApprovedHostsOptions, Discovery } from "../discovery/mod.ts";
import {
  type Candidate,
  type CredentialRequest,
  defined,
  type Endpoint,
  endpointOf,
  type ImageReference,
  joinNames,
  type NodeView,
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

/** Why an image gets its credential, without secrets. Times are wall times in milliseconds. */
export type Explanation = Awaited<ReturnType<typeof explainImage>>;
/** A location other than the image's own registry that the image is read from, or would be. */
export type ExplainedLocation = Awaited<ReturnType<typeof explainLocation>>;
/** The result of one provider. */
export type ExplainedProvider = ReturnType<typeof providersOf>[number];
/** A candidate without its secret and username. */
export type ExplainedCandidate = ReturnType<typeof describe>;

/** Queries every provider, for the image and for every other location that it is read from. */
export async function explainImage(
  context: Context,
  config: AgentConfig,
  chain: CredentialChain,
  request: CredentialRequest,
) {
  const found = await readLocations(context, config, request.image);
  const resolution = await chain.resolve(request, { all: true });
  const locations = await Promise.all(
    found.map((location) => explainLocation(chain, request, location, config)),
  );
  const { image, winner } = resolution;
  return defined({
    image: image.text,
    registry: image.registry,
    providers: providersOf(resolution),
    winner: winner && { provider: winner.provider, ...describe(winner.candidates[0]) },
    locations,
  });
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
    return [{ endpoint, reason: `by mount ${joinNames(names)}` }];
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
) {
  const { target } = endpoint;
  const { winner, attempts } = await chain.resolve(
    { ...request, ...defined({ endpoint: target }) },
    { all: true },
  );
  const [candidate] = winner?.candidates ?? [];
  const unapproved = candidate === undefined ? [] : unapprovedHosts(endpoint, candidate);
  const decision = delivery.unapprovedHostPolicy === "refuse" ? "withheld" : "delivered";
  return defined({
    host: endpoint.host,
    reason,
    /** The reference that providers are queried for first. */
    target: target?.text,
    /** Results for that reference. */
    providers: providersOf({ attempts: attempts.filter(({ forEndpoint }) => forEndpoint) }),
    hosts: endpoint.hosts.map(({ role, host, approvedBy }) => defined({ role, host, approvedBy })),
    winner: winner && {
      provider: winner.provider,
      foundFor: winner.candidates[0].forEndpoint ? "endpoint" : "registry",
      ...describe(winner.candidates[0]),
    },
    ...(unapproved.length > 0 && { unapprovedHosts: unapproved, decision }),
  });
}

function providersOf({ attempts }: Pick<Resolution, "attempts">) {
  return attempts.map(({ provider, outcome, durationMs }) => {
    const { kind, reason, notes } = outcome;
    return defined({
      provider,
      outcome: kind,
      reason,
      meaning: REASON_CODES[reason],
      detail: kind === "failed" ? outcome.detail : undefined,
      retryAtMs: kind === "failed" ? outcome.retryAtMs : undefined,
      durationMs: Math.round(durationMs),
      notes,
      candidates: kind === "found" ? outcome.candidates.map(describe) : undefined,
    });
  });
}

function describe(candidate: Candidate) {
  const { credential, origin, pattern, plugin, fetchedAtMs, refreshAtMs, expiresAtMs } = candidate;
  const times = { fetchedAtMs, refreshAtMs, expiresAtMs };
  return defined({ form: credential.kind, origin, pattern, plugin, ...times });
}
