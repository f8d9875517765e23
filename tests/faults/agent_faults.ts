import { join } from "@std/path";
import { type Attack, attack, DESCRIPTORS } from "../e2e/attacks.ts";
import { pause } from "../e2e/stage.ts";
import { callOnce } from "../e2e/cri_proxy_stage.ts";
import { DAEMONS, type Fault, fault, NOTHING } from "./fault.ts";
import { type FaultStage, run } from "./stage.ts";
import { resourcesOf } from "./watchers.ts";

const KILLS = Number(Deno.env.get("NYDUS_AUTH_AGENT_KILLS") ?? 200);
/** Number of kills between two password rotations. */
const KILLS_PER_ROTATION = 20;
const HOUR_S = 3_600;

/** SIGKILL at a random moment, mostly while the agent starts, reads and delivers. */
const kills: readonly Fault[] = [
  fault("the agent is killed after it is ready", 0, async (stage) => {
    for (let i = 0; i < 3; i++) {
      await pause(stage.random() * 700);
      await stage.restartAgent();
    }
    return NOTHING;
  }, { endsAgent: true }),
  fault(`the agent is killed ${KILLS} times`, 0, async (stage) => {
    for (let i = 0; i < KILLS; i++) {
      await stage.restartAgent({ killedAfterMs: stage.random() * 2 * stage.startMs });
      if (i % KILLS_PER_ROTATION === 0) stage.rotatePassword();
    }
    await stage.restartAgent();
    return NOTHING;
  }, { endsAgent: true }),
];

/** Steps the agent's wall clock, but not the registry's. */
const clocks: readonly Fault[] = [
  ...[3, -3].map((hours) =>
    fault(`the clock is stepped by ${hours} hours`, 6_000, async (stage) => {
      await stage.stepClock(hours * HOUR_S);
      return async () => {
        checkClock(stage, hours * HOUR_S);
        await stage.stepClock(0);
      };
    }, { stepsClock: true })
  ),
  fault("the machine is suspended for an hour", 0, async (stage) => {
    const daemons = DAEMONS.map((id) => stage.daemon(id));
    stage.agent.signal("SIGSTOP");
    for (const daemon of daemons) daemon.pause();
    await pause(3_000);
    await stage.stepClock(HOUR_S);
    for (const daemon of daemons) daemon.resume();
    stage.agent.signal("SIGCONT");
    await pause(4_000);
    return async () => {
      checkClock(stage, HOUR_S);
      await stage.stepClock(0);
    };
  }, { stepsClock: true }),
];

/** Checks that the timestamps in the agent's log show the step: otherwise nothing was tested. */
function checkClock({ agent }: FaultStage, seconds: number): void {
  const [timestamp] =
    /\d{4}-\d\d-\d\dT[\d:.]+Z/.exec(agent.log.trimEnd().split("\n").at(-1) ?? "") ??
      [];
  const aheadS = (Date.parse(timestamp ?? "") - Date.now()) / 1_000;
  if (!(Math.abs(aheadS - seconds) < 60)) {
    throw new Error(`the agent's clock is ${aheadS} s ahead, not ${seconds} s`);
  }
}

function configFault(name: string, corrupt: (path: string, good: string) => Promise<void>): Fault {
  return fault(name, 1_000, async ({ agent, node }) => {
    const path = join(node.dir, "agent.toml");
    const good = await Deno.readTextFile(path);
    await corrupt(path, good);
    agent.signal("SIGHUP");
    return async () => {
      await Deno.remove(path, { recursive: true });
      await Deno.writeTextFile(path, good, { mode: 0o600 });
      agent.signal("SIGHUP");
    };
  });
}

/** Exhausts the connections of the status port while CRI clients call through the proxy. */
function attackFault(kind: Attack): Fault {
  return fault(`1,100 connections to the status port: ${kind}`, 8_000, async (stage) => {
    const attacker = await attack(new URL(stage.agent.base), kind, 1_100);
    let calls = 0;
    let ended = false;
    const calling = (async () => {
      for (; !ended; calls++) {
        await callOnce(stage.criPath);
        await pause(100);
      }
    })();
    calling.catch(() => {}); // awaited below
    return async () => {
      const { agent } = stage;
      await agent.until("/livez", async () => (await agent.get("/livez")).status === 200);
      await agent.until("10 CRI calls during the attack", () =>
        Promise.race([
          calling.then(() => true),
          Promise.resolve(calls >= 10),
        ]));
      ended = true;
      attacker[Symbol.dispose]();
      await calling;
    };
  });
}

/** Faults of the agent process and of its configuration. */
export const AGENT_FAULTS: readonly Fault[] = [
  ...kills,
  ...clocks,
  fault("the agent is suspended and resumed", 6_000, ({ agent }) => {
    agent.signal("SIGSTOP");
    return Promise.resolve(() => agent.signal("SIGCONT"));
  }),
  fault("file descriptors are exhausted", 4_000, async ({ agent: { pid } }: FaultStage) => {
    const open = resourcesOf(pid)?.descriptors ?? 0;
    if (await run("prlimit", "--pid", String(pid), `--nofile=${open + 1}:`) !== 0) return;
    return async () => {
      const code = await run("prlimit", "--pid", String(pid), `--nofile=${DESCRIPTORS}:`);
      if (code !== 0) throw new Error("failed to restore the descriptor limit");
    };
  }),
  attackFault("idle"),
  attackFault("slow-header"),
  attackFault("slow-reader"),
  configFault("SIGHUP with an invalid configuration", async (path, good) => {
    await Deno.writeTextFile(path, good.slice(0, good.length / 2) + "\n[[[");
  }),
  configFault("SIGHUP with a folder in place of the configuration", async (path) => {
    await Deno.remove(path);
    await Deno.mkdir(path);
  }),
];
