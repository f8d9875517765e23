import { FleetNode } from "./fleet_node.ts";
import type { SourceShape } from "./shapes.ts";
import { type Outage, type ServiceLimits, TokenService } from "./token_service.ts";
import { EventQueue, SeededRandom, VirtualClock } from "./virtual_time.ts";

/** Configuration of a simulated fleet. */
export interface FleetOptions {
  readonly source: SourceShape;
  readonly nodes: number;
  readonly limits: ServiceLimits;
  readonly spanMs: number;
  readonly outage?: Outage;
}

/** Result of a simulation. */
export interface FleetRun {
  readonly options: FleetOptions;
  /** Plugin executions in each second; each one calls the source. */
  readonly executions: Uint32Array;
  /** Calls that the token service granted in each second. */
  readonly granted: Uint32Array;
  /** When each node got its first credential, in ascending order. */
  readonly servedAtMs: readonly number[];
  /** Credentials that expired in a mount, and how many of those could have been renewed in time. */
  readonly expired: number;
  readonly avoidable: number;
}

/** All nodes boot within this time. */
export const BOOT_SPAN_MS = 10_000;

/** Runs the renewal policy of every node in virtual time, starting with a simultaneous boot. */
export async function runFleet(options: FleetOptions): Promise<FleetRun> {
  const { nodes: count, limits, spanMs, outage } = options;
  const clock = new VirtualClock();
  const service = new TokenService(limits, spanMs, outage);
  const random = new SeededRandom(4_711);
  const queue = new EventQueue();
  const nodes: FleetNode[] = [];
  for (let index = 0; index < count; index++) {
    nodes.push(nodeOf(options, { index, clock, service, random }));
    queue.add(random.next() * BOOT_SPAN_MS, index);
  }
  for (let item = queue.take(); item !== undefined; item = queue.take()) {
    if (item.atMs >= spanMs) break;
    clock.nowMs = item.atMs;
    const next = await nodes[item.what]?.reconcile();
    if (next !== undefined && next < spanMs) queue.add(next, item.what);
  }
  for (const node of nodes) node.noteExpiry(spanMs);
  return resultOf(options, nodes, service);
}

/** After a reboot, mounts still have a credential with at least a third of its lifetime left. */
function nodeOf(
  { source: { tokens, place, refreshIntervalMs } }: FleetOptions,
  { index, clock, service, random }: {
    readonly index: number;
    readonly clock: VirtualClock;
    readonly service: TokenService;
    readonly random: SeededRandom;
  },
): FleetNode {
  const shape = tokens[index % tokens.length];
  if (shape === undefined) {
    throw new Error("failed to create a node: its source has no token shape");
  }
  const initialLifetimeMs = shape.lifetimeMs * (1 / 3 + random.next() * 2 / 3);
  return new FleetNode({
    index,
    clock,
    service,
    shape,
    place,
    initialLifetimeMs,
    refreshIntervalMs,
  });
}

function resultOf(
  options: FleetOptions,
  nodes: readonly FleetNode[],
  service: TokenService,
): FleetRun {
  const executions = new Uint32Array(service.calls.length);
  for (const { executedAtMs } of nodes) {
    for (const atMs of executedAtMs) {
      const second = Math.floor(atMs / 1_000);
      executions[second] = (executions[second] ?? 0) + 1;
    }
  }
  const expiries = nodes.flatMap((node) => node.expiries);
  return {
    options,
    executions,
    granted: service.granted,
    servedAtMs: nodes.map(({ servedAtMs }) => servedAtMs ?? Infinity).sort((a, b) => a - b),
    expired: expiries.length,
    avoidable: expiries.filter(({ wasAvoidable }) => wasAvoidable).length,
  };
}
