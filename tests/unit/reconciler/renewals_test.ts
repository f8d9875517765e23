import { deepStrictEqual } from "node:assert/strict";
import {
  type CredentialRequest,
  parseImageReference,
  type Resolution,
} from "../../../lib/model/mod.ts";
import { Mounts, Renewals } from "../../../lib/reconciler/mod.ts";
import { CredentialStore } from "../../../lib/credentials/mod.ts";
import { FakeClock, flushTasks } from "../../fakes/clock.ts";
import { selectFirst } from "../../fakes/selector.ts";

const IMAGE = parseImageReference("registry.example/team/app:1");

/** Renewals whose requests the test answers, without a credential. */
function stage() {
  const clock = new FakeClock();
  const settings = { leadTimeMs: "auto", refreshIntervalMs: 240_000 } as const;
  const store = new CredentialStore({ settings, seed: "s", random: { next: () => 0.5 } });
  const observer = { notify() {} };
  const requests: CredentialRequest[] = [];
  const answers: (() => void)[] = [];
  const stages = {
    resolver: {
      resolve(request: CredentialRequest) {
        requests.push(request);
        return new Promise<Resolution>((resolve) =>
          answers.push(() => resolve({ image: IMAGE, attempts: [] }))
        );
      },
    },
  };
  const context = {
    store,
    observer,
    clock,
    selector: selectFirst,
    mounts: new Mounts(),
    stages: () => stages,
  };
  return { store, requests, answers, clock, renewals: new Renewals(context, () => {}) };
}

Deno.test("Renewals: runs 32 requests at the same time, and a stop waits for them", async () => {
  const { store, requests, answers, clock, renewals } = stage();
  for (let i = 0; i < 40; i++) store.ensure(parseImageReference(`registry.example/app:${i}`));
  renewals.start([...store.entries()]);
  await flushTasks();
  deepStrictEqual(requests.length, 32);
  deepStrictEqual(renewals.nextDueAtMs(), Infinity, "all are in flight");
  store.ensure(IMAGE);
  deepStrictEqual(renewals.nextDueAtMs(), clock.wallMs());
  let isStopped = false;
  const stopping = renewals.stop().then(() => isStopped = true);
  for (const answer of answers.splice(0, 31)) answer();
  await flushTasks();
  deepStrictEqual(isStopped, false);
  answers[0]?.();
  await stopping;
  deepStrictEqual(requests.length, 32);
});

Deno.test("Renewals: a user request is not lost during a request and a change of the source", async () => {
  const { store, requests, answers, renewals } = stage();
  store.ensure(IMAGE);
  const entries = [...store.entries()];
  renewals.start(entries);
  renewals.start(entries, { recheck: true });
  let isForced = false;
  const forced = renewals.force(IMAGE).then(() => isForced = true);
  for (let i = 0; i < 3; i++) {
    await flushTasks();
    deepStrictEqual(isForced, i === 2, "resolves after its own request");
    answers.shift()?.();
  }
  await forced;
  await renewals.idle();
  deepStrictEqual(requests.map(({ forcedAtMs }) => forcedAtMs !== undefined), [false, true]);
});
