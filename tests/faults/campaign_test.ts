import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "@std/path";
import { campaignOn, runCampaign, seeded, shuffled } from "./campaign.ts";
import { type Fault, fault, NOTHING } from "./fault.ts";
import { FAULTS } from "./faults.ts";
import { grown, leakedResources } from "./current_auths.ts";
import { FaultStage } from "./stage.ts";
import { type ProcessResources, resourcesOf } from "./watchers.ts";

const BOUNDS = { recoveredMs: 10_000, releasedMs: 2_000 };

function fileOf(stage: FaultStage): string {
  return stage.daemon("d2").instances[0]?.configPath ?? "";
}

/** Undone when the next fault starts: the fault itself would undo it before the check. */
const undo: (() => void)[] = [];

function breach(name: string, lastsMs: number, begin: Fault["begin"]): Fault {
  return fault(name, lastsMs, async (stage) => {
    for (const back of undo.splice(0)) back();
    return await begin(stage);
  });
}

/** Faults that violate exactly one invariant, and the breach to report. */
const BREACHES: readonly (readonly [Fault, RegExp])[] = [
  [breach("nothing is broken", 500, () => Promise.resolve(NOTHING)), /^$/],
  [
    breach("a file is not parsable for a moment", 0, async (stage) => {
      const path = fileOf(stage);
      const text = await Deno.readTextFile(path);
      await Deno.writeTextFile(path, text.slice(0, 20));
      await new Promise((resolve) => setTimeout(resolve, 100));
      await Deno.writeTextFile(path, text);
      return NOTHING;
    }),
    /SyntaxError/,
  ],
  [
    breach("a file is readable by others", 0, (stage) => {
      stage.files.takeSeen();
      Deno.chmodSync(fileOf(stage), 0o644);
      undo.push(() => Deno.chmodSync(fileOf(stage), 0o600));
      return Promise.resolve(() => new Promise((resolve) => setTimeout(resolve, 60)));
    }),
    /is 644/,
  ],
  [
    breach("a temporary file stays", 0, (stage) => {
      const path = join(fileOf(stage), "..", ".config.json.x.tmp");
      Deno.writeTextFileSync(path, "");
      undo.push(() => Deno.removeSync(path));
      return Promise.resolve(NOTHING);
    }),
    /temporary files/,
  ],
  [
    breach("a secret is in the log", 0, (stage) => {
      Object.defineProperty(stage, "takeLog", {
        configurable: true,
        value: () => btoa(stage.node.newestPair(`${stage.node.passwordRegistry.host}/c:1`)),
      });
      undo.push(() => void Reflect.deleteProperty(stage, "takeLog"));
      return Promise.resolve(NOTHING);
    }),
    /a password \(base64\) in the log/,
  ],
  [
    breach("the agent requests a secret from the snapshotter", 0, ({ node }) => {
      if (node.snapshotter !== undefined) node.snapshotter.backendCalls++;
      undo.push(() => {
        if (node.snapshotter !== undefined) node.snapshotter.backendCalls = 0;
      });
      return Promise.resolve(NOTHING);
    }),
    /requested a secret from the snapshotter/,
  ],
  [
    breach("nothing is read", 0, (stage) => {
      const { reads: value } = stage.reader;
      Object.defineProperty(stage.reader, "reads", { configurable: true, value });
      undo.push(() => void Reflect.deleteProperty(stage.reader, "reads"));
      return Promise.resolve(NOTHING);
    }),
    /no reads/,
  ],
  [
    breach("a mount does not get the newest credential", 0, async ({ node }) => {
      node.setPlugin({ mode: "fail" });
      await node.pull(`${node.tokenRegistry.host}/shop/app:1`); // without an event for the agent
      undo.push(() => node.setPlugin({ mode: "issue" }));
      return NOTHING;
    }),
    /not every mount/,
  ],
  [
    breach("a read fails that could have succeeded", 1_500, async (stage) => {
      const [user = "", token = ""] = (await stage.daemon("d1").currentAuth("/") ?? "").split(":");
      stage.node.tokenRegistry.revoke(user, token);
      return NOTHING;
    }),
    /reads failed/,
  ],
  [
    breach("a field is lost", 0, (stage) => {
      const path = fileOf(stage);
      const config = JSON.parse(Deno.readTextFileSync(path));
      delete config.device.backend.config.a_field_of_tomorrow;
      Deno.writeTextFileSync(path, JSON.stringify(config));
      return Promise.resolve(NOTHING);
    }),
    /has changed beyond its credential/,
  ],
  [
    breach("the agent exits", 0, (stage) => {
      stage.agent.signal("SIGKILL");
      return Promise.resolve(NOTHING);
    }),
    /the agent is not live/,
  ],
];

Deno.test("campaign: reports a breach when an invariant is violated", async () => {
  await using stage = await FaultStage.start();
  const rows = await campaignOn(stage, BREACHES.map(([fault]) => fault), () => {}, BOUNDS);
  for (const [i, [{ name }, expected]] of BREACHES.entries()) {
    match(rows[i]?.breaches.join("; ") ?? "no row", expected, name);
    equal(rows[i]?.result, expected.source === "^$" ? "passed" : "failed", name);
  }
});

Deno.test("campaign: ignores a fault when it cannot be injected, and reports an error as a breach", async () => {
  const rows = await runCampaign([
    fault("cannot be injected", 0, () => Promise.resolve(undefined)),
    fault("ends with an error", 0, () => Promise.reject(new Error("no such thing"))),
  ]);
  deepEqual(rows.map(({ result }) => result), ["ignored", "failed", "passed"]);
  deepEqual(rows[1]?.breaches, ["no such thing"]);
});

const FIRST: ProcessResources = {
  pid: 1,
  descriptors: 20,
  children: 0,
  residentKb: 50_000,
  sleeps: 0,
};

Deno.test("leakedResources, grown: report leaked descriptors, children, memory and timers", () => {
  deepEqual(leakedResources({ ...FIRST, descriptors: 25 }, FIRST), []);
  match(leakedResources({ ...FIRST, descriptors: 60 }, FIRST)[0] ?? "", /60 descriptors/);
  match(leakedResources({ ...FIRST, children: 1 }, FIRST)[0] ?? "", /children/);
  deepEqual(grown({ residentKb: 60_000 }, FIRST, { first: 100, now: 120 }), []);
  match(grown({ residentKb: 80_000 }, FIRST, { first: 1, now: 1 })[0] ?? "", /memory grew/);
  match(grown(FIRST, FIRST, { first: 100, now: 400 })[0] ?? "", /leaked timers/);
});

Deno.test("resourcesOf: counts children and open files, and returns undefined when the process is gone", async () => {
  const child = new Deno.Command("/bin/sh", { args: ["-c", "sleep 60; :"], stdin: "null" }).spawn();
  try {
    while ((resourcesOf(child.pid)?.children ?? 0) === 0) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const resources = resourcesOf(child.pid);
    ok(resources !== undefined && resources.descriptors >= 3 && resources.residentKb > 0);
    for (const pid of childrenOf(child.pid)) Deno.kill(pid, "SIGKILL");
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
  equal(resourcesOf(child.pid), undefined);
});

function childrenOf(pid: number): readonly number[] {
  const text = Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`);
  return text.split(" ").filter((word) => word !== "").map(Number);
}

Deno.test("shuffled: returns the same order when the seed is the same", () => {
  const names = FAULTS.map(({ name }) => name);
  equal(new Set(names).size, names.length);
  deepEqual(shuffled(names, seeded(7)), shuffled(names, seeded(7)));
  ok(shuffled(names, seeded(7)).join() !== shuffled(names, seeded(8)).join());
  deepEqual(shuffled(names, seeded(7)).toSorted(), names.toSorted());
});
