import type { AgentConfig } from "../config/mod.ts";
import { ApprovedHosts, type ApprovedHostsOptions, Discovery } from "../discovery/mod.ts";
import { createNydusdApi, createSnapshotterApi, createUnixHttp } from "../platform/mod.ts";
import {
  type CredentialRequest,
  type Endpoint,
  endpointOf,
  type ImageReference,
  type Resolution,
  subjectKey,
} from "../model/mod.ts";
import { type CredentialChain, EndpointChain } from "../providers/mod.ts";
import type { Context } from "../platform/mod.ts";

/** Another place than its own registry that an image is read from, or would be. */
export interface ReadLocation {
  readonly endpoint: Endpoint;
  /** For people: which mounts read from there, or why one would. */
  readonly why: string;
}

/** A place, and what the chain answers for it. */
export interface ExplainedLocation {
  readonly place: ReadLocation;
  readonly resolution: Resolution;
}

/** Who names the hosts that daemons read from. */
export function approvedHostsOf(
  { node, delivery }: AgentConfig,
): Omit<ApprovedHostsOptions, "files"> {
  return {
    ...(node.mirrorsDir !== undefined && { mirrorsDir: node.mirrorsDir }),
    templatePath: node.daemonTemplate,
    vpcRegistry: node.vpcRegistry,
    allowedHosts: delivery.allowedHosts,
  };
}

/** Mounts named in one place at the most. */
const MAX_MOUNTS = 5;

/**
 * Where this node's mounts read an image from, besides its own registry; where nothing mounts it,
 * the mirrors that the snapshotter would choose from.
 */
export async function locationsOf(
  { files }: Context,
  config: AgentConfig,
  image: ImageReference,
): Promise<readonly ReadLocation[]> {
  const http = createUnixHttp();
  try {
    const hosts = approvedHostsOf(config);
    const { daemons } = await new Discovery({
      config: config.node,
      hosts,
      snapshotterApi: createSnapshotterApi(http),
      nydusdApi: createNydusdApi(http),
      files,
    }).discover();
    const mounts = daemons.flatMap(({ instances }) => instances)
      .filter((mount) => mount.image?.text === image.text);
    if (mounts.length === 0) {
      return await mirrorLocations(new ApprovedHosts({ ...hosts, files }), image);
    }
    const places = new Map<string, { readonly endpoint: Endpoint; readonly mounts: string[] }>();
    for (const { endpoint, daemonId, snapshotId } of mounts) {
      if (endpoint === undefined) continue;
      const key = JSON.stringify(endpoint);
      const place = places.get(key) ?? { endpoint, mounts: [] };
      place.mounts.push(`${daemonId}/${snapshotId}`);
      places.set(key, place);
    }
    return [...places.values()].map(({ endpoint, mounts: names }) => {
      const more = names.length > MAX_MOUNTS ? ` and ${names.length - MAX_MOUNTS} more` : "";
      return { endpoint, why: `by mount ${names.slice(0, MAX_MOUNTS).join(", ")}${more}` };
    });
  } finally {
    http[Symbol.dispose]();
  }
}

async function mirrorLocations(
  names: ApprovedHosts,
  image: ImageReference,
): Promise<readonly ReadLocation[]> {
  const mirrors = await names.mirrorsFor(image);
  const places = await Promise.all(mirrors.map(async ({ host, path }): Promise<ReadLocation[]> => {
    const backend = { host, skipVerify: false, caFiles: [], mirrors: [] };
    const endpoint = await endpointOf(image, backend, () => Promise.resolve(path));
    const why = "nothing mounts the image here, and a mirror of its registry may be chosen";
    return endpoint === undefined ? [] : [{ endpoint, why }];
  }));
  return places.flat();
}

/** Asks the chain for each place; places that ask for the same are asked for once. */
export async function explainLocations(
  chain: CredentialChain,
  request: CredentialRequest,
  places: readonly ReadLocation[],
): Promise<readonly ExplainedLocation[]> {
  const asked = new Map<string, Promise<Resolution>>();
  return await Promise.all(places.map(async (place) => {
    const { target } = place.endpoint;
    const subject = { ...request.image, ...(target && { endpoint: target }) };
    const key = subjectKey(subject);
    const resolution = asked.get(key) ?? new EndpointChain(chain).resolve(
      { ...request, ...(target && { endpoint: target }) },
      { all: true },
    );
    asked.set(key, resolution);
    return { place, resolution: await resolution };
  }));
}
