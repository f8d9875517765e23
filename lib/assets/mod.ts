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

/** Version and origin of the binary. */
export interface BuildInfo {
  /** The version in `deno.json`; `development` when run from source. */
  readonly version: string;
  /** Short hash of the commit, with `-dirty` if the tree had changes; `development` from source. */
  readonly commit: string;
  /** The version of Deno in the binary; empty when run from source. */
  readonly denoVersion: string;
}

// `scripts/compile.ts` replaces this text in the bundle. It is split at run time, so that no minifier
// evaluates it earlier.
const STAMP = "nydus-auth-agent-build|development|development|";
const [, version = "", commit = "", denoVersion = ""] = STAMP.split("|");

/** The build of the running program. */
export const BUILD_INFO: BuildInfo = Object.freeze({ version, commit, denoVersion });

/** The name of the program, its unit and its folder. */
export const PROGRAM = "nydus-auth-agent";

/** The name by which docker and compatible tools find the program as a credential helper. */
export const CREDENTIAL_HELPER = "docker-credential-nydus-auth";

/** Pages of the documentation that the status page links to. */
export const GUIDES: Readonly<Record<string, string>> = {
  "runbooks.md": runbooks,
  "troubleshooting.md": troubleshooting,
};

/** The texts of `show` that are files here, by name. */
export const ASSETS = {
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
} as const;

/** The manual page, with `@COMMANDS@` in place of the generated part. */
export const MANUAL_TEMPLATE: string = manualPage;

/**
 * Returns the texts of `show` that `install` and the packages put into files, with their paths.
 *
 * @param folders `share` is the one below the prefix.
 */
export function installedTexts(
  { units, tmpfiles, share }: Readonly<Record<"units" | "tmpfiles" | "share", string>>,
): readonly { readonly name: string; readonly path: string }[] {
  return [
    { name: `${PROGRAM}.service`, path: `${units}/${PROGRAM}.service` },
    { name: `${PROGRAM}.tmpfiles.conf`, path: `${tmpfiles}/${PROGRAM}.conf` },
    { name: `${PROGRAM}.1`, path: `${share}/man/man1/${PROGRAM}.1` },
    { name: "completion.bash", path: `${share}/bash-completion/completions/${PROGRAM}` },
    { name: "completion.zsh", path: `${share}/zsh/site-functions/_${PROGRAM}` },
    { name: "completion.fish", path: `${share}/fish/vendor_completions.d/${PROGRAM}.fish` },
  ];
}

/** Returns an installed text; units start the binary at `binary`. */
export function installedText(text: string, binary: string): string {
  return text.replaceAll(`/usr/local/bin/${PROGRAM}`, binary);
}
