/**
 * The agent with one deliberate defect, which `NYDUS_TEST_DEFECT` names and which begins when the
 * file `NYDUS_TEST_DEFECT_FROM` is there: the campaign has to fail for each of them.
 *
 * @module
 */
import { runProgram } from "../../lib/cli/mod.ts";
import { Deliverer } from "../../lib/delivery/mod.ts";
import { Discovery } from "../../lib/discovery/mod.ts";
import * as edge from "../../lib/platform/mod.ts";
import {
  credentialSecret,
  type DeliveryOutcome,
  type DeliveryRequest,
  type FileSystem,
} from "../../lib/model/mod.ts";
import { CredentialStore } from "../../lib/credentials/mod.ts";

const STUCK_POLL_MS = 200;

const { deliver } = Deliverer.prototype;
const { discover } = Discovery.prototype;
const { due, put, evict } = CredentialStore.prototype;
const PRETENDED: DeliveryOutcome = { kind: "delivered", file: { kind: "written" } };

let begun = false;

/** Whether the defect has begun: the agent starts as it should. */
function hasBegun(): boolean {
  try {
    begun ||= Deno.statSync(Deno.env.get("NYDUS_TEST_DEFECT_FROM") ?? "").isFile;
  } catch {
    // Not yet.
  }
  return begun;
}

function mountOf({ daemon, instance }: DeliveryRequest): string {
  return `${daemon.id} ${instance.snapshotId}`;
}

const lossyFiles: FileSystem = {
  ...edge.systemFiles,
  writeAtomic: (path, text, options) =>
    edge.systemFiles.writeAtomic(
      path,
      hasBegun() ? text.replace('"a_field_of_tomorrow"', '"lost"') : text,
      options,
    ),
};

/** Puts a defect in; some replace the file system. */
const DEFECTS: Readonly<Record<string, () => FileSystem | void>> = {
  "none": () => {},
  "second mount not delivered": () => {
    const firstMounts = new Map<string, string>();
    Deliverer.prototype.deliver = function (order, options) {
      const image = order.instance.image?.text ?? "";
      const first = firstMounts.get(image) ?? mountOf(order);
      firstMounts.set(image, first);
      return !hasBegun() || first === mountOf(order)
        ? deliver.call(this, order, options)
        : Promise.resolve(PRETENDED);
    };
  },
  "expiry ignored": () => {
    CredentialStore.prototype.due = function (nowMs) {
      return due.call(this, nowMs).filter(({ stored }) =>
        !hasBegun() || stored?.provider !== "kubelet"
      );
    };
  },
  "failed delivery not retried": () => {
    const failed = new Map<string, DeliveryOutcome>();
    Deliverer.prototype.deliver = async function (order, options) {
      const key = mountOf(order);
      const known = failed.get(key);
      if (known !== undefined) return known;
      const outcome = await deliver.call(this, order, options);
      const hasFailed = outcome.kind === "unreachable" || outcome.kind === "rejected";
      if (hasBegun() && hasFailed) failed.set(key, outcome);
      return outcome;
    };
  },
  "stale credential served after refusal": () => {
    CredentialStore.prototype.put = function (image, renewal, nowMs) {
      const entry = this.get(image.text);
      const isKept = hasBegun() && entry?.stored?.provider === "kubelet";
      return isKept ? "same" : put.call(this, image, renewal, nowMs);
    };
  },
  "configuration file field lost": () => lossyFiles,
  "secret logged": () => {
    Deliverer.prototype.deliver = function (order, options) {
      const secret = credentialSecret(order.credential).reveal();
      // Passwords alone: a stage whose log has a token ends with an error of its own.
      if (hasBegun() && !secret.startsWith("tok-")) {
        // deno-lint-ignore no-console -- the defect itself
        console.error(`delivering ${btoa(secret)}`);
      }
      return deliver.call(this, order, options);
    };
  },
  "one hung daemon blocks others": () => {
    let discovery: Discovery | undefined;
    Discovery.prototype.discover = function (options) {
      discovery = this;
      return discover.call(this, options);
    };
    const isOneHung = async () =>
      discovery !== undefined &&
      (await discover.call(discovery)).daemons.some(({ state }) => state !== "running");
    Deliverer.prototype.deliver = async function (order, options) {
      while (hasBegun() && await isOneHung()) await edge.systemClock.sleep(STUCK_POLL_MS, options);
      return deliver.call(this, order, options);
    };
  },
  "live image evicted": () => {
    CredentialStore.prototype.due = function (nowMs) {
      if (hasBegun()) evict.call(this, { has: () => false }, nowMs, 0);
      return due.call(this, nowMs);
    };
  },
};

const defect = DEFECTS[Deno.env.get("NYDUS_TEST_DEFECT") ?? ""];
if (defect === undefined) throw new Error("NYDUS_TEST_DEFECT names no defect");
Deno.exitCode = await runProgram({
  host: edge.systemHost(),
  clock: edge.systemClock,
  random: edge.systemRandom,
  files: defect() ?? edge.systemFiles,
  processRunner: edge.systemProcessRunner(edge.systemClock),
  mainUrl: import.meta.url,
});
