import { pause } from "../e2e/stage.ts";
import { DAEMONS, type Fault, fault, NOTHING } from "./fault.ts";

/** Generous: only the number of timeouts in between counts. */
const OTHERS_WITHIN_MS = 20_000;

/** Faults of nydusd. */
export const DAEMON_FAULTS: readonly Fault[] = [
  fault("every nydusd is killed, and started anew", 1_000, async (stage) => {
    await Promise.all(DAEMONS.map((id) => stage.daemon(id).kill()));
    return async () => void await Promise.all(DAEMONS.map((id) => stage.daemon(id).start()));
  }),
  fault("every nydusd is stopped, and goes on", 4_000, (stage) => {
    for (const id of DAEMONS) stage.daemon(id).pause();
    return Promise.resolve(() => DAEMONS.forEach((id) => stage.daemon(id).resume()));
  }),
  fault("one nydusd is stopped, and the others get a new credential", 0, async (stage) => {
    stage.daemon("d1").pause();
    stage.rotatePassword();
    const password = stage.node.newestPair(stage.daemon("d2").instances[0]?.image ?? "");
    for (const untilMs = performance.now() + OTHERS_WITHIN_MS;;) {
      if (await stage.daemon("d2").currentAuth("/") === password) break;
      if (performance.now() > untilMs) {
        stage.daemon("d1").resume();
        throw new Error("a stopped nydusd holds up the others");
      }
      await pause(100);
    }
    return () => stage.daemon("d1").resume();
  }, { keepsPassword: true }),
  fault("nydusd is restarted on the same socket", 500, async (stage) => {
    for (const id of DAEMONS) await stage.daemon(id).restart();
    return NOTHING;
  }),
  fault("nydusd restarts without a credential", 500, async (stage) => {
    for (const id of DAEMONS) await stage.daemon(id).restart({ isEmpty: true });
    return NOTHING;
  }, { spoilsReads: true }),
  fault("nydusd is upgraded", 500, async (stage) => {
    for (const id of DAEMONS) await stage.daemon(id).upgrade();
    return NOTHING;
  }),
  fault("nydusd fails over to another socket", 500, async (stage) => {
    for (const id of ["d1", "s1"]) await stage.daemon(id).failOver();
    return NOTHING;
  }),
  fault("nydusd is upgraded while the snapshotter is gone", 3_000, async (stage) => {
    await stage.node.stopSnapshotter();
    for (const id of DAEMONS) await stage.daemon(id).upgrade();
    return () => stage.node.startSnapshotter();
  }),
  ...(["error-500", "truncated", "slow", "unresponsive"] as const).map((how) =>
    fault(`nydusd answers: ${how}`, 3_000, async (stage) => {
      await Promise.all(DAEMONS.map((id) => stage.daemon(id).setFault(how)));
      return async () =>
        void await Promise.all(DAEMONS.map((id) => stage.daemon(id).setFault("none")));
    })
  ),
];

/** Faults of the snapshotter. */
export const SNAPSHOTTER_FAULTS: readonly Fault[] = [
  fault("the snapshotter is gone", 3_000, async ({ node }) => {
    await node.stopSnapshotter();
    return () => node.startSnapshotter();
  }),
  ...(["garbage", "unresponsive", "flapping"] as const).map((how) =>
    fault(`the snapshotter's list is ${how}`, 3_000, ({ node: { snapshotter } }) => {
      if (snapshotter !== undefined) snapshotter.fault = how;
      return Promise.resolve(() => {
        if (snapshotter !== undefined) snapshotter.fault = "none";
      });
    })
  ),
  fault("the snapshotter comes and goes", 0, async ({ node }) => {
    for (let i = 0; i < 6; i++) {
      await node.stopSnapshotter();
      await pause(150);
      node.startSnapshotter();
      await pause(150);
    }
    return NOTHING;
  }),
];
