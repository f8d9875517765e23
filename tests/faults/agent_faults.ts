import { join } from "@std/path";
import { type Attack, attack, DESCRIPTORS } from "../e2e/attacks.ts";
import { pause } from "../e2e/stage.ts";
import { callOnce } from "../e2e/cri_proxy_stage.ts";
import { DAEMONS, type Fault, fault, NOTHING } from "./fault.ts";
import { type FaultStage, run } from "./stage.ts";
import { holdingsOf } from "./watchers.ts";

const KILLS = Number(Deno.env.get("NYDUS_AUTH_AGENT_KILLS") ?? 200);
/** So many kills between two rotations of the password. */
const KILLS_A_ROTATION = 20;
const HOUR_S = 3_600;

/** SIGKILL at a random moment of its life, most of them while it starts, reads and delivers. */
const kills: readonly Fault[] = [
  fault("the agent is killed once it works", 0, async (stage) => {
    for (let i = 0; i < 3; i++) {
      await pause(stage.random() * 700);
      await stage.restartAgent();
    }
    return NOTHING;
  }, { endsAgent: true }),
  fault(`the agent is killed ${KILLS} times`, 0, async (stage) => {
    for (let i = 0; i < KILLS; i++) {
      await stage.restartAgent({ killedAfterMs: stage.random() * 2 * stage.startMs });
      if (i % KILLS_A_ROTATION === 0) stage.rotatePassword();
    }
    await stage.restartAgent();
    return NOTHING;
  }, { endsAgent: true }),
];

/** The wall clock of the agent goes elsewhere; that of the registry does not. */
const clocks: readonly Fault[] = [
  ...[3, -3].map((hours) =>
    fault(`the clock is stepped by ${hours} hours`, 6_000, async (stage) => {
      await stage.stepClock(hours * HOUR_S);
      return async () => {
        judgeClock(stage, hours * HOUR_S);
        await stage.stepClock(0);
      };
    }, { stepsClock: true })
  ),
  fault("the machine sleeps, and wakes an hour later", 0, async (stage) => {
    const daemons = DAEMONS.map((id) => stage.daemon(id));
    stage.agent.signal("SIGSTOP");
    for (const daemon of daemons) daemon.pause();
    await pause(3_000);
    await stage.stepClock(HOUR_S);
    for (const daemon of daemons) daemon.resume();
    stage.agent.signal("SIGCONT");
    await pause(4_000);
    return async () => {
      judgeClock(stage, HOUR_S);
      await stage.stepClock(0);
    };
  }, { stepsClock: true }),
];

/** That its clock went elsewhere shows in its log; else the fault is none. */
function judgeClock({ agent }: FaultStage, seconds: number): void {
  const [said] = /\d{4}-\d\d-\d\dT[\d:.]+Z/.exec(agent.log.trimEnd().split("\n").at(-1) ?? "") ??
    [];
  const aheadS = (Date.parse(said ?? "") - Date.now()) / 1_000;
  if (!(Math.abs(aheadS - seconds) < 60)) throw new Error(`its clock is ${aheadS} s ahead`);
}

function configFault(name: string, spoil: (path: string, good: string) => Promise<void>): Fault {
  return fault(name, 1_000, async ({ agent, node }) => {
    const path = join(node.dir, "agent.toml");
    const good = await Deno.readTextFile(path);
    await spoil(path, good);
    agent.signal("SIGHUP");
    return async () => {
      await Deno.remove(path, { recursive: true });
      await Deno.writeTextFile(path, good, { mode: 0o600 });
      agent.signal("SIGHUP");
    };
  });
}

/** Other users of the machine hold the status port, while CRI clients call through the proxy. */
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

/** Faults of the agent itself and of what it is started with. */
export const AGENT_FAULTS: readonly Fault[] = [
  ...kills,
  ...clocks,
  fault("the agent is suspended, and resumed", 6_000, ({ agent }) => {
    agent.signal("SIGSTOP");
    return Promise.resolve(() => agent.signal("SIGCONT"));
  }),
  fault("descriptors are exhausted", 4_000, async ({ agent: { pid } }: FaultStage) => {
    const open = holdingsOf(pid)?.descriptors ?? 0;
    if (await run("prlimit", "--pid", String(pid), `--nofile=${open + 1}:`) !== 0) return;
    return async () => {
      const code = await run("prlimit", "--pid", String(pid), `--nofile=${DESCRIPTORS}:`);
      if (code !== 0) throw new Error("the limit of descriptors could not be restored");
    };
  }),
  attackFault("idle"),
  attackFault("slow-header"),
  attackFault("slow-reader"),
  configFault("HUP with a configuration that cannot be used", async (path, good) => {
    await Deno.writeTextFile(path, good.slice(0, good.length / 2) + "\n[[[");
  }),
  configFault("HUP with a folder in the place of the configuration", async (path) => {
    await Deno.remove(path);
    await Deno.mkdir(path);
  }),
];
