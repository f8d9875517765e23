import { deepEqual, ok } from "node:assert/strict";
import fc from "fast-check";
import type { DeliveryOutcome, DeliveryRequest } from "../../../lib/model/mod.ts";
import { KubeletProvider } from "../../../lib/providers/mod.ts";
import { flushTasks } from "../../fakes/clock.ts";
import { Cluster } from "../../fakes/cluster.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeProcessRunner } from "../../fakes/process.ts";
import { FakeRandom } from "../../fakes/random.ts";
import { CONFIG_PATH, response } from "../providers/exec_plugin/plugins.ts";
import { SECOND, Stage } from "./reconciler_stage.ts";

/** An event on a node whose plugin returns credentials per service account. */
type Step =
  | { readonly kind: "account" | "delete" | "annotate"; readonly account: string }
  | { readonly kind: "pod"; readonly account: string; readonly image: string }
  | { readonly kind: "end"; readonly nth: number }
  | { readonly kind: "mount"; readonly daemon: string; readonly image: string }
  | { readonly kind: "unmount" | "hang" | "resume"; readonly daemon: string }
  | { readonly kind: "restart" | "empty" | "filled" | "down" | "up" }
  | { readonly kind: "wait"; readonly seconds: number };

const account = fc.constantFrom("a", "b");
const daemon = fc.constantFrom("d0", "d1", "d2");
const image = fc.constantFrom("reg.io/x:1", "reg.io/y:1");
const step = fc.oneof(
  { arbitrary: fc.record({ kind: fc.constantFrom("account", "annotate"), account }), weight: 2 },
  { arbitrary: fc.record({ kind: fc.constant("delete"), account }), weight: 2 },
  { arbitrary: fc.record({ kind: fc.constant("pod"), account, image }), weight: 3 },
  fc.record({ kind: fc.constant("end"), nth: fc.nat(3) }),
  { arbitrary: fc.record({ kind: fc.constant("mount"), daemon, image }), weight: 4 },
  {
    arbitrary: fc.record({ kind: fc.constantFrom("unmount", "hang", "resume"), daemon }),
    weight: 2,
  },
  fc.record({ kind: fc.constantFrom("restart", "restart", "empty", "filled", "down", "up") }),
  fc.record({ kind: fc.constant("wait"), seconds: fc.constantFrom(5, 90) }),
) as fc.Arbitrary<Step>;

const CONFIG = {
  apiVersion: "kubelet.config.k8s.io/v1",
  kind: "CredentialProviderConfig",
  providers: [{
    name: "p",
    matchImages: ["reg.io"],
    defaultCacheDuration: "1h",
    apiVersion: "credentialprovider.kubelet.k8s.io/v1",
    tokenAttributes: {
      serviceAccountTokenAudience: "aud",
      requireServiceAccount: true,
      optionalServiceAccountAnnotationKeys: ["version"],
      cacheType: "ServiceAccount",
    },
  }],
};

/** The accounts, and the images that their pods use, as of the last answer of the server. */
type Known = { readonly uids: ReadonlyMap<string, string>; readonly users: ReadonlySet<string> };

/** Mounts, pods and accounts, with the invariants of every delivery. */
class Model {
  stage = new Stage();
  readonly cluster = new Cluster(this.stage.clock);
  readonly hanging = new Set<string>();
  /** Forbidden deliveries. Checked later, because the reconciler handles errors of a delivery. */
  readonly violations: string[] = [];
  isEmpty = false;
  known: Known = this.#snapshot();
  #provider = this.#newProvider();
  #snapshots = 0;

  constructor() {
    this.#wire();
    for (const name of ["a", "b"]) this.cluster.addAccount(name, { version: "0" });
  }

  /** A credential of an account may be delivered to the images of its pods while it exists. */
  #deliver(order: DeliveryRequest): DeliveryOutcome {
    const { daemon, instance, credential } = order;
    ok(credential.kind === "basic");
    const [, owner = "", uid = ""] = /^aud (\w+) (\w+) /.exec(credential.password.reveal()) ?? [];
    const { text = "" } = instance.image ?? {};
    const exists = this.known.uids.get(owner) === uid;
    if (!exists || !this.known.users.has(`${owner} ${text}`)) {
      this.violations.push(`${text} on ${daemon.id} has the credential of ${owner} (${uid})`);
    }
    if (this.hanging.has(daemon.id)) {
      return { kind: "unreachable", detail: "timed out", file: { kind: "unchanged" } };
    }
    return this.stage.store_(order);
  }

  async apply(step: Step): Promise<void> {
    const { stage, cluster } = this;
    const id = "daemon" in step ? step.daemon : "";
    switch (step.kind) {
      case "account":
        cluster.addAccount(step.account, { version: "0" });
        break;
      case "annotate": {
        const known = cluster.accounts.get(step.account);
        if (known) known.annotations = { version: `${++this.#snapshots}` };
        break;
      }
      case "delete":
        cluster.accounts.delete(step.account);
        break;
      case "pod":
        cluster.addPod(step.account, step.image);
        break;
      case "end":
        cluster.pods.delete([...cluster.pods.keys()][step.nth] ?? "");
        break;
      case "mount":
        if (stage.daemons.some((one) => one.id === id)) return;
        stage.daemon(id, [{ snapshotId: `${++this.#snapshots}`, image: step.image }]);
        return stage.reconciler.trigger("node-changed");
      case "unmount":
        stage.daemons = stage.daemons.filter((one) => one.id !== id);
        return stage.reconciler.trigger("node-changed");
      case "hang":
        this.hanging.add(id);
        return;
      case "resume":
        this.hanging.delete(id);
        return;
      case "empty":
      case "filled":
        this.isEmpty = step.kind === "empty";
        return;
      case "down":
      case "up":
        cluster.down = step.kind === "down";
        break;
      case "restart":
        return;
      case "wait":
        return await stage.clock.advance(step.seconds * SECOND);
      default:
        return step satisfies never;
    }
    if (!cluster.down) this.known = this.#snapshot();
    stage.reconciler.recheck(); // as the watches of pods and accounts do
  }

  /** After one reconcile the store has no credential of an account that no longer exists. */
  check(): void {
    deepEqual(this.violations, []);
    if (this.cluster.down) return;
    for (const { image, stored } of this.stage.store.entries()) {
      const [, owner = "", uid] = /^n\/(\w+) \((\w+)\)/.exec(stored?.candidate.account ?? "") ?? [];
      if (owner === "") continue;
      ok(
        this.known.uids.get(owner) === uid,
        `${owner} (${uid}) does not exist, ${image.text} does`,
      );
      ok(this.known.users.has(`${owner} ${image.text}`), `${owner} has no pod with ${image.text}`);
    }
  }

  /** Restarts the agent, which then knows only the credentials in nydusd. */
  restart(): void {
    const { daemons, currentAuth, clock } = this.stage;
    this.stage = new Stage(clock);
    this.stage.daemons = daemons;
    for (const [id, mounts] of currentAuth) this.stage.currentAuth.set(id, mounts);
    this.#provider = this.#newProvider();
    this.#wire();
  }

  #wire(): void {
    this.stage.answer = (request) => this.#provider.provide(request);
    this.stage.deliver = (order) => this.#deliver(order);
  }

  #snapshot(): Known {
    const uids = [...this.cluster.accounts].map(([name, { uid }]) => [name, uid] as const);
    const users = [...this.cluster.pods.values()].map(({ image, pod }) =>
      `${pod.serviceAccount} ${image}`
    );
    return { uids: new Map(uids), users: new Set(users) };
  }

  #newProvider(): KubeletProvider {
    const files = new FakeFiles();
    files.set(CONFIG_PATH, JSON.stringify(CONFIG));
    return new KubeletProvider({
      signal: new AbortController().signal,
      configPath: CONFIG_PATH,
      binDir: "/bin/plugins",
      timeoutMs: 60 * SECOND,
      maxParallel: 4,
      files,
      processRunner: new FakeProcessRunner(({ stdin }) =>
        this.isEmpty
          ? response(null)
          : response({ "*.io": ["u", `${JSON.parse(stdin).serviceAccountToken} and more`] }, {
            type: "Registry",
            duration: "1h",
          })
      ),
      clock: this.stage.clock,
      random: new FakeRandom(),
      observer: this.stage.observer,
      accounts: () => this.cluster,
    });
  }
}

async function play(steps: readonly Step[]): Promise<void> {
  const model = new Model();
  let rest = steps;
  while (rest.length > 0) {
    const end = rest.findIndex(({ kind }) => kind === "restart");
    const part = end < 0 ? rest : rest.slice(0, end);
    await model.stage.run(async () => {
      for (const one of part) {
        await model.apply(one);
        await flushTasks(); // completes the requests before time passes
        await model.stage.clock.advance(2 * SECOND); // changes are debounced
        await flushTasks();
        model.check();
      }
    });
    rest = end < 0 ? [] : rest.slice(end + 1);
    model.restart();
  }
}

Deno.test("Reconciler: delivers no credential of a deleted account or of an account without a pod, after any events", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 15, maxLength: 40 }), play),
    { numRuns: 15 },
  );
});

const X = "reg.io/x:1";

Deno.test("Reconciler: does not adopt the credential of an account for another mount after a restart", async () => {
  await play([
    { kind: "mount", daemon: "d0", image: X },
    { kind: "pod", account: "a", image: X },
    { kind: "delete", account: "a" },
    { kind: "restart" },
    { kind: "mount", daemon: "d1", image: X },
    { kind: "wait", seconds: 90 },
  ]);
});

Deno.test("Reconciler: does not adopt an earlier credential of an account for another mount", async () => {
  await play([
    { kind: "mount", daemon: "d0", image: X },
    { kind: "pod", account: "a", image: X },
    { kind: "hang", daemon: "d0" },
    { kind: "annotate", account: "a" },
    { kind: "delete", account: "a" },
    { kind: "resume", daemon: "d0" },
    { kind: "mount", daemon: "d1", image: X },
    { kind: "wait", seconds: 90 },
  ]);
});
