import { systemClock, systemRandom } from "../../lib/platform/mod.ts";
import { type ImageReference, parseImageReference } from "../../lib/model/mod.ts";
import type { CredentialChain } from "../../lib/providers/mod.ts";
import type { KubeletProvider } from "../../lib/providers/exec_plugin/mod.ts";
import { CredentialStore } from "../../lib/credentials/mod.ts";
import { median } from "../lib/bench.ts";
import { CountedPlugin, kubeletWith } from "./plugin.ts";
import { openReporting, type Reporting } from "./reporting.ts";
import { atMost, duration, type Row, told } from "./rows.ts";
import { wholeChain } from "./whole_chain.ts";

const FEW = 10;
const MANY = 1_000;
const LIMIT = 1.5;
const ROUNDS = 9;
const LOOKUPS = 1_000;
/** Rounds that are not counted: the binary's V8 compiles what was called twenty thousand times. */
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

/** A cache with an answer for every image, and a store with an entry for every image. */
async function filled(
  count: number,
  { observer }: Pick<Reporting, "observer"> = reporting(),
): Promise<Filled> {
  const plugin = new CountedPlugin();
  Object.assign(plugin.manner, { cacheKeyType: "Image", isPerImage: true });
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

/** Ten images that lie far apart: what is measured is the size of the cache, not the processor's. */
function asked(images: readonly ImageReference[]): readonly ImageReference[] {
  return images.filter((_, i) => i % Math.ceil(images.length / FEW) === 0);
}

async function kubeletMs({ images, kubelet }: Filled): Promise<number> {
  const some = asked(images);
  const startedMs = performance.now();
  for (let i = 0; i < LOOKUPS; i++) {
    const image = some[i % some.length];
    if (image !== undefined) await kubelet.provide({ image, labels: {} });
  }
  return (performance.now() - startedMs) / LOOKUPS;
}

async function chainMs({ images, chain }: Filled, isFromText: boolean): Promise<number> {
  const some = asked(images);
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
  const some = asked(images);
  let found = 0;
  const startedMs = performance.now();
  for (let i = 0; i < LOOKUPS * 2; i++) {
    if (store.get(some[i % some.length]?.text ?? "") !== undefined) found++;
  }
  if (found !== LOOKUPS * 2) throw new Error("look up in the store: an entry is missing");
  return Promise.resolve((performance.now() - startedMs) / (LOOKUPS * 2));
}

/** Turn by turn, so that whatever else the machine does weighs on both. */
async function compare(
  what: string,
  joinNames: Filled,
  many: Filled,
  measure: (of: Filled) => Promise<number>,
): Promise<readonly Row[]> {
  const times = { joinNames: [] as number[], many: [] as number[] };
  for (let i = -WARM_UP; i < ROUNDS; i++) {
    const [fewMs, manyMs] = [await measure(joinNames), await measure(many)];
    if (i < 0) continue;
    times.joinNames.push(fewMs);
    times.many.push(manyMs);
  }
  const [fewMs, manyMs] = [median(times.joinNames), median(times.many)];
  return [
    told(`${what}, ${FEW} entries`, duration(fewMs)),
    told(`${what}, ${MANY} entries`, duration(manyMs)),
    atMost(`${what}: ${MANY} to ${FEW} entries`, manyMs / fewMs, LIMIT, "times"),
  ];
}

/** What those who listen to look-ups cost, in turns. */
async function listeners(): Promise<readonly Row[]> {
  const { log, metrics, observer } = reporting();
  const chains = {
    "nobody listening": await filled(FEW, { observer: { notify() {} } }),
    "the log listening": await filled(FEW, { observer: log }),
    "the metrics listening": await filled(FEW, { observer: metrics }),
    "both": await filled(FEW, { observer }),
  };
  const times = new Map<string, number[]>();
  for (let i = -WARM_UP; i < ROUNDS; i++) {
    for (const [name, chain] of Object.entries(chains)) {
      const ms = await chainMs(chain, false);
      if (i >= 0) times.set(name, [...times.get(name) ?? [], ms]);
    }
  }
  return [...times].map(([name, ms]) =>
    told(`look-up through the chain, ${FEW} entries, ${name}`, duration(median(ms)))
  );
}

/** The section of the benchmark about look-ups. */
export async function benchLookups(): Promise<readonly Row[]> {
  const alone = await listeners();
  const [joinNames, many] = [await filled(FEW), await filled(MANY)];
  return [
    ...alone,
    ...await compare("look-up in the kubelet provider alone", joinNames, many, kubeletMs),
    ...await compare("look-up through the chain", joinNames, many, (of) => chainMs(of, false)),
    ...await compare("from a text through the chain", joinNames, many, (of) => chainMs(of, true)),
    ...await compare("look-up in the store", joinNames, many, storeMs),
  ];
}
