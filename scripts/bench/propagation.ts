import { join } from "@std/path";
import { HAS_OPENSSL } from "../../tests/fakes/certificates.ts";
import { kubeApi, NODE, putPod, putSecret, writeKubeconfig } from "../../tests/e2e/kube_stage.ts";
import { AgentProcess, pause, simNode } from "../../tests/e2e/stage.ts";
import { type SimNode, SimRegistry } from "../../lib/simulator/mod.ts";
import { ManyDaemons } from "./many_daemons.ts";
import { atMost, measured, percentile, type Row } from "./rows.ts";

const DAEMONS = 100;
const ROUNDS = 3;
/** Files are polled every 0.8 s. */
const STORED_LIMIT_S = 1.3;
const IN_USE_LIMIT_S = 6;
/** Only the source's own event may trigger a reconcile. */
const LONG_INTERVALS = 'check_interval = "1h"\nrefresh_interval = "1h"';
const LIFETIME_MS = 60_000;

/** A credential source and its rotation. */
interface Rotated {
  readonly name: string;
  readonly image: (node: SimNode, i: number) => string;
  /** Additional configuration of the agent. */
  readonly more?: (node: SimNode) => Promise<string>;
  /** Rotates; resolves with the time (Unix ms) at which the new credential became available. */
  readonly rotate: (node: SimNode, round: number) => Promise<number>;
}

/** Seconds since the rotation. */
interface Samples {
  readonly storedS: number[];
  readonly inUseS: number[];
}

async function measure(source: Rotated): Promise<Samples> {
  const samples: Samples = { storedS: [], inUseS: [] };
  await using node = simNode({ plugin: { lifetimeMs: LIFETIME_MS, cacheDuration: "8s" } });
  using daemons = new ManyDaemons(node, DAEMONS, (i) => source.image(node, i));
  const more = await source.more?.(node);
  const options = { renewal: LONG_INTERVALS, ...(more !== undefined && { more }) };
  await using agent = await AgentProcess.start(node, options);
  await agent.until("the first delivery", () => daemons.arrivals.length === DAEMONS);
  for (let round = 1; round <= ROUNDS; round++) {
    await pause(300);
    daemons.clearArrivals();
    const startedMs = await source.rotate(node, round);
    await agent.until("all mounts to use the new credential", () => daemons.inUse === DAEMONS);
    for (const { storedAtMs, inUseAtMs = NaN } of daemons.arrivals) {
      samples.storedS.push((storedAtMs - startedMs) / 1_000);
      samples.inUseS.push((inUseAtMs - startedMs) / 1_000);
    }
  }
  return samples;
}

const DOCKER: Rotated = {
  name: "docker config.json",
  image: (node, i) => `${node.passwordRegistry.host}/team/app-${i}:v1`,
  rotate: (node, round) => {
    const startedMs = Date.now();
    node.rotatePassword(`rotated-${round}`);
    return Promise.resolve(startedMs);
  },
};

/** The plugin reports the token's expiry; times are measured from its issue. */
const PLUGIN: Rotated = {
  name: "exec plugin, expiry",
  image: (node, i) => `${node.tokenRegistry.host}/team/app-${i}:v1`,
  rotate: async (node) => {
    const before = node.pluginExecutions();
    while (node.pluginExecutions() === before) await pause(5);
    await pause(100);
    const issued = (await Deno.readTextFile(join(node.dir, "bin", "issued"))).trimEnd();
    return Number(issued.split("\n").at(-1)?.split(" ")[0]) - LIFETIME_MS;
  },
};

async function kubeSecret(): Promise<Samples> {
  await using registry = new SimRegistry(); // the agent may verify a new credential
  registry.accept("robot", "first");
  await using api = await kubeApi();
  putSecret(api, "pull", registry.host, "first");
  putPod(api, "pod", { secrets: ["pull"] });
  return await measure({
    name: "kube secret",
    image: (_node, i) => `${registry.host}/team/app-${i}:v1`,
    more: async (node) => {
      const kubeconfig = await writeKubeconfig(node.dir, api);
      return `[providers.kubesecret]\nenabled = true\nkubeconfig = "${kubeconfig}"\n` +
        `node_name = "${NODE}"`;
    },
    rotate: (_node, round) => {
      const startedMs = Date.now();
      registry.accept("robot", `rotated-${round}`);
      putSecret(api, "pull", registry.host, `rotated-${round}`);
      return Promise.resolve(startedMs);
    },
  });
}

function rowsOf(name: string, { storedS, inUseS }: Samples): readonly Row[] {
  const summary = (values: readonly number[]) =>
    [0.5, 0.9, 1].map((p) => `${percentile(values, p).toFixed(2)} s`).join(", ");
  const to = `${name} to ${DAEMONS} nydusd`;
  return [
    measured(`${to}: stored (median, 90 %, last)`, summary(storedS)),
    atMost(`${to}: stored, 99 % (s)`, percentile(storedS, 0.99), STORED_LIMIT_S),
    measured(`${to}: in use (median, 90 %, last)`, summary(inUseS)),
    atMost(`${to}: in use, 99 % (s)`, percentile(inUseS, 0.99), IN_USE_LIMIT_S),
  ];
}

/** Benchmarks the time from a rotation at the source until the last nydusd uses the credential. */
export async function benchPropagation(): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const source of [DOCKER, PLUGIN]) rows.push(...rowsOf(source.name, await measure(source)));
  if (HAS_OPENSSL) rows.push(...rowsOf("kube secret", await kubeSecret()));
  return rows;
}
