import { pause } from "../e2e/stage.ts";
import { type Fault, fault, NOTHING } from "./fault.ts";
import { TOKEN_LIFETIME_MS } from "./stage.ts";

const HOUR_MS = 3_600_000;
/** Without events: only the schedule triggers renewals. */
export const IDLE_FAULT = "no events for longer than the token lifetime";

/** Plugins that fail in some way for a while. */
const modes = (["fail", "hang", "spawn", "stubborn", "flood", "garbage", "none"] as const).map(
  (mode) =>
    fault(`the plugin: ${mode}`, 5_000, (stage) => {
      stage.node.setPlugin({ mode });
      return Promise.resolve(() => stage.restorePlugin());
    }),
);

/** Plugins that report wrong token lifetimes. */
const wrongLifetimes: readonly Fault[] = [
  ...["0s", "-5s"].map((cacheDuration) =>
    fault(`the plugin reports cacheDuration ${cacheDuration}`, 5_000, (stage) => {
      stage.node.setPlugin({ cacheDuration });
      // A negative value means the default of 12 hours, which exceeds the token lifetime.
      return Promise.resolve(async () => {
        stage.restorePlugin();
        await stage.renewAll();
      });
    })
  ),
  // Exceeds the token lifetime: the agent detects it when reads are rejected.
  fault("the plugin reports cacheDuration 87600h", TOKEN_LIFETIME_MS + 5_000, (stage) => {
    stage.node.setPlugin({ cacheDuration: "87600h" });
    return Promise.resolve(async () => {
      stage.restorePlugin();
      await stage.renewAll(); // as an operator does after fixing a plugin
    });
  }, { failsReads: true }),
  fault("the plugin's tokens report an expiry an hour ago", TOKEN_LIFETIME_MS + 2_000, (stage) => {
    stage.node.setPlugin({ shape: "ecr", reportedLifetimeMs: -HOUR_MS });
    return Promise.resolve(() => stage.restorePlugin());
  }),
  fault("the plugin's tokens report an expiry in 100 years", TOKEN_LIFETIME_MS + 2_000, (stage) => {
    stage.node.setPlugin({ shape: "ecr", reportedLifetimeMs: 876_000 * HOUR_MS });
    return Promise.resolve(() => stage.restorePlugin());
  }),
  fault("the plugin's tokens are expired when issued", 4_000, (stage) => {
    stage.node.setPlugin({ lifetimeMs: -60_000, reportedLifetimeMs: -60_000, shape: "ecr" });
    return Promise.resolve(() => stage.restorePlugin());
  }),
];

/** Only the token contains its expiry: the default is to cache it for 12 hours. */
const shapes = (["ecr", "jwt"] as const).map((shape) =>
  fault(
    `the plugin's tokens have the shape ${shape}`,
    TOKEN_LIFETIME_MS + 5_000,
    async (stage) => {
      stage.node.setPlugin({ shape, cacheDuration: "" });
      await stage.renewAll();
      return async () => {
        stage.restorePlugin();
        await stage.renewAll();
      };
    },
  )
);

const sources: readonly Fault[] = [
  // A rotation makes the agent query every provider. Here only expiry triggers renewals.
  fault(IDLE_FAULT, TOKEN_LIFETIME_MS + 5_000, () => Promise.resolve(NOTHING), {
    keepsPassword: true,
  }),
  fault("the plugin changes its cacheKeyType", 0, async (stage) => {
    for (const cacheKeyType of ["Image", "Global", "Image", "Registry"] as const) {
      stage.node.setPlugin({ cacheKeyType });
      await pause(2_000);
    }
    return () => stage.restorePlugin();
  }),
  // The agent cannot detect them before they are used.
  fault("the registry rejects the plugin's tokens", 5_000, (stage) => {
    stage.node.setPlugin({ lifetimeMs: -60_000 });
    return Promise.resolve(() => stage.restorePlugin());
  }, { failsReads: true }),
  fault("the registry revokes the credential in use", 0, ({ node }) => {
    const [user = "", token = ""] = (node.tokenRegistry.newestToken() ?? "").split(":");
    node.tokenRegistry.revoke(user, token);
    return Promise.resolve(NOTHING);
  }, { failsReads: true }),
  fault("the registry revokes six credentials, 10 s apart", 0, async ({ node }) => {
    for (let i = 0; i < 6; i++) {
      const [user = "", token = ""] = (node.tokenRegistry.newestToken() ?? "").split(":");
      node.tokenRegistry.revoke(user, token);
      await pause(10_000);
    }
    return NOTHING;
  }, { failsReads: true }),
  fault(
    "the token service is down for longer than the token lifetime",
    TOKEN_LIFETIME_MS + 4_000,
    (stage) => {
      stage.node.setPlugin({ mode: "fail" });
      return Promise.resolve(() => stage.restorePlugin());
    },
    { failsReads: true },
  ),
];

/** Faults of the plugin and of the registry's token service. */
export const PLUGIN_FAULTS: readonly Fault[] = [...modes, ...wrongLifetimes, ...shapes, ...sources];
