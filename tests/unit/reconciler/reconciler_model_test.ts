import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import type { DeliveryOutcome, DeliveryRequest } from "../../../lib/model/mod.ts";
import { settle } from "../../fakes/clock.ts";
import { basic, found, SECOND, Stage } from "./reconciler_stage.ts";

/** What may happen to a node, in any order. */
type Step =
  | { readonly kind: "mount"; readonly daemon: number; readonly image: number }
  | { readonly kind: "unmount"; readonly daemon: number }
  | { readonly kind: "restart"; readonly daemon: number }
  | { readonly kind: "rotate" | "source-down" | "source-up" }
  | { readonly kind: "deaf" | "hearing"; readonly daemon: number }
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
  fc.record({ kind: fc.constantFrom("deaf" as const, "hearing" as const), daemon }),
  fc.record({ kind: fc.constant("wait" as const), seconds: fc.integer({ min: 1, max: 200 }) }),
);

const image = (n: number) => `registry.example.com/app:${n}`;

/** A node whose source counts up, with what must be true of it whatever happens. */
class Model {
  readonly stage = new Stage();
  readonly deaf = new Set<string>();
  /** The version that each mount was given last. */
  readonly given = new Map<string, number>();
  /** The highest version that was ever issued for each image. */
  readonly issued = new Map<string, number>();
  version = 1;
  isDown = false;
  #snapshots = 0;

  constructor() {
    const { stage } = this;
    stage.answer = ({ image: { text } }) => {
      if (this.isDown) {
        return { kind: "failed", reason: "plugin-failed", detail: "it is down", notes: [] };
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
    if (this.deaf.has(daemon.id)) {
      return { kind: "unreachable", detail: "timed out", file: { kind: "unchanged" } };
    }
    ok(credential.kind === "basic");
    const version = Number(/^v(\d+)$/.exec(credential.password.reveal())?.[1]);
    const { text = "" } = instance.image ?? {};
    ok(version >= 1 && version <= (this.issued.get(text) ?? 0), "only what the source has given");
    const key = `${daemon.id}/${instance.snapshotId}`;
    ok(version >= (this.given.get(key) ?? 0), `v${version} after v${this.given.get(key)}`);
    this.given.set(key, version);
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
        // It comes back with what its file said when it was mounted: nothing.
        for (const mount of stage.currentAuth.get(id)?.keys() ?? []) {
          stage.currentAuth.get(id)?.delete(mount);
          this.given.delete(`${id}${mount}`);
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
      case "deaf":
        this.deaf.add(id);
        return;
      case "hearing":
        this.deaf.delete(id);
        return;
      case "wait":
        return await stage.clock.advance(step.seconds * SECOND);
      default:
        return step satisfies never;
    }
  }
}

Deno.test("whatever happens: only what the source gave, never an older one, and all in the end", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const model = new Model();
      const { stage } = model;
      stage.daemon("d0", [{ snapshotId: "0", image: image(0) }]);
      await stage.run(async () => {
        for (const one of steps) {
          await model.apply(one);
          await settle();
        }
        // The faults end; then every mount has the newest within a few minutes.
        model.isDown = false;
        model.deaf.clear();
        stage.reconciler.recheck();
        await stage.clock.advance(300 * SECOND);
        await settle();
        for (const { id, instances } of stage.daemons) {
          for (const { snapshotId } of instances) {
            strictEqual(atob(stage.holds(id, snapshotId)), `u:v${model.version}`);
          }
        }
        const live = new Set(
          stage.daemons.flatMap(({ instances }) => instances.map(({ image }) => image?.text)),
        );
        await stage.clock.advance(400 * SECOND);
        await settle();
        const known = [...stage.store.entries()].map(({ image }) => image.text);
        deepStrictEqual(known.filter((text) => !live.has(text)), [], "what is gone is forgotten");
      });
    }),
    { numRuns: 12 },
  );
});

Deno.test("the model notices an older credential", async () => {
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
  let noticed = 0;
  for (const wrong of ["v1", "v3", "other"]) {
    try {
      await stage.deliver(order(wrong));
    } catch {
      noticed++;
    }
  }
  strictEqual(noticed, 3);
});
