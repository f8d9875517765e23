/**
 * Files that a host or cluster needs in addition to the binary: units, manifests, samples, alerts and
 * a dashboard. They are ordinary files here and are embedded in the binary.
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
import runbooks from "../../docs/runbooks.md" with { type: "text" };
import troubleshooting from "../../docs/troubleshooting.md" with { type: "text" };
import alertRules from "./chart/files/prometheus-rules.yaml" with { type: "text" };

export { BUILD_INFO, type BuildInfo } from "./build_info.ts";
export { installedFiles, installedText } from "./installed_files.ts";

/** Pages of the documentation that the status page links to. */
export const GUIDES: Readonly<Record<string, string>> = {
  "runbooks.md": runbooks,
  "troubleshooting.md": troubleshooting,
};

interface Asset {
  readonly description: string;
  readonly text: string;
}

const ASSETS = {
  "config.toml": { description: "commented sample configuration", text: sampleConfig },
  "nydus-auth-agent.service": { description: "systemd unit for root", text: unit },
  "nydus-auth-agent-own-user.service": {
    description: "systemd unit for a separate user",
    text: ownUserUnit,
  },
  "nydus-auth-agent.tmpfiles.conf": {
    description: "systemd-tmpfiles configuration",
    text: tmpfiles,
  },
  "credential-provider-config.yaml": {
    description: "sample CredentialProviderConfig for the kubelet's plugins",
    text: credentialProviderConfig,
  },
  "daemonset.yaml": { description: "Kubernetes manifest", text: daemonSet },
  "prometheus-rules.yaml": { description: "Prometheus alerts", text: alertRules },
  "grafana-dashboard.json": { description: "Grafana dashboard", text: dashboard },
} as const satisfies Record<string, Asset>;

/** The name of an asset. */
export type AssetName = keyof typeof ASSETS;

/** Returns the names of all assets in the order of their list. */
export function assetNames(): AssetName[] {
  return Object.keys(ASSETS) as AssetName[];
}

/** Returns the text of an asset. */
export function asset(name: AssetName): string {
  return ASSETS[name].text;
}

/** Returns a short description of an asset. */
export function describeAsset(name: AssetName): string {
  return ASSETS[name].description;
}

/** Returns the manual page, with `@COMMANDS@` in place of the generated part. */
export function manualTemplate(): string {
  return manualPage;
}
