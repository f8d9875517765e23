/**
 * What the binary carries: texts that a host or a cluster needs beside it. They are here, as
 * ordinary files that people can read and tools can check, and end up inside the binary, so that an
 * air-gapped host needs nothing else. The room imports nothing and decides nothing.
 *
 * @module
 */
import sampleConfig from "./config.toml" with { type: "text" };
import credentialProviderConfig from "./credential-provider-config.yaml" with { type: "text" };
import daemonSet from "./daemonset.yaml" with { type: "text" };
import dashboard from "./grafana-dashboard.json" with { type: "text" };
import manualPage from "./nydus-auth-agent.1" with { type: "text" };
import ownUserUnit from "./nydus-auth-agent-own-user.service" with { type: "text" };
import unit from "./nydus-auth-agent.service" with { type: "text" };
import tmpfiles from "./nydus-auth-agent.tmpfiles.conf" with { type: "text" };
import alertRules from "./prometheus-rules.yaml" with { type: "text" };

interface Asset {
  readonly description: string;
  readonly text: () => string;
}

const ASSETS = {
  "config.toml": { description: "commented sample configuration", text: () => sampleConfig },
  "nydus-auth-agent.service": { description: "systemd unit, as root", text: () => unit },
  "nydus-auth-agent-own-user.service": {
    description: "systemd unit, with a user of its own",
    text: () => ownUserUnit,
  },
  "nydus-auth-agent.tmpfiles.conf": {
    description: "what systemd-tmpfiles lays at boot",
    text: () => tmpfiles,
  },
  "credential-provider-config.yaml": {
    description: "sample CredentialProviderConfig for the kubelet's plugins",
    text: () => credentialProviderConfig,
  },
  "daemonset.yaml": { description: "Kubernetes manifest", text: () => daemonSet },
  "prometheus-rules.yaml": { description: "Prometheus alerts", text: () => alertRules },
  "grafana-dashboard.json": { description: "Grafana dashboard", text: () => dashboard },
} as const satisfies Record<string, Asset>;

/** The name of a text that the program carries. */
export type AssetName = keyof typeof ASSETS;

/** The names of all texts, in the order in which they are listed. */
export function assetNames(): AssetName[] {
  return Object.keys(ASSETS) as AssetName[];
}

/** The text of this name. */
export function asset(name: AssetName): string {
  return ASSETS[name].text();
}

/** What the text of this name is, in a few words. */
export function describeAsset(name: AssetName): string {
  return ASSETS[name].description;
}

/** The manual page, in which the line `@COMMANDS@` stands for the generated part. */
export function manualTemplate(): string {
  return manualPage;
}
export { BUILD_INFO, type BuildInfo } from "./build_info.ts";
