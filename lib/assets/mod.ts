/**
 * What the binary carries: texts that a host or a cluster needs beside it. They are here, as
 * ordinary files that people can read and tools can check, and end up inside the binary, so that an
 * air-gapped host needs nothing else. The room imports nothing and decides nothing.
 *
 * @module
 */
import bashCompletion from "./completion.bash" with { type: "text" };
import fishCompletion from "./completion.fish" with { type: "text" };
import zshCompletion from "./completion.zsh" with { type: "text" };
import sampleConfig from "./config.toml" with { type: "text" };
import credentialProviderConfig from "./credential-provider-config.yaml" with { type: "text" };
import daemonSet from "./daemonset.yaml" with { type: "text" };
import dashboard from "./grafana-dashboard.json" with { type: "text" };
import manualPage from "./nydus-auth-agent.1" with { type: "text" };
import ownUserUnit from "./nydus-auth-agent-own-user.service" with { type: "text" };
import unit from "./nydus-auth-agent.service" with { type: "text" };
import tmpfiles from "./nydus-auth-agent.tmpfiles.conf" with { type: "text" };
import alertRules from "./prometheus-rules.yaml" with { type: "text" };
import { manualText } from "./manual_text.ts";

export { BUILD_INFO, type BuildInfo } from "./build_info.ts";

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
  "manual": { description: "the manual, as text", text: () => manualText(manualPage) },
  "nydus-auth-agent.1": { description: "the manual, as a man page", text: () => manualPage },
  "completion.bash": { description: "completions for bash", text: () => bashCompletion },
  "completion.zsh": { description: "completions for zsh", text: () => zshCompletion },
  "completion.fish": { description: "completions for fish", text: () => fishCompletion },
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
