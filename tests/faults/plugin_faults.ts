import { pause } from "../e2e/stage.ts";
import { type Fault, fault, NOTHING } from "./fault.ts";
import { TOKEN_LIFETIME_MS } from "./stage.ts";

const HOUR_MS = 3_600_000;
/** In which only the schedule renews. */
export const QUIET_FAULT = "nothing happens for longer than a token lives";

/** A plugin that does something else, and then what it did before. */
const modes = (["fail", "hang", "spawn", "stubborn", "flood", "garbage", "none"] as const).map(
  (mode) =>
    fault(`the plugin: ${mode}`, 5_000, (stage) => {
      stage.node.setPlugin({ mode });
      return Promise.resolve(() => stage.mendPlugin());
    }),
);

/** What a plugin says of the life of its tokens, and is not so. */
const lies: readonly Fault[] = [
  ...["0s", "-5s"].map((cacheDuration) =>
    fault(`the plugin says: cache for ${cacheDuration}`, 5_000, (stage) => {
      stage.node.setPlugin({ cacheDuration });
      // Below zero is the default of 12 hours, which its tokens do not live.
      return Promise.resolve(async () => {
        stage.mendPlugin();
        await stage.renewAll();
      });
    })
  ),
  // Longer than its tokens live: that it lies shows when reads are refused.
  fault("the plugin says: cache for 87600h", TOKEN_LIFETIME_MS + 5_000, (stage) => {
    stage.node.setPlugin({ cacheDuration: "87600h" });
    return Promise.resolve(async () => {
      stage.mendPlugin();
      await stage.renewAll(); // as a person does who has mended a plugin
    });
  }, { spoilsReads: true }),
  fault("the plugin's tokens say: ended an hour ago", TOKEN_LIFETIME_MS + 2_000, (stage) => {
    stage.node.setPlugin({ shape: "ecr", reportedLifetimeMs: -HOUR_MS });
    return Promise.resolve(() => stage.mendPlugin());
  }),
  fault("the plugin's tokens say: end in 100 years", TOKEN_LIFETIME_MS + 2_000, (stage) => {
    stage.node.setPlugin({ shape: "ecr", reportedLifetimeMs: 876_000 * HOUR_MS });
    return Promise.resolve(() => stage.mendPlugin());
  }),
  fault("the plugin's tokens are dead when they come", 4_000, (stage) => {
    stage.node.setPlugin({ lifetimeMs: -60_000, reportedLifetimeMs: -60_000, shape: "ecr" });
    return Promise.resolve(() => stage.mendPlugin());
  }),
];

/** Nothing but the token itself tells when it expires: the default is to cache it for 12 hours. */
const shapes = (["ecr", "jwt"] as const).map((shape) =>
  fault(
    `the plugin's tokens are of the shape ${shape}`,
    TOKEN_LIFETIME_MS + 5_000,
    async (stage) => {
      stage.node.setPlugin({ shape, cacheDuration: "" });
      await stage.renewAll();
      return async () => {
        stage.mendPlugin();
        await stage.renewAll();
      };
    },
  )
);

const sources: readonly Fault[] = [
  // A rotation has every source asked: here nothing but their expiry has tokens renewed.
  fault(QUIET_FAULT, TOKEN_LIFETIME_MS + 5_000, () => Promise.resolve(NOTHING), {
    keepsPassword: true,
  }),
  fault("the plugin changes its cacheKeyType", 0, async (stage) => {
    for (const cacheKeyType of ["Image", "Global", "Image", "Registry"] as const) {
      stage.node.setPlugin({ cacheKeyType });
      await pause(2_000);
    }
    return () => stage.mendPlugin();
  }),
  // Nothing tells them from good ones until they are used.
  fault("the registry refuses what the plugin gives", 5_000, (stage) => {
    stage.node.setPlugin({ lifetimeMs: -60_000 });
    return Promise.resolve(() => stage.mendPlugin());
  }, { spoilsReads: true }),
  fault("the registry revokes the credential in use", 0, ({ node }) => {
    const [user = "", token = ""] = (node.tokenRegistry.newestToken() ?? "").split(":");
    node.tokenRegistry.revoke(user, token);
    return Promise.resolve(NOTHING);
  }, { spoilsReads: true }),
  fault("the registry revokes six credentials, 10 s apart", 0, async ({ node }) => {
    for (let i = 0; i < 6; i++) {
      const [user = "", token = ""] = (node.tokenRegistry.newestToken() ?? "").split(":");
      node.tokenRegistry.revoke(user, token);
      await pause(10_000);
    }
    return NOTHING;
  }, { spoilsReads: true }),
  fault(
    "the token service is down for longer than a token lives",
    TOKEN_LIFETIME_MS + 4_000,
    (stage) => {
      stage.node.setPlugin({ mode: "fail" });
      return Promise.resolve(() => stage.mendPlugin());
    },
    { spoilsReads: true },
  ),
];

/** Faults of where tokens come from. */
export const PLUGIN_FAULTS: readonly Fault[] = [...modes, ...lies, ...shapes, ...sources];
