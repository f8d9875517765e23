import { deepEqual } from "node:assert/strict";
import fc from "fast-check";
import type { CredentialProvider, ProviderName } from "../../../lib/model/mod.ts";
import { CredentialChain } from "../../../lib/providers/mod.ts";
import { FakeClock, flushTasks } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { kubelet, pairs, requestFor, response } from "./exec_plugin/plugins.ts";

const IMAGE = "registry.example.com/team/app:1";
/** Not sorted by specificity, so that the order of candidates differs from the order of plugins. */
const PATTERNS = [
  "registry.example.com",
  "*.example.com",
  "registry.example.com/team",
  "registry.*.com",
  "registry.example.com/team/app",
];

Deno.test("KubeletProvider: ranks candidates independently of the order in which plugins respond", async () => {
  const plugins = PATTERNS.map((_, i) => ({
    name: `p${i}`,
    matchImages: ["*.example.com"],
    duration: "1h",
  }));
  const expected = await winners([...plugins.keys()]);
  await fc.assert(
    fc.asyncProperty(
      fc.shuffledSubarray([...plugins.keys()], { minLength: plugins.length }),
      async (order) => deepEqual(await winners(order), expected),
    ),
    { numRuns: 60 },
  );

  /** Returns the credentials when the plugins respond one after the other in this order. */
  async function winners(order: readonly number[]): Promise<readonly string[]> {
    const { provider, runner } = kubelet(plugins, { maxParallel: plugins.length });
    const responses = plugins.map(() => Promise.withResolvers<void>());
    runner.answer = async ({ path }) => {
      const i = Number(/p(\d+)$/.exec(path)?.[1]);
      await responses[i]?.promise;
      return response({ [PATTERNS[i] ?? ""]: ["u", `of-p${i}`] });
    };
    await provider.reload();
    const pending = provider.provide(requestFor(IMAGE));
    for (const i of order) {
      responses[i]?.resolve();
      await flushTasks();
    }
    return pairs(await pending);
  }
});

Deno.test("CredentialChain: selects the winner independently of how long each provider takes", async () => {
  const names: readonly ProviderName[] = ["labels", "cri", "docker", "kubelet", "kubesecret"];
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          found: fc.constantFrom("found" as const, "none" as const, "failed" as const),
          takesMs: fc.integer({ min: 0, max: 10_000 }),
        }),
        { minLength: names.length, maxLength: names.length },
      ),
      async (answers) => {
        const winner = async (takes: readonly number[]) => {
          const clock = new FakeClock();
          const providers = names.map((name, i): CredentialProvider => ({
            name,
            renewable: true,
            provide: async () => {
              await clock.sleep(takes[i] ?? 0);
              const { found: kind = "none" } = answers[i] ?? {};
              if (kind === "none") return { kind, reason: "no-pull-observed", notes: [] };
              if (kind === "failed") {
                return { kind, reason: "unreadable", detail: "it is", notes: [] };
              }
              const credential = { kind: "registry-token", token: name } as never;
              const candidate = { credential, origin: name, fetchedAtMs: 0, watched: true };
              return { kind, reason: "found", notes: [], candidates: [candidate] };
            },
          }));
          const chain = new CredentialChain({ providers, clock, observer: new FakeObserver() });
          const pending = chain.resolve(requestFor(IMAGE), { all: true });
          for (let i = 0; i <= names.length; i++) {
            await flushTasks();
            await clock.advance(10_000);
          }
          return (await pending).winner?.provider;
        };
        const slow = await winner(answers.map(({ takesMs }) => takesMs));
        deepEqual(slow, await winner(answers.map(() => 0)));
        deepEqual(slow, names.find((_, i) => answers[i]?.found === "found"));
      },
    ),
    { numRuns: 40 },
  );
});
