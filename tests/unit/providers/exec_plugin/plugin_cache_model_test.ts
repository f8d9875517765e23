/** The answers of a plugin against a few lines of model, under random questions and virtual time. */
import { deepEqual, equal, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import { ask, kubelet, pairs, response } from "./plugins.ts";

const IMAGES = ["a.example.com/x:1", "a.example.com/y:1", "b.example.com/x:1"] as const;
const SHARED_EXECUTION_MS = 10_000;
const TYPES = ["Image", "Registry", "Global"] as const;

/** What the plugin does from now on. */
type Mood =
  | { readonly kind: "answer"; readonly type: typeof TYPES[number]; readonly seconds: number }
  | { readonly kind: "has-nothing" | "breaks" };

type Step =
  | Mood
  | { readonly kind: "ask"; readonly image: number }
  | { readonly kind: "wait"; readonly seconds: number }
  | { readonly kind: "step-clock"; readonly seconds: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { arbitrary: fc.record({ kind: fc.constant("ask" as const), image: fc.nat(2) }), weight: 5 },
  {
    arbitrary: fc.record({ kind: fc.constant("wait" as const), seconds: fc.nat(90) }),
    weight: 3,
  },
  fc.record({
    kind: fc.constant("step-clock" as const),
    seconds: fc.integer({ min: -7_200, max: 7_200 }),
  }),
  fc.record({
    kind: fc.constant("answer" as const),
    type: fc.constantFrom(...TYPES),
    seconds: fc.constantFrom(0, 5, 30, 60),
  }),
  fc.record({ kind: fc.constantFrom("has-nothing" as const, "breaks" as const) }),
);

interface Known {
  readonly pair: string | undefined;
  readonly wallMs: number;
  readonly monotonicMs: number;
  readonly servesMs: number;
}

/** Which answer serves an image: the model. */
class Model {
  readonly known = new Map<string, Known>();

  scopes(image: string): readonly string[] {
    return [image, image.split("/")[0] ?? "", "all"];
  }

  find(image: string, wallMs: number, monotonicMs: number): Known | undefined {
    return this.scopes(image).map((scope) => this.known.get(scope)).find((one) =>
      one !== undefined &&
      Math.max(wallMs - one.wallMs, monotonicMs - one.monotonicMs) < one.servesMs
    );
  }
}

async function judge(steps: readonly Step[], spoil = (found: readonly string[]) => found) {
  const { provider, clock, runner } = kubelet([{ name: "p", matchImages: ["*.example.com"] }]);
  const model = new Model();
  let mood: Mood = { kind: "answer", type: "Registry", seconds: 30 };
  let executions = 0;
  let retryAtMs = -Infinity;
  runner.answer = () => {
    executions++;
    if (mood.kind !== "answer") return mood.kind === "breaks" ? "not JSON" : response(null);
    const { type, seconds } = mood;
    const duration = `${seconds}s`;
    return response({ "*.example.com": ["u", String(executions)] }, { type, duration });
  };
  const askFor = async (image: string) => {
    const [wallMs, monotonicMs] = [clock.wallMs(), clock.monotonicMs()];
    const expected = model.find(image, wallMs, monotonicMs);
    const before = executions;
    const outcome = await provider.provide(ask(image));
    const found = spoil(pairs(outcome));
    if (expected !== undefined) {
      equal(executions, before, "it was asked although an answer serves");
      deepEqual(found, expected.pair === undefined ? [] : [expected.pair]);
      return;
    }
    if (executions === before) {
      equal(outcome.kind, "failed", "nothing serves, and it was not asked");
      ok(monotonicMs < retryAtMs, "it was left alone for no reason");
      return;
    }
    if (mood.kind === "breaks") {
      equal(outcome.kind, "failed");
      retryAtMs = monotonicMs + 600_000; // how long exactly is the backoff's own matter
      return;
    }
    retryAtMs = -Infinity;
    const pair = mood.kind === "answer" ? `u:${executions}` : undefined;
    deepEqual(found, pair === undefined ? [] : [pair]);
    const [scope, servesMs] = mood.kind === "answer"
      ? [model.scopes(image)[TYPES.indexOf(mood.type)], (mood.seconds || 10) * 1_000]
      : [model.scopes(image)[1], SHARED_EXECUTION_MS];
    model.known.set(scope ?? "", { pair, wallMs, monotonicMs, servesMs });
  };
  for (const one of steps) {
    if (one.kind === "ask") await askFor(IMAGES[one.image] ?? "");
    else if (one.kind === "wait") await clock.advance(one.seconds * 1_000);
    else if (one.kind === "step-clock") clock.stepWall(one.seconds * 1_000);
    else mood = one;
  }
}

Deno.test("a plugin's answers serve whom they are for, as long as they say, and nobody else", async () => {
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), (steps) => judge(steps)), {
    numRuns: 150,
  });
});

Deno.test("the model of the answers notices one that is older than it may be", async () => {
  const asked: Step = { kind: "ask", image: 0 };
  const steps: readonly Step[] = [asked, { kind: "wait", seconds: 40 }, asked];
  await judge(steps);
  let error: unknown;
  await judge(steps, (found) => found.map(() => "u:1")).catch((caught) => error = caught);
  throws(() => {
    throw error;
  }, /u:1/);
});
