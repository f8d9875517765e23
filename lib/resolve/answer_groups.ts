import type { Clock, ImageReference } from "../model/mod.ts";
import { ROUND_MS } from "./freshness.ts";

/** What the answers for the images of one registry have looked like. */
interface Group {
  /** Says which answers are equal. */
  readonly content: string;
  /** Images that gave this very answer, as many as are needed to believe it. */
  readonly images: ReadonlySet<string>;
  /** Monotonic time at which it was given last. */
  readonly atMs: number;
  /** Monotonic time at which a member was last asked for itself on suspicion. */
  readonly triedAtMs?: number;
}

/** So many different images must have given the same answer. */
const ENOUGH = 3;
/** A registry whose images turned out to differ is not believed again for so long. */
const DISTRUST_MS = 3_600_000;
const MAX_REGISTRIES = 1_024;

/**
 * Sees when answers that are said to hold for one image are the same for all images of a registry:
 * the plugin of Google's registries answers so, with "do not cache" on top, and a node of 1,000
 * images would run it 1,000 times each round for one token.
 *
 * What was believed is put to the test when a shared answer is refused, and given up for good when
 * the image's own answer differs.
 */
export class AnswerGroups {
  readonly #clock: Clock;
  readonly #groups = new Map<string, Group>();
  readonly #distrusted = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether one answer serves all images of this one's registry. */
  shares({ registry }: ImageReference): boolean {
    return (this.#groups.get(registry)?.images.size ?? 0) >= ENOUGH;
  }

  /**
   * Whether a refused image of a group should be asked for itself now; remembers that it was. Only
   * while the group's answer is young: a difference from an old one would be a new token.
   */
  mayTry({ registry }: ImageReference): boolean {
    const group = this.#groups.get(registry);
    if (group === undefined) return false;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - group.atMs >= ROUND_MS) return false;
    if (nowMs - (group.triedAtMs ?? -Infinity) < ROUND_MS) return false;
    this.#groups.set(registry, { ...group, triedAtMs: nowMs });
    return true;
  }

  /**
   * Takes in an image's own answer. `trial`: it was asked for on suspicion, so a difference ends
   * the group; otherwise a difference may mean a new token.
   */
  learn(image: ImageReference, content: string, trial: boolean): void {
    const { registry, text } = image;
    const group = this.#groups.get(registry);
    const atMs = this.#clock.monotonicMs();
    if (group?.content === content) {
      const images = group.images.size < ENOUGH ? new Set([...group.images, text]) : group.images;
      this.#groups.set(registry, { ...group, images, atMs });
      return;
    }
    if (group !== undefined && trial) this.#distrust(registry);
    if (this.#isDistrusted(registry)) return;
    const stays = group !== undefined && group.images.size >= ENOUGH;
    const tried = group?.triedAtMs;
    this.#groups.delete(registry);
    this.#groups.set(registry, {
      content,
      images: stays ? group.images : new Set([text]),
      atMs,
      ...(tried !== undefined && { triedAtMs: tried }),
    });
    forgetOldest(this.#groups);
  }

  #distrust(registry: string): void {
    this.#groups.delete(registry);
    this.#distrusted.set(registry, this.#clock.monotonicMs() + DISTRUST_MS);
    forgetOldest(this.#distrusted);
  }

  #isDistrusted(registry: string): boolean {
    const untilMs = this.#distrusted.get(registry);
    if (untilMs === undefined) return false;
    if (this.#clock.monotonicMs() < untilMs) return true;
    this.#distrusted.delete(registry);
    return false;
  }
}

function forgetOldest(map: Map<string, unknown>): void {
  const [oldest] = map.keys();
  if (map.size > MAX_REGISTRIES && oldest !== undefined) map.delete(oldest);
}
