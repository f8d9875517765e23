/** Verifies the campaign itself: it must fail for each deliberately broken agent. */
import { deepEqual, match } from "node:assert/strict";
import { join } from "@std/path";
import { Semaphore } from "../../lib/model/mod.ts";
import { campaignOn, type Row } from "./campaign.ts";
import { FAULTS } from "./faults.ts";
import { IDLE_FAULT } from "./plugin_faults.ts";
import { FaultStage } from "./stage.ts";

/** Generous: a working agent recovers within about a second. */
const BOUNDS = { recoveredMs: 15_000, releasedMs: 5_000, newToken: true };

interface Expected {
  readonly defect: string;
  /** Prefix of the name of the fault that exposes the defect. */
  readonly fault: string;
  /** Breach that the campaign reports. */
  readonly breach: RegExp;
}

const BROKEN: readonly Expected[] = [
  { defect: "second mount not delivered", fault: IDLE_FAULT, breach: /not every mount reads/ },
  { defect: "expiry ignored", fault: IDLE_FAULT, breach: /reads failed/ },
  {
    defect: "failed delivery not retried",
    fault: "nydusd answers: error-500",
    breach: /not every mount reads/,
  },
  {
    defect: "stale credential served after refusal",
    fault: "the registry revokes the credential in use",
    breach: /not every mount reads/,
  },
  {
    defect: "configuration file field lost",
    fault: "the plugin: garbage",
    breach: /has changed beyond its credential/,
  },
  { defect: "secret logged", fault: "the plugin: garbage", breach: /in the log/ },
  {
    defect: "one hung daemon blocks others",
    fault: "one nydusd is stopped",
    breach: /blocks the others/,
  },
  {
    defect: "live image evicted",
    fault: IDLE_FAULT,
    breach: /reads failed|not every mount reads/,
  },
];

async function rowsOf(defect: string, names: readonly string[]): Promise<readonly Row[]> {
  const faults = FAULTS.filter(({ name }) => names.some((prefix) => name.startsWith(prefix)));
  const program = [Deno.execPath(), "run", "-A", "--quiet", "--no-check"];
  const dir = await Deno.makeTempDir();
  const from = join(dir, "started");
  try {
    await using stage = await FaultStage.start({
      agent: {
        program: [...program, new URL("./broken_agent.ts", import.meta.url).pathname],
        env: { NYDUS_TEST_DEFECT: defect, NYDUS_TEST_DEFECT_FROM: from },
      },
    });
    await Deno.writeTextFile(from, "");
    return await campaignOn(stage, faults, () => {}, BOUNDS);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** Stages that run at a time: most of a campaign is waiting. */
const semaphore = new Semaphore(3);
/** Sanitizers do not apply to concurrent steps. */
const CONCURRENT = { sanitizeOps: false, sanitizeResources: false, sanitizeExit: false };

Deno.test("campaign: fails for each defect of the agent, and passes without a defect", async (t) => {
  const failsFor = ({ defect, fault, breach }: Expected) => async () => {
    const [row] = await semaphore.run(() => rowsOf(defect, [fault]));
    deepEqual(row?.result, "failed", JSON.stringify(row));
    match(row?.breaches.join("; ") ?? "", breach);
  };
  const passes = async () => {
    const rows = await semaphore.run(() => rowsOf("none", BROKEN.map(({ fault }) => fault)));
    deepEqual(
      rows.map(({ name, breaches }) => [name, ...breaches].join(": ")),
      rows.map(({ name }) => name),
    );
  };
  const steps = [
    t.step({ name: "no defect", fn: passes, ...CONCURRENT }),
    ...BROKEN.map((expected) =>
      t.step({ name: expected.defect, fn: failsFor(expected), ...CONCURRENT })
    ),
  ];
  deepEqual((await Promise.all(steps)).includes(false), false);
});
