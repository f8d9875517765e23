import { join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import type { Observer, StaleWatch } from "../model/mod.ts";
import {
  CredentialChain,
  CredentialHelpers,
  criProvider,
  type CriPulls,
  disabledProvider,
  DockerProvider,
  KubeletProvider,
  labelsProvider,
  pulledProvider,
  type PutCredentials,
  type ReloadOutcome,
} from "../resolve/mod.ts";
import type { Context } from "./context.ts";
import { kubeParts } from "./kube_parts.ts";

/** What a running agent has seen and was given: without pulls that provider is off. */
export interface LiveSources {
  readonly pulls?: CriPulls;
  readonly puts?: PutCredentials;
  /** The chain of the configuration before. */
  readonly before?: OpenChain;
}

/** The chain with everything that it owns. Disposing it ends the plugins that still run. */
export interface OpenChain extends AsyncDisposable {
  readonly chain: CredentialChain;
  /** What a chain that follows this one goes on with. */
  readonly sources: { readonly docker?: DockerProvider; readonly kubelet?: KubeletProvider };
  /** Files whose change means that other credentials may be found. */
  readonly watchPaths: readonly string[];
  /** Reads again what is said to have changed, before anyone asks. */
  refresh(): Promise<ReloadOutcome>;
  /** Calls back when a source that is no file has changed; one listener at a time. */
  onChange(changed: () => void): void;
  /** What of the Kubernetes API is not followed now. */
  staleWatches(): readonly StaleWatch[];
}

const SILENT: Observer = { notify: () => {} };

/**
 * Builds the chain that a configuration describes, with every provider ready to be asked.
 *
 * The kubelet provider's own configuration is read here; where it cannot be used, the provider says
 * so at every question and the others work. What a chain before it read last stays where its files
 * cannot be used now: a reload in the moment of a half-written file drops nothing.
 */
export async function openChain(
  context: Context,
  config: AgentConfig,
  observer: Observer = SILENT,
  { pulls, puts, before }: LiveSources = {},
): Promise<OpenChain> {
  const { clock, files, processRunner, random } = context;
  const { providers, renewal } = config;
  const dockerPath = dockerConfigPath(context, config);
  const helpers = credentialHelpers(context, config, observer);
  const docker = providers.docker.enabled && dockerPath !== undefined
    ? new DockerProvider({
      configPath: dockerPath,
      files,
      clock,
      helpers,
      ...(before?.sources.docker && { before: before.sources.docker }),
    })
    : undefined;
  let changed = () => {};
  const kube = kubeParts(context, config, () => changed(), pulls);
  const kubesecret = providers.kubesecret.enabled ? (await kube.open()).secrets() : undefined;
  const kubelet = providers.kubelet.enabled
    ? new KubeletProvider({
      ...providers.kubelet,
      files,
      clock,
      processRunner,
      random,
      observer,
      refreshIntervalMs: renewal.refreshIntervalMs,
      accounts: async () => (await kube.open()).accounts(),
      ...(before?.sources.kubelet && { before: before.sources.kubelet }),
    })
    : undefined;
  const refresh = async (): Promise<ReloadOutcome> => {
    docker?.doubt();
    return await kubelet?.reload() ?? { kind: "unchanged" };
  };
  await refresh();
  return {
    chain: new CredentialChain({
      providers: [
        providers.labels.enabled ? labelsProvider(clock, puts) : disabledProvider("labels", false),
        criProvider(providers.cri.enabled ? pulls : undefined),
        docker ?? disabledProvider("docker", true),
        kubelet ?? disabledProvider("kubelet", true),
        kubesecret ?? disabledProvider("kubesecret", true),
      ],
      ...(providers.cri.enabled && pulls && { lastResort: pulledProvider(pulls) }),
      clock,
      observer,
    }),
    sources: { ...(docker && { docker }), ...(kubelet && { kubelet }) },
    watchPaths: [
      ...(docker === undefined || dockerPath === undefined ? [] : [dockerPath]),
      ...(kubelet === undefined ? [] : [providers.kubelet.configPath]),
    ],
    refresh,
    onChange: (listener) => void (changed = listener),
    staleWatches: () => kube.stale(),
    [Symbol.asyncDispose]: () => {
      helpers.stop();
      kubelet?.stop();
      kube[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

function credentialHelpers(
  { clock, files, processRunner, random, host }: Context,
  { providers, renewal }: AgentConfig,
  observer: Observer,
): CredentialHelpers {
  return new CredentialHelpers({
    processRunner,
    files,
    clock,
    observer,
    random,
    searchPath: host.env["PATH"] ?? "",
    timeoutMs: providers.docker.helperTimeoutMs,
    refreshIntervalMs: renewal.refreshIntervalMs,
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
