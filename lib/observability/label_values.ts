import {
  type DaemonState,
  type DeliveryOutcome,
  type DeliveryState,
  type DiscoverySource,
  PROVIDER_NAMES,
  VERDICT_KINDS,
} from "../model/mod.ts";

// A record rather than a list: the compiler asks for the state that somebody adds to the union.
const DELIVERY_STATE_SET: Readonly<Record<DeliveryState, true>> = {
  "pending": true,
  "stored": true,
  "in-use": true,
  "proven": true,
  "file-only": true,
  "adopted": true,
  "refused": true,
  "unreachable": true,
  "unsupported": true,
  "withheld": true,
  "none": true,
};
const DAEMON_STATE_SET: Readonly<Record<DaemonState, true>> = {
  "running": true,
  "starting": true,
  "terminating": true,
  "stopped": true,
  "unresponsive": true,
  "no-listener": true,
  "no-socket": true,
  "broken": true,
};
const DELIVERY_RESULT_SET: Readonly<Record<DeliveryOutcome["kind"], true>> = {
  "delivered": true,
  "unchanged": true,
  "file-only": true,
  "rejected": true,
  "unreachable": true,
  "unsupported": true,
};
const DISCOVERY_SOURCE_SET: Readonly<Record<DiscoverySource | "other", true>> = {
  "system-api": true,
  "root": true,
  "configured": true,
  "other": true,
};

/** The values of labels whose sets are closed; their series exist from the start. */
export const LABEL_VALUES = {
  deliveryStates: Object.keys(DELIVERY_STATE_SET),
  daemonStates: Object.keys(DAEMON_STATE_SET),
  deliveryResults: Object.keys(DELIVERY_RESULT_SET),
  discoverySources: Object.keys(DISCOVERY_SOURCE_SET),
  providers: PROVIDER_NAMES,
  verdicts: VERDICT_KINDS,
  renewalResults: ["success", "failure"],
  unapprovedHostActions: ["delivered", "withheld"],
  criProxyDirections: ["runtime", "clients"],
} as const;
