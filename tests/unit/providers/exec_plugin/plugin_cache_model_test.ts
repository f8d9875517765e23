/** Checks the plugin cache against a small model, with random requests and virtual time. */
import { deepEqual, equal, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import { kubelet, pairs, requestFor, response } from "./plugins.ts";

const IMAGES = ["a.example.com/x:1", "a.example.com/y:1", "b.example.com/x:1"] as const;
const SHARED_EXECUTION_MS = 10_000;
const TYPES = ["Image", "Registry", "Global"] as const;

/** Behavior of the plugin from now on. */
type Behavior =
  | { readonly kind: "respond"; readonly type: typeof TYPES[number]; readonly seconds: number }
  | { readonly kind: "no-credential" | "fail" };

type Step =
  | Behavior
  | { readonly kind: "request"; readonly image: number }
  | { readonly kind: "wait"; readonly seconds: number }
  | { readonly kind: "step-clock"; readonly seconds: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { arbitrary: fc.record({ kind: fc.constant("request" as const), image: fc.nat(2) }), weight: 5 },
  {
    arbitrary: fc.record({ kind: fc.constant("wait" as const), seconds: fc.nat(90) }),
    weight: 3,
  },
  fc.record({
    kind: fc.constant("step-clock" as const),
    seconds: fc.integer({ min: -7_200, max: 7_200 }),
  }),
  fc.record({
    kind: fc.constant("respond" as const),
    type: fc.constantFrom(...TYPES),
    seconds: fc.constantFrom(0, 5, 30, 60),
  }),
  fc.record({ kind: fc.constantFrom("no-credential" as const, "fail" as const) }),
);

interface ModelEntry {
  readonly pair: string | undefined;
  readonly wallMs: number;
  readonly monotonicMs: number;
  readonly cacheMs: number;
}

/** Model of the cache: which response serves an image. */
class Model {
  readonly known = new Map<string, ModelEntry>();

  scopes(image: string): readonly string[] {
    return [image, image.split("/")[0] ?? "", "all"];
  }

  find(image: string, wallMs: number, monotonicMs: number): ModelEntry | undefined {
    return this.scopes(image).map((scope) => this.known.get(scope)).find((one) =>
      one !== undefined &&
      Math.max(wallMs - one.wallMs, monotonicMs - one.monotonicMs) < one.cacheMs
    );
  }
}

async function run(steps: readonly Step[], alter = (found: readonly string[]) => found) {
  const { provider, clock, runner } = kubelet([{ name: "p", matchImages: ["*.example.com"] }]);
  const model = new Model();
  let behavior: Behavior = { kind: "respond", type: "Registry", seconds: 30 };
  let executions = 0;
  let retryAtMs = -Infinity;
  runner.answer = () => {
    executions++;
    if (behavior.kind !== "respond") return behavior.kind === "fail" ? "not JSON" : response(null);
    const { type, seconds } = behavior;
    const duration = `${seconds}s`;
    return response({ "*.example.com": ["u", String(executions)] }, { type, duration });
  };
  const provide = async (image: string) => {
    const [wallMs, monotonicMs] = [clock.wallMs(), clock.monotonicMs()];
    const expected = model.find(image, wallMs, monotonicMs);
    const before = executions;
    const outcome = await provider.provide(requestFor(image));
    const found = alter(pairs(outcome));
    if (expected !== undefined) {
      equal(executions, before, "it was executed although a cached response is usable");
      deepEqual(found, expected.pair === undefined ? [] : [expected.pair]);
      return;
    }
    if (executions === before) {
      equal(outcome.kind, "failed", "it was neither served nor executed");
      ok(monotonicMs < retryAtMs, "it was not executed although it is not in backoff");
      return;
    }
    if (behavior.kind === "fail") {
      equal(outcome.kind, "failed");
      retryAtMs = monotonicMs + 600_000; // the exact backoff is tested elsewhere
      return;
    }
    retryAtMs = -Infinity;
    const pair = behavior.kind === "respond" ? `u:${executions}` : undefined;
    deepEqual(found, pair === undefined ? [] : [pair]);
    const [scope, cacheMs] = behavior.kind === "respond"
      ? [model.scopes(image)[TYPES.indexOf(behavior.type)], (behavior.seconds || 10) * 1_000]
      : [model.scopes(image)[1], SHARED_EXECUTION_MS];
    model.known.set(scope ?? "", { pair, wallMs, monotonicMs, cacheMs });
  };
  for (const one of steps) {
    if (one.kind === "request") await provide(IMAGES[one.image] ?? "");
    else if (one.kind === "wait") await clock.advance(one.seconds * 1_000);
    else if (one.kind === "step-clock") clock.stepWall(one.seconds * 1_000);
    else behavior = one;
  }
}

Deno.test("Plugin: serves a response only to its cache key and within its cache duration", async () => {
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), (steps) => run(steps)), {
    numRuns: 150,
  });
});

Deno.test("Plugin model: detects a response older than its cache duration", async () => {
  const request: Step = { kind: "request", image: 0 };
  const steps: readonly Step[] = [request, { kind: "wait", seconds: 40 }, request];
  await run(steps);
  let error: unknown;
  await run(steps, (found) => found.map(() => "u:1")).catch((caught) => error = caught);
  throws(() => {
    throw error;
  }, /u:1/);
});
