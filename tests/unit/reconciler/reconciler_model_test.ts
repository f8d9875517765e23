import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import type { DeliveryOutcome, DeliveryRequest } from "../../../lib/model/mod.ts";
import { flushTasks } from "../../fakes/clock.ts";
import { basic, found, SECOND, Stage } from "./reconciler_stage.ts";

/** An event on a node. */
type Step =
  | { readonly kind: "mount"; readonly daemon: number; readonly image: number }
  | { readonly kind: "unmount"; readonly daemon: number }
  | { readonly kind: "restart"; readonly daemon: number }
  | { readonly kind: "rotate" | "source-down" | "source-up" }
  | { readonly kind: "hang" | "resume"; readonly daemon: number }
  | { readonly kind: "wait"; readonly seconds: number };

const daemon = fc.integer({ min: 0, max: 3 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("mount" as const),
    daemon,
    image: fc.integer({ min: 0, max: 2 }),
  }),
  fc.record({ kind: fc.constantFrom("unmount" as const, "restart" as const), daemon }),
  fc.record({
    kind: fc.constantFrom("rotate" as const, "source-down" as const, "source-up" as const),
  }),
  fc.record({ kind: fc.constantFrom("hang" as const, "resume" as const), daemon }),
  fc.record({ kind: fc.constant("wait" as const), seconds: fc.integer({ min: 1, max: 200 }) }),
);

const image = (n: number) => `registry.example.com/app:${n}`;

/** A node whose source issues increasing versions, with the invariants of every delivery. */
class Model {
  readonly stage = new Stage();
  readonly hanging = new Set<string>();
  /** The last version delivered to each mount. */
  readonly delivered = new Map<string, number>();
  /** The highest version issued for each image. */
  readonly issued = new Map<string, number>();
  version = 1;
  isDown = false;
  #snapshots = 0;

  constructor() {
    const { stage } = this;
    stage.answer = ({ image: { text } }) => {
      if (this.isDown) {
        return { kind: "failed", reason: "plugin-failed", detail: "source down", notes: [] };
      }
      this.issued.set(text, this.version);
      return found(stage.clock, `v${this.version}`, {
        refreshAtMs: stage.clock.wallMs() + 60 * SECOND,
        expiresAtMs: stage.clock.wallMs() + 3_600 * SECOND,
      });
    };
    stage.deliver = (order) => this.#deliver(order);
  }

  #deliver(order: DeliveryRequest): DeliveryOutcome {
    const { daemon, instance, credential } = order;
    if (this.hanging.has(daemon.id)) {
      return { kind: "unreachable", detail: "timed out", file: { kind: "unchanged" } };
    }
    ok(credential.kind === "basic");
    const version = Number(/^v(\d+)$/.exec(credential.password.reveal())?.[1]);
    const { text = "" } = instance.image ?? {};
    ok(version >= 1 && version <= (this.issued.get(text) ?? 0), "issued by the source");
    const key = `${daemon.id}/${instance.snapshotId}`;
    ok(version >= (this.delivered.get(key) ?? 0), `v${version} after v${this.delivered.get(key)}`);
    this.delivered.set(key, version);
    return this.stage.store_(order);
  }

  async apply(step: Step): Promise<void> {
    const { stage } = this;
    const id = "daemon" in step ? `d${step.daemon}` : "";
    const live = stage.daemons.find((one) => one.id === id);
    switch (step.kind) {
      case "mount":
        if (live !== undefined) return;
        stage.daemon(id, [{ snapshotId: `${++this.#snapshots}`, image: image(step.image) }]);
        return stage.reconciler.trigger("node-changed");
      case "unmount":
        stage.daemons = stage.daemons.filter((one) => one !== live);
        return stage.reconciler.trigger("node-changed");
      case "restart":
        // It starts with its file, which has no credential.
        for (const mount of stage.currentAuth.get(id)?.keys() ?? []) {
          stage.currentAuth.get(id)?.delete(mount);
          this.delivered.delete(`${id}${mount}`);
        }
        return stage.reconciler.trigger("node-changed");
      case "rotate":
        this.version++;
        return stage.reconciler.recheck();
      case "source-down":
        this.isDown = true;
        return;
      case "source-up":
        this.isDown = false;
        return;
      case "hang":
        this.hanging.add(id);
        return;
      case "resume":
        this.hanging.delete(id);
        return;
      case "wait":
        return await stage.clock.advance(step.seconds * SECOND);
      default:
        return step satisfies never;
    }
  }
}

Deno.test("Reconciler: delivers only issued credentials, never an older one, and converges after any events", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const model = new Model();
      const { stage } = model;
      stage.daemon("d0", [{ snapshotId: "0", image: image(0) }]);
      await stage.run(async () => {
        for (const one of steps) {
          await model.apply(one);
          await flushTasks();
        }
        // After the faults every mount has the newest credential within a few minutes.
        model.isDown = false;
        model.hanging.clear();
        stage.reconciler.recheck();
        await stage.clock.advance(300 * SECOND);
        await flushTasks();
        for (const { id, instances } of stage.daemons) {
          for (const { snapshotId } of instances) {
            strictEqual(atob(stage.authOf(id, snapshotId)), `u:v${model.version}`);
          }
        }
        const live = new Set(
          stage.daemons.flatMap(({ instances }) => instances.map(({ image }) => image?.text)),
        );
        await stage.clock.advance(400 * SECOND);
        await flushTasks();
        const known = [...stage.store.entries()].map(({ image }) => image.text);
        deepStrictEqual(
          known.filter((text) => !live.has(text)),
          [],
          "entries without a mount are evicted",
        );
      });
    }),
    { numRuns: 12 },
  );
});

Deno.test("Model: detects an older credential", async () => {
  const model = new Model();
  const { stage } = model;
  const mount = stage.daemon("d0", [{ snapshotId: "0", image: image(0) }]);
  const [instance] = mount.instances;
  ok(instance);
  model.issued.set(image(0), 2);
  const order = (password: string): DeliveryRequest => ({
    daemon: mount,
    instance,
    credential: basic(password),
  } as DeliveryRequest);
  await stage.deliver(order("v2"));
  let detected = 0;
  for (const wrong of ["v1", "v3", "other"]) {
    try {
      await stage.deliver(order(wrong));
    } catch {
      detected++;
    }
  }
  strictEqual(detected, 3);
});
