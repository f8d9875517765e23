import { systemClock, systemRandom } from "../../lib/platform/mod.ts";
import { type ImageReference, parseImageReference } from "../../lib/model/mod.ts";
import type { CredentialChain } from "../../lib/providers/mod.ts";
import type { KubeletProvider } from "../../lib/providers/exec_plugin/mod.ts";
import { CredentialStore } from "../../lib/credentials/mod.ts";
import { median } from "../lib/bench.ts";
import { CountedPlugin, kubeletWith } from "./plugin.ts";
import { openReporting, type Reporting } from "./reporting.ts";
import { atMost, duration, measured, type Row } from "./rows.ts";
import { wholeChain } from "./whole_chain.ts";

const FEW = 10;
const MANY = 1_000;
const LIMIT = 1.5;
const ROUNDS = 9;
const LOOKUPS = 1_000;
/** Uncounted rounds: the binary's V8 optimizes a function after 20,000 calls. */
const WARM_UP = 3;

interface Filled {
  readonly images: readonly ImageReference[];
  readonly kubelet: KubeletProvider;
  readonly chain: CredentialChain;
  readonly store: CredentialStore;
}

function reporting(): Reporting {
  const nothing = { nowMs: 0, images: [], daemons: [], problems: [] };
  return openReporting(() => nothing, systemClock);
}

/** Returns a cache and a store with an entry for every image. */
async function filled(
  count: number,
  { observer }: Pick<Reporting, "observer"> = reporting(),
): Promise<Filled> {
  const plugin = new CountedPlugin();
  Object.assign(plugin.behavior, { cacheKeyType: "Image", isPerImage: true });
  const kubelet = kubeletWith(plugin, { observer, maxParallel: 64 });
  const chain = wholeChain(kubelet, observer);
  const settings = { leadTimeMs: "auto", refreshIntervalMs: 240_000 } as const;
  const store = new CredentialStore({ settings, seed: "bench", random: systemRandom });
  const images = Array.from(
    { length: count },
    (_, i) => parseImageReference(`registry-${i % 64}.example.com/team/app-${i}:v1`),
  );
  let next = 0;
  const worker = async () => {
    for (let image = images[next++]; image !== undefined; image = images[next++]) {
      const { winner } = await chain.resolve({ image, labels: {} });
      if (winner !== undefined) store.put(image, winner, Date.now());
    }
  };
  await Promise.all(Array.from({ length: 64 }, worker));
  return { images, kubelet, chain, store };
}

/** Returns ten evenly spaced images, so that the CPU cache has the same effect at every size. */
function sampleOf(images: readonly ImageReference[]): readonly ImageReference[] {
  return images.filter((_, i) => i % Math.ceil(images.length / FEW) === 0);
}

async function kubeletMs({ images, kubelet }: Filled): Promise<number> {
  const some = sampleOf(images);
  const startedMs = performance.now();
  for (let i = 0; i < LOOKUPS; i++) {
    const image = some[i % some.length];
    if (image !== undefined) await kubelet.provide({ image, labels: {} });
  }
  return (performance.now() - startedMs) / LOOKUPS;
}

async function chainMs({ images, chain }: Filled, isFromText: boolean): Promise<number> {
  const some = sampleOf(images);
  const startedMs = performance.now();
  for (let i = 0; i < LOOKUPS; i++) {
    const known = some[i % some.length] ?? images[0];
    if (known === undefined) break;
    const image = isFromText ? parseImageReference(known.text) : known;
    await chain.resolve({ image, labels: {} });
  }
  return (performance.now() - startedMs) / LOOKUPS;
}

function storeMs({ images, store }: Filled): Promise<number> {
  const some = sampleOf(images);
  let found = 0;
  const startedMs = performance.now();
  for (let i = 0; i < LOOKUPS * 2; i++) {
    if (store.get(some[i % some.length]?.text ?? "") !== undefined) found++;
  }
  if (found !== LOOKUPS * 2) throw new Error("failed to look up an entry in the store");
  return Promise.resolve((performance.now() - startedMs) / (LOOKUPS * 2));
}

/** Alternates between both sizes, so that other load on the machine affects both. */
async function compare(
  what: string,
  few: Filled,
  many: Filled,
  measure: (of: Filled) => Promise<number>,
): Promise<readonly Row[]> {
  const times = { few: [] as number[], many: [] as number[] };
  for (let i = -WARM_UP; i < ROUNDS; i++) {
    const [fewMs, manyMs] = [await measure(few), await measure(many)];
    if (i < 0) continue;
    times.few.push(fewMs);
    times.many.push(manyMs);
  }
  const [fewMs, manyMs] = [median(times.few), median(times.many)];
  return [
    measured(`${what}, ${FEW} entries`, duration(fewMs)),
    measured(`${what}, ${MANY} entries`, duration(manyMs)),
    atMost(`${what}: ${MANY} to ${FEW} entries`, manyMs / fewMs, LIMIT, "times"),
  ];
}

/** Measures the cost of observers on lookups, alternating between them. */
async function observerCost(): Promise<readonly Row[]> {
  const { log, metrics, observer } = reporting();
  const chains = {
    "no observer": await filled(FEW, { observer: { notify() {} } }),
    "log observer": await filled(FEW, { observer: log }),
    "metrics observer": await filled(FEW, { observer: metrics }),
    "both observers": await filled(FEW, { observer }),
  };
  const times = new Map<string, number[]>();
  for (let i = -WARM_UP; i < ROUNDS; i++) {
    for (const [name, chain] of Object.entries(chains)) {
      const ms = await chainMs(chain, false);
      if (i >= 0) times.set(name, [...times.get(name) ?? [], ms]);
    }
  }
  return [...times].map(([name, ms]) =>
    measured(`lookup through the chain, ${FEW} entries, ${name}`, duration(median(ms)))
  );
}

/** Benchmarks lookups. */
export async function benchLookups(): Promise<readonly Row[]> {
  const observers = await observerCost();
  const [few, many] = [await filled(FEW), await filled(MANY)];
  return [
    ...observers,
    ...await compare("lookup in the kubelet provider alone", few, many, kubeletMs),
    ...await compare("lookup through the chain", few, many, (of) => chainMs(of, false)),
    ...await compare("parse and lookup through the chain", few, many, (of) => chainMs(of, true)),
    ...await compare("lookup in the store", few, many, storeMs),
  ];
}
