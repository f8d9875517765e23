import { join } from "@std/path";
import { pause } from "../e2e/stage.ts";
import { holdingsOf } from "./watchers.ts";
import { type FaultStage, run, TOKEN_LIFE_MS } from "./stage.ts";

/** One thing that goes wrong, and its end. */
export interface Fault {
  readonly name: string;
  /** Makes it so; resolves with what mends it. Undefined: it cannot be made here. */
  begin(stage: FaultStage): Promise<(() => Promise<void> | void) | undefined>;
  /** How long it lasts. */
  readonly lastsMs: number;
  /** Reads may fail while it lasts and shortly after: nobody could have kept them whole. */
  readonly spoilsReads?: true;
}

type Begin = Fault["begin"];

function fault(name: string, lastsMs: number, begin: Begin, spoilsReads?: true): Fault {
  return { name, lastsMs, begin, ...(spoilsReads && { spoilsReads }) };
}

const DAEMONS = ["d1", "s1", "d2"] as const;

const daemonFaults: readonly Fault[] = [
  fault("every nydusd is killed, and started anew", 1_000, async (stage) => {
    await Promise.all(DAEMONS.map((id) => stage.daemon(id).kill()));
    return async () => void await Promise.all(DAEMONS.map((id) => stage.daemon(id).start()));
  }),
  fault("every nydusd is stopped, and goes on", 4_000, (stage) => {
    for (const id of DAEMONS) stage.daemon(id).pause();
    return Promise.resolve(() => DAEMONS.forEach((id) => stage.daemon(id).resume()));
  }),
  fault("nydusd is restarted on the same socket", 500, async (stage) => {
    for (const id of DAEMONS) await stage.daemon(id).restart();
    return () => {};
  }),
  fault("nydusd fails over to another socket", 500, async (stage) => {
    for (const id of ["d1", "s1"]) await stage.daemon(id).failOver();
    return () => {};
  }),
  ...(["error-500", "half", "slow", "silent"] as const).map((how) =>
    fault(`nydusd answers: ${how}`, 3_000, async (stage) => {
      await Promise.all(DAEMONS.map((id) => stage.daemon(id).setFault(how)));
      return async () =>
        void await Promise.all(DAEMONS.map((id) => stage.daemon(id).setFault("none")));
    })
  ),
];

const snapshotterFaults: readonly Fault[] = [
  fault("the snapshotter is gone", 3_000, async ({ node }) => {
    await node.stopSnapshotter();
    return () => node.startSnapshotter();
  }),
  ...(["garbage", "silent"] as const).map((how) =>
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
    return () => {};
  }),
];

const pluginFaults: readonly Fault[] = [
  ...(["fail", "hang", "spawn", "stubborn", "flood", "garbage", "none"] as const).map((mode) =>
    fault(`the plugin: ${mode}`, 5_000, ({ node }) => {
      node.setPlugin({ mode });
      return Promise.resolve(() => node.setPlugin({ mode: "issue" }));
    })
  ),
  ...["0s", "-5s"].map((cacheDuration) =>
    fault(`the plugin says: cache for ${cacheDuration}`, 5_000, ({ node }) => {
      node.setPlugin({ cacheDuration });
      return Promise.resolve(() => node.setPlugin({ cacheDuration: "3s" }));
    })
  ),
  // Longer than its tokens live: that it lies shows when reads are refused.
  fault("the plugin says: cache for 87600h", TOKEN_LIFE_MS + 5_000, (stage) => {
    const { node } = stage;
    node.setPlugin({ cacheDuration: "87600h" });
    return Promise.resolve(async () => {
      node.setPlugin({ cacheDuration: "3s" });
      await stage.renewAll(); // as a person does who has mended a plugin
    });
  }, true),
  fault("the plugin's tokens are dead when they come", 4_000, ({ node }) => {
    node.setPlugin({ lifeMs: -60_000, shape: "ecr" });
    return Promise.resolve(() => node.setPlugin({ lifeMs: TOKEN_LIFE_MS, shape: "opaque" }));
  }),
  fault("the plugin changes its cacheKeyType", 0, async ({ node }) => {
    for (const cacheKeyType of ["Image", "Global", "Image", "Registry"] as const) {
      node.setPlugin({ cacheKeyType });
      await pause(2_000);
    }
    return () => {};
  }),
  fault("the registry revokes the credential in use", 0, ({ node }) => {
    const [user = "", token = ""] = (node.tokenRegistry.newestToken() ?? "").split(":");
    node.tokenRegistry.revoke(user, token);
    return Promise.resolve(() => {});
  }, true),
  fault(
    "the token service is down for longer than a token lives",
    TOKEN_LIFE_MS + 4_000,
    ({ node }) => {
      node.setPlugin({ mode: "fail" });
      return Promise.resolve(() => node.setPlugin({ mode: "issue" }));
    },
    true,
  ),
];

const agentFaults: readonly Fault[] = [
  fault("the agent is suspended, and resumed", 6_000, ({ agent }) => {
    agent.signal("SIGSTOP");
    return Promise.resolve(() => agent.signal("SIGCONT"));
  }),
  fault("the agent is killed at random", 0, async (stage) => {
    for (let i = 0; i < 3; i++) {
      await pause(Math.random() * 700);
      await stage.restartAgent();
    }
    return () => {};
  }),
  fault("descriptors are exhausted", 4_000, async ({ agent: { pid } }) => {
    const open = holdingsOf(pid).descriptors;
    if (await run("prlimit", "--pid", String(pid), `--nofile=${open + 1}:`) !== 0) return;
    return async () => void await run("prlimit", "--pid", String(pid), "--nofile=4096:");
  }),
  fault("HUP with a configuration that cannot be used", 1_000, async ({ agent, node }) => {
    const path = join(node.dir, "agent.toml");
    const good = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, good.slice(0, good.length / 2) + "\n[[[");
    agent.signal("SIGHUP");
    return async () => {
      await Deno.writeTextFile(path, good);
      agent.signal("SIGHUP");
    };
  }),
];

/** Faults of the disk that the daemons' configuration files are on. */
const diskFaults: readonly Fault[] = [
  fault("the disk is full", 4_000, async ({ node, isSmallDisk }) => {
    if (!isSmallDisk) return;
    const path = join(node.root, "config", "filler");
    await run("dd", "if=/dev/zero", `of=${path}`, "bs=4k");
    return () => Deno.remove(path);
  }),
  fault("the disk is read-only", 4_000, async ({ node, isSmallDisk }) => {
    if (!isSmallDisk) return;
    const path = join(node.root, "config");
    if (await run("mount", "-o", "remount,ro", path) !== 0) return;
    return async () => void await run("mount", "-o", "remount,rw", path);
  }),
  fault("the disk has no inodes left", 4_000, async ({ node, isSmallDisk }) => {
    if (!isSmallDisk) return;
    const folder = join(node.root, "config", "many");
    await Deno.mkdir(folder);
    for (let i = 0; i < 100; i++) {
      const made = await Deno.writeTextFile(join(folder, String(i)), "").then(
        () => true,
        () => false,
      );
      if (!made) break;
    }
    return () => Deno.remove(folder, { recursive: true });
  }),
];

/** What somebody puts in the place of a daemon's configuration file. */
const fileFaults: readonly Fault[] = [
  ["a folder", (path: string) => Deno.mkdir(path)],
  ["a link", (path: string) => Deno.symlink("/nowhere/else", path)],
  ["half a file", (path: string) => Deno.writeTextFile(path, '{"device": {"back')],
].map(([what, make]) =>
  fault(`${what} in the place of a daemon's file`, 3_000, async (stage) => {
    const path = stage.daemon("d1").instances[0]?.configPath ?? "";
    const aside = join(stage.node.dir, "aside.json");
    await Deno.copyFile(path, aside);
    await Deno.remove(path);
    await (make as (path: string) => Promise<void>)(path);
    return async () => {
      await Deno.remove(path, { recursive: true });
      await Deno.copyFile(aside, path);
      await Deno.chmod(path, 0o600);
    };
  })
);

const sourceFaults: readonly Fault[] = [
  fault("docker's configuration is rewritten without a pause", 0, async (stage) => {
    const untilMs = Date.now() + 3_000;
    while (Date.now() < untilMs) {
      stage.rotatePassword();
      await pause(0);
    }
    return () => {};
  }),
  fault("docker's configuration is half written", 3_000, async ({ node }) => {
    const path = node.dockerConfigPath;
    const whole = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, whole.slice(0, whole.length / 2));
    return () => Deno.writeTextFile(path, whole);
  }),
  fault("the plugins' configuration is half written", 3_000, async ({ node }) => {
    const path = node.providerConfigPath;
    const whole = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, whole.slice(0, whole.length / 2) + "\n- [");
    return () => Deno.writeTextFile(path, whole);
  }),
];

/** Everything that the campaign knows to break. */
export const FAULTS: readonly Fault[] = [
  ...daemonFaults,
  ...snapshotterFaults,
  ...pluginFaults,
  ...agentFaults,
  ...diskFaults,
  ...fileFaults,
  ...sourceFaults,
];
