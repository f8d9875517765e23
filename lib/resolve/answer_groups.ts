import type { Clock, ImageReference } from "../model/mod.ts";
import { ROUND_MS } from "./freshness.ts";

/** What the answers for one place have looked like. */
interface Group {
  /** Says which answers are equal. */
  readonly content: string;
  /** Members that gave this very answer, as many as are needed to believe it. */
  readonly members: ReadonlySet<string>;
  /** Monotonic time at which it was given last. */
  readonly atMs: number;
  /** Monotonic time at which a member was last asked for itself on suspicion. */
  readonly triedAtMs?: number;
}

/** Where answers are seen to be the same, and between whom. */
export interface AnswerPlace {
  place(image: ImageReference): string;
  member(image: ImageReference): string;
}

/** Between the images of one repository. */
export const WITHIN_REPOSITORY: AnswerPlace = {
  place: ({ registry, repository }) => `${registry}/${repository}`,
  member: ({ text }) => text,
};

/**
 * Between the repositories of one registry: a plugin that gives each repository a token of its own
 * gives the same one to all tags of it, which says nothing of the others.
 */
export const WITHIN_REGISTRY: AnswerPlace = {
  place: ({ registry }) => registry,
  member: ({ repository }) => repository,
};

/** So many different members must have given the same answer. */
const ENOUGH = 3;
/** A place whose images turned out to differ is not believed again for so long. */
const DISTRUST_MS = 3_600_000;
const MAX_PLACES = 1_024;

/**
 * Sees when answers that are said to hold for one image are the same for all images of a place: the
 * plugin of Google's registries answers so, with "do not cache" on top, and a node of 1,000
 * images would run it 1,000 times each round for one token.
 *
 * What was believed is put to the test when a shared answer is refused, and given up for good when
 * the image's own answer differs.
 */
export class AnswerGroups {
  readonly #clock: Clock;
  readonly #where: AnswerPlace;
  readonly #groups = new Map<string, Group>();
  readonly #distrusted = new Map<string, number>();

  constructor(clock: Clock, where: AnswerPlace) {
    this.#clock = clock;
    this.#where = where;
  }

  /** Whether one answer serves all images of this one's place. */
  shares(image: ImageReference): boolean {
    return (this.#groups.get(this.#where.place(image))?.members.size ?? 0) >= ENOUGH;
  }

  /**
   * Whether a refused image of a group should be asked for itself now; remembers that it was. Only
   * while the group's answer is young: a difference from an old one would be a new token.
   */
  mayTry(image: ImageReference): boolean {
    const place = this.#where.place(image);
    const group = this.#groups.get(place);
    if (group === undefined) return false;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - group.atMs >= ROUND_MS) return false;
    if (nowMs - (group.triedAtMs ?? -Infinity) < ROUND_MS) return false;
    this.#groups.set(place, { ...group, triedAtMs: nowMs });
    return true;
  }

  /**
   * Takes in an image's own answer. `trial`: it was asked for on suspicion, so a difference ends
   * the group; otherwise a difference may mean a new token.
   */
  learn(image: ImageReference, content: string, trial: boolean): void {
    const place = this.#where.place(image);
    const member = this.#where.member(image);
    const group = this.#groups.get(place);
    const atMs = this.#clock.monotonicMs();
    if (group?.content === content) {
      const { members } = group;
      const more = members.size < ENOUGH ? new Set([...members, member]) : members;
      this.#groups.set(place, { ...group, members: more, atMs });
      return;
    }
    if (group !== undefined && trial) this.#distrust(place);
    if (this.#isDistrusted(place)) return;
    const stays = group !== undefined && group.members.size >= ENOUGH;
    const tried = group?.triedAtMs;
    this.#groups.delete(place);
    this.#groups.set(place, {
      content,
      members: stays ? group.members : new Set([member]),
      atMs,
      ...(tried !== undefined && { triedAtMs: tried }),
    });
    forgetOldest(this.#groups);
  }

  #distrust(place: string): void {
    this.#groups.delete(place);
    this.#distrusted.set(place, this.#clock.monotonicMs() + DISTRUST_MS);
    forgetOldest(this.#distrusted);
  }

  #isDistrusted(place: string): boolean {
    const untilMs = this.#distrusted.get(place);
    if (untilMs === undefined) return false;
    if (this.#clock.monotonicMs() < untilMs) return true;
    this.#distrusted.delete(place);
    return false;
  }
}

function forgetOldest(map: Map<string, unknown>): void {
  const [oldest] = map.keys();
  if (map.size > MAX_PLACES && oldest !== undefined) map.delete(oldest);
}
