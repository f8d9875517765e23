import { FleetNode } from "./fleet_node.ts";
import type { SourceShape } from "./shapes.ts";
import { type Outage, type ServiceLimits, TokenService } from "./token_service.ts";
import { Agenda, SeededRandom, VirtualClock } from "./virtual_time.ts";

/** A fleet, and what happens to it. */
export interface FleetOptions {
  readonly source: SourceShape;
  readonly nodes: number;
  readonly limits: ServiceLimits;
  readonly spanMs: number;
  readonly outage?: Outage;
}

/** What came of it. */
export interface FleetRun {
  readonly options: FleetOptions;
  /** Executions in each second: each reaches the source. */
  readonly asked: Uint32Array;
  /** Calls that the token service granted in each second. */
  readonly granted: Uint32Array;
  /** When each node first got a credential, the earliest first. */
  readonly servedAtMs: readonly number[];
  /** Credentials that ended in a mount, and those of them that need not have. */
  readonly expired: number;
  readonly avoidable: number;
}

/** The nodes of a common boot start within this time. */
export const BOOT_SPAN_MS = 10_000;

/** Runs the policy of every node in virtual time, from a common boot on. */
export async function runFleet(options: FleetOptions): Promise<FleetRun> {
  const { nodes: count, limits, spanMs, outage } = options;
  const clock = new VirtualClock();
  const service = new TokenService(limits, spanMs, outage);
  const random = new SeededRandom(4_711);
  const agenda = new Agenda();
  const nodes: FleetNode[] = [];
  for (let index = 0; index < count; index++) {
    nodes.push(nodeOf(options, { index, clock, service, random }));
    agenda.add(random.next() * BOOT_SPAN_MS, index);
  }
  for (let item = agenda.take(); item !== undefined; item = agenda.take()) {
    if (item.atMs >= spanMs) break;
    clock.nowMs = item.atMs;
    const next = await nodes[item.what]?.turn();
    if (next !== undefined && next < spanMs) agenda.add(next, item.what);
  }
  for (const node of nodes) node.noteExpiry(spanMs);
  return resultOf(options, nodes, service);
}

/** Mounts survive a reboot with what their files hold: renewed in time, so a third of its life. */
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
  if (shape === undefined) throw new Error("make a node: its source has no token shape");
  const heldForMs = shape.lifetimeMs * (1 / 3 + random.next() * 2 / 3);
  return new FleetNode({ index, clock, service, shape, place, heldForMs, refreshIntervalMs });
}

function resultOf(
  options: FleetOptions,
  nodes: readonly FleetNode[],
  service: TokenService,
): FleetRun {
  const asked = new Uint32Array(service.calls.length);
  for (const { queriedAtMs } of nodes) {
    for (const atMs of queriedAtMs) {
      const second = Math.floor(atMs / 1_000);
      asked[second] = (asked[second] ?? 0) + 1;
    }
  }
  const expiries = nodes.flatMap((node) => node.expiries);
  return {
    options,
    asked,
    granted: service.granted,
    servedAtMs: nodes.map(({ servedAtMs }) => servedAtMs ?? Infinity).sort((a, b) => a - b),
    expired: expiries.length,
    avoidable: expiries.filter(({ wasAvoidable }) => wasAvoidable).length,
  };
}
