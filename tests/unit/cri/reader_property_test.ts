/** Compares generated conversations with the effect of the same calls on a cache. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { parseImageReference, Secret } from "../../../lib/model/mod.ts";
import { CriConnectionReader, type CriNote, PullCredentialCache } from "../../../lib/cri/mod.ts";
import type { PullTicket } from "../../../lib/cri/pull_credential_cache.ts";
import {
  Conversation,
  PULL,
  pulled,
  REMOVE,
  type Sent,
  type WireCall,
  type WireStyle,
} from "../../fakes/cri_conversation.ts";
import { field, pullImageRequest, removeImageRequest } from "../../fakes/cri_messages.ts";
import { cut, joined } from "../../fakes/http2_peer.ts";

const NOW_MS = 1_750_000_000_000;
const IMAGES = ["nginx", "redis:7", "quay.io/team/app:v1", "localhost:5000/a/b/c"];
const IDS = ["a", "b"].map((digit) => `sha256:${digit.repeat(64)}`);

/** A call and its encoding. */
interface Plan {
  readonly kind: "pull" | "remove" | "other";
  readonly image: string;
  readonly password: string;
  readonly bulk: number;
  readonly end: "succeeded" | "refused" | "failed" | "reset" | "none";
  readonly id: string;
  readonly style: WireStyle;
  readonly resize: number | undefined;
}

const share = fc.double({ min: 0, max: 1, noNaN: true });
const shares = fc.array(share, { maxLength: 4 });
const style: fc.Arbitrary<WireStyle> = fc.record({
  fields: fc.record({
    huffman: fc.boolean(),
    literal: fc.constantFrom("incremental", "without-indexing", "never-indexed"),
    indexed: fc.boolean(),
  }),
  padding: fc.constantFrom(0, 0, 1, 200),
  priority: fc.boolean(),
  blockCuts: fc.oneof(fc.constant([]), shares),
  dataCuts: shares,
  emptyEnd: fc.boolean(),
});
const plan: fc.Arbitrary<Plan> = fc.record({
  kind: fc.constantFrom("pull", "pull", "pull", "remove", "other"),
  image: fc.constantFrom(...IMAGES),
  password: fc.constantFrom("one", "two", "three", ""),
  bulk: fc.constantFrom(0, 0, 0, 20_000),
  end: fc.constantFrom("succeeded", "succeeded", "refused", "failed", "reset", "none"),
  id: fc.constantFrom(...IDS),
  style,
  resize: fc.constantFrom(undefined, undefined, 0, 100, 4_096),
});

function wireCall({ kind, image, password, bulk, end, id, style }: Plan): WireCall {
  const pod = { name: `pod-${password}`, uid: password, namespace: "shop" };
  const auth = password === "" ? undefined : { username: "robot", password };
  const message = kind === "remove"
    ? removeImageRequest(image)
    : pullImageRequest({ image, pod, extra: field(7, "x".repeat(bulk)), ...(auth && { auth }) });
  const path = { pull: PULL, remove: REMOVE, other: `${PULL}s` }[kind];
  return { path, message, answer: answerOf(end, id), style };
}

function answerOf(end: Plan["end"], id: string): WireCall["answer"] {
  switch (end) {
    case "succeeded":
      return pulled(id);
    case "refused":
      return { kind: "status", status: "2", text: "unexpected status code 403 Forbidden" };
    case "failed":
      return { kind: "status", status: "2", text: "mkdir /x: permission denied" };
    case "reset":
      return { kind: "reset", by: "client" };
    case "none":
      return { kind: "none" };
    default: {
      const unknown: never = end;
      return unknown;
    }
  }
}

/** Applies the effects of a call to a cache. */
class Oracle {
  readonly cache = new PullCredentialCache({ now: () => NOW_MS });
  readonly #tickets = new Map<Plan, PullTicket>();

  requested(one: Plan): void {
    const { kind, image, password } = one;
    if (kind !== "pull") return;
    const secret = new Secret(password);
    const ticket = this.cache.record({
      image: parseImageReference(image),
      pod: { name: `pod-${password}`, uid: password, namespace: "shop" },
      ...(password !== "" && {
        credential: { kind: "basic", username: "robot", password: secret },
      }),
    });
    this.#tickets.set(one, ticket);
  }

  ended(one: Plan): void {
    const { kind, image, end, id } = one;
    if (kind === "remove" && end === "succeeded") this.cache.forget(image);
    const ticket = this.#tickets.get(one);
    if (ticket === undefined) return;
    if (end === "succeeded") this.cache.complete(ticket, "succeeded", id);
    if (end === "refused") this.cache.complete(ticket, "refused");
  }
}

interface Step {
  readonly sent: Sent;
  readonly after: () => void;
}

/** The steps of one call, each with its effect. */
function* stepsOf(talk: Conversation, one: Plan, oracle: Oracle): Generator<Step, void> {
  const { resize, style: { emptyEnd, dataCuts } } = one;
  if (resize !== undefined) talk.resizeClient(resize);
  // The request is complete with its last byte, also if END_STREAM arrives later.
  let left = requestLength(one);
  const dataSteps = dataCuts.length + 1 + (emptyEnd ? 1 : 0);
  let place = -1;
  const calls = [...sharesOf(requestLength(one), dataCuts)];
  for (const sent of talk.call(wireCall(one))) {
    const index = place++;
    const isData = sent.from === "client" && index >= 0 && index < dataSteps;
    const before = left;
    if (isData) left -= calls[index] ?? 0;
    const completes = isData && before > 0 && left === 0;
    yield {
      sent,
      after: () => {
        if (completes) oracle.requested(one);
        if (isEnd(sent)) oracle.ended(one);
      },
    };
  }
}

function requestLength(one: Plan): number {
  return wireCall(one).message.length + 5;
}

function sharesOf(length: number, dataCuts: readonly number[]): number[] {
  return cut(new Uint8Array(length), dataCuts).map((part) => part.length);
}

/** A step of the server that closes the stream: its first frame carries HEADERS and END_STREAM. */
function isEnd({ from, bytes }: Sent): boolean {
  return from === "server" && bytes[3] === 1 && ((bytes[4] ?? 0) & 1) === 1;
}

/** Interleaves calls in the given order. */
function* interleaved(
  plans: readonly Plan[],
  order: readonly number[],
  oracle: Oracle,
): Generator<Sent, void> {
  const talk = new Conversation();
  yield* talk.opening();
  const open = plans.map((one) => stepsOf(talk, one, oracle));
  for (let turn = 0; open.length > 0; turn++) {
    const place = (order[turn % order.length] ?? 0) % open.length;
    const next = open[place]?.next();
    if (next === undefined || next.done) {
      open.splice(place, 1);
      continue;
    }
    yield next.value.sent;
    next.value.after();
    if (turn % 7 === 3) yield* talk.chatter();
  }
}

Deno.test("CriConnectionReader: any conversation, split anywhere, has the effect of its calls", () => {
  const scenario = fc.record({
    plans: fc.array(plan, { minLength: 1, maxLength: 12 }),
    order: fc.array(fc.nat({ max: 11 }), { minLength: 1, maxLength: 40 }),
    cuts: fc.array(shares, { minLength: 1, maxLength: 20 }),
    isMerged: fc.boolean(),
  });
  let seen = 0;
  fc.assert(
    fc.property(scenario, ({ plans, order, cuts, isMerged }) => {
      const oracle = new Oracle();
      const notes: CriNote[] = [];
      const cache = new PullCredentialCache({ now: () => NOW_MS });
      const reader = new CriConnectionReader({ cache, note: (note) => notes.push(note) });
      let step = 0;
      let kept: Sent | undefined;
      const give = ({ from, bytes }: Sent) => {
        for (const part of cut(bytes, cuts[step++ % cuts.length] ?? [])) {
          if (from === "client") reader.fromClient(part);
          else reader.fromServer(part);
        }
      };
      for (const sent of interleaved(plans, order, oracle)) {
        // Consecutive frames of one side may also arrive in one chunk.
        if (isMerged && kept?.from === sent.from) {
          kept = { from: sent.from, bytes: joined(kept.bytes, sent.bytes) };
          continue;
        }
        if (kept !== undefined) give(kept);
        kept = sent;
        if (!isMerged) {
          give(sent);
          kept = undefined;
        }
      }
      if (kept !== undefined) give(kept);
      assert.deepEqual(notes, []);
      assert.equal(cache.serialize().reveal(), oracle.cache.serialize().reveal());
      seen += cache.size;
    }),
    { numRuns: 300 },
  );
  assert.ok(seen > 300);
});
