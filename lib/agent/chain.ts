import { join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import type { ImageReference, Observer, StaleWatch } from "../model/mod.ts";
import { AnswerDeadline } from "../model/mod.ts";
import {
  confirmedPullProvider,
  CredentialChain,
  criProvider,
  type CriPulls,
  disabledProvider,
  labelsProvider,
  type PushedCredentials,
} from "../providers/mod.ts";
import {
  CredentialHelpers,
  type CredentialHelpersOptions,
  DockerProvider,
} from "../providers/docker/mod.ts";
import { KubeletProvider, type ReloadOutcome } from "../providers/exec_plugin/mod.ts";
import type { Context } from "../platform/mod.ts";
import { kubeParts } from "./kubernetes_parts.ts";

/** What a running agent has seen and was given: without pulls that provider is off. */
export interface LiveSources {
  readonly pulls?: CriPulls;
  readonly puts?: PushedCredentials;
  /** The chain of the configuration before. */
  readonly before?: OpenChain;
  /**
   * Called when a provider has answered after `providers.timeout`. Without it, as in a command that
   * runs once, every provider is waited for.
   */
  readonly late?: (image: ImageReference) => void;
  /** Ends plugins and helpers, which outlive a reload; without it they end with the chain. */
  readonly signal?: AbortSignal;
}

/** The chain with everything that it owns. */
export interface OpenChain extends AsyncDisposable {
  readonly chain: CredentialChain;
  /** What a chain that follows this one goes on with. */
  readonly sources: {
    readonly helpers: CredentialHelpers;
    readonly docker?: DockerProvider;
    readonly kubelet?: KubeletProvider;
  };
  /** Files whose change means that other credentials may be found. */
  readonly watchPaths: readonly string[];
  /** Reads again what is said to have changed, before anyone asks. */
  refresh(): Promise<ReloadOutcome>;
  /** Calls back when a source that is no file has changed; one listener at a time. */
  onChange(changed: () => void): void;
  /** What of the Kubernetes API is not followed now. */
  staleWatches(): readonly StaleWatch[];
}

const UNAVAILABLE: Observer = { notify: () => {} };

/**
 * Builds the chain that a configuration describes, with every provider ready to be asked.
 *
 * The kubelet provider's own configuration is read here; where it cannot be used, the provider says
 * so at every question and the others work. What a chain before it read last stays where its files
 * cannot be used now, and what its plugins and helpers answered stays where they are the same: a
 * reload drops nothing, and causes no execution.
 */
export async function openChain(
  context: Context,
  config: AgentConfig,
  observer: Observer = UNAVAILABLE,
  { pulls, puts, before, late, signal }: LiveSources = {},
): Promise<OpenChain> {
  const { clock, files, processRunner, random } = context;
  const { providers } = config;
  const stop = new AbortController();
  const running = { signal: signal ?? stop.signal, observer };
  const deadline = late &&
    new AnswerDeadline({ clock, timeoutMs: providers.timeoutMs, onLateAnswer: late });
  const dockerPath = providers.docker.enabled ? dockerConfigPath(context, config) : undefined;
  const helpers = credentialHelpers(context, config, {
    ...running,
    ...(before && { before: before.sources.helpers }),
  });
  const common = { files, clock, ...(deadline && { deadline }) };
  const docker = dockerPath === undefined ? undefined : new DockerProvider({
    ...common,
    configPath: dockerPath,
    helpers,
    ...(before?.sources.docker && { before: before.sources.docker }),
  });
  let changed = () => {};
  using owned = new DisposableStack();
  owned.defer(() => stop.abort(new DOMException("the chain is closed", "AbortError")));
  const kube = owned.use(kubeParts(context, config, () => changed(), pulls));
  const kubesecret = providers.kubesecret.enabled ? (await kube.open()).secrets() : undefined;
  const kubelet = providers.kubelet.enabled
    ? new KubeletProvider({
      ...providers.kubelet,
      ...running,
      ...common,
      processRunner,
      random,
      accounts: async () => (await kube.open()).accounts(),
      ...(before?.sources.kubelet && { before: before.sources.kubelet }),
    })
    : undefined;
  const refresh = async (): Promise<ReloadOutcome> => {
    docker?.suspect();
    return await kubelet?.reload() ?? { kind: "unchanged" };
  };
  await refresh();
  const chain = new CredentialChain({
    ...common,
    providers: [
      providers.labels.enabled ? labelsProvider(clock, puts) : disabledProvider("labels", false),
      criProvider(providers.cri.enabled ? pulls : undefined),
      docker ?? disabledProvider("docker", true),
      kubelet ?? disabledProvider("kubelet", true),
      kubesecret ?? disabledProvider("kubesecret", true),
    ],
    ...(providers.cri.enabled && pulls && { lastResort: confirmedPullProvider(pulls) }),
    observer,
  });
  const toDispose = owned.move();
  return {
    chain,
    sources: { helpers, ...(docker && { docker }), ...(kubelet && { kubelet }) },
    watchPaths: [dockerPath, kubelet && providers.kubelet.configPath]
      .filter((path) => path !== undefined),
    refresh,
    onChange: (listener) => void (changed = listener),
    staleWatches: () => kube.stale(),
    [Symbol.asyncDispose]: () => Promise.resolve(toDispose.dispose()),
  };
}

function credentialHelpers(
  { clock, files, processRunner, random, host }: Context,
  { providers, renewal }: AgentConfig,
  more: Pick<CredentialHelpersOptions, "observer" | "signal" | "before">,
): CredentialHelpers {
  return new CredentialHelpers({
    processRunner,
    files,
    clock,
    random,
    searchPath: host.env["PATH"] ?? "",
    timeoutMs: providers.docker.helperTimeoutMs,
    refreshIntervalMs: renewal.refreshIntervalMs,
    ...more,
  });
}

/** Docker's own rule: `$DOCKER_CONFIG`, else the home folder; undefined where there is neither. */
export function dockerConfigPath(
  { host }: Context,
  { providers }: AgentConfig,
): string | undefined {
  if (providers.docker.configPath !== undefined) return providers.docker.configPath;
  const folder = host.env["DOCKER_CONFIG"] ?? "";
  if (folder !== "") return join(folder, "config.json");
  const home = host.env["HOME"] ?? "";
  return home === "" ? undefined : join(home, ".docker", "config.json");
}
