import { join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { AnswerDeadline, defined, type ImageReference, type Observer } from "../model/mod.ts";
import { type Context, createKubeHttp } from "../platform/mod.ts";
import {
  confirmedPullProvider,
  CredentialChain,
  CredentialHelpers,
  criProvider,
  type CriPulls,
  disabledProvider,
  DockerProvider,
  Kube,
  KubeletProvider,
  labelsProvider,
  type PushedCredentials,
  type ReloadOutcome,
} from "../providers/mod.ts";

/** State of a running agent that the chain uses. A command that runs once has none. */
export interface ChainState {
  /** Without it the `cri` provider is disabled. */
  readonly pulls?: CriPulls;
  readonly pushed?: PushedCredentials;
  /** The chain of the previous configuration. */
  readonly previous?: { readonly sources: ChainSources };
  /**
   * Called when a provider has answered after `providers.timeout`. Without it the chain waits for
   * every provider.
   */
  readonly onLateAnswer?: (image: ImageReference) => void;
  /** Called when a source other than a file has changed. */
  readonly onChange?: () => void;
  /** Aborts plugins and helpers, which outlive a reload; without it they end with the chain. */
  readonly signal?: AbortSignal;
}

/** Providers whose caches the next chain takes over. */
interface ChainSources {
  readonly helpers: CredentialHelpers;
  readonly docker?: DockerProvider;
  readonly kubelet?: KubeletProvider;
}

/** A provider chain with the resources that it owns. */
export type OpenChain = Awaited<ReturnType<typeof openChain>>;

const NO_OBSERVER: Observer = { notify: () => {} };

/**
 * Builds the provider chain that a configuration describes.
 *
 * The credential provider configuration of the kubelet is read here. When it is invalid, that
 * provider keeps the previous one or fails, and the others work. Caches of unchanged plugins and
 * helpers are taken over from the previous chain, so that a reload causes no execution.
 */
export async function openChain(
  context: Context,
  config: AgentConfig,
  observer: Observer = NO_OBSERVER,
  { pulls, pushed, previous, onLateAnswer, onChange = () => {}, signal }: ChainState = {},
) {
  const { clock, files, processRunner, random, host } = context;
  const { providers, renewal } = config;
  const stop = new AbortController();
  const running = { signal: signal ?? stop.signal, observer };
  const { timeoutMs } = providers;
  const deadline = onLateAnswer && new AnswerDeadline({ clock, timeoutMs, onLateAnswer });
  const dockerPath = providers.docker.enabled ? dockerConfigPath(context, config) : undefined;
  const common = defined({ files, clock, processRunner, random, deadline });
  const helpers = new CredentialHelpers({
    ...running,
    ...common,
    searchPath: host.env["PATH"] ?? "",
    timeoutMs: providers.docker.helperTimeoutMs,
    refreshIntervalMs: renewal.refreshIntervalMs,
    ...defined({ before: previous?.sources.helpers }),
  });
  const docker = dockerPath === undefined ? undefined : new DockerProvider({
    ...common,
    configPath: dockerPath,
    helpers,
    ...defined({ before: previous?.sources.docker }),
  });
  using owned = new DisposableStack();
  owned.defer(() => stop.abort(new DOMException("the chain is closed", "AbortError")));
  const kube = owned.use(await openKube(context, config, onChange, pulls));
  const kubesecret = providers.kubesecret.enabled ? kube.secrets() : undefined;
  const kubelet = providers.kubelet.enabled
    ? new KubeletProvider({
      ...providers.kubelet,
      ...running,
      ...common,
      accounts: () => kube.accounts(),
      ...defined({ before: previous?.sources.kubelet }),
    })
    : undefined;
  const refresh = (): Promise<ReloadOutcome> =>
    kubelet?.reload() ?? Promise.resolve({ kind: "unchanged" });
  await refresh();
  const chain = new CredentialChain({
    ...common,
    providers: [
      providers.labels.enabled ? labelsProvider(clock, pushed) : disabledProvider("labels", false),
      criProvider(providers.cri.enabled ? pulls : undefined),
      docker ?? disabledProvider("docker", true),
      kubelet ?? disabledProvider("kubelet", true),
      kubesecret ?? disabledProvider("kubesecret", true),
    ],
    ...(providers.cri.enabled && pulls && { lastResort: confirmedPullProvider(pulls) }),
    observer,
  });
  const resources = owned.move();
  return {
    chain,
    sources: defined({ helpers, docker, kubelet }),
    /** Configuration files of the providers. */
    watchPaths: [dockerPath, kubelet && providers.kubelet.configPath]
      .filter((path) => path !== undefined),
    /** Reads provider configurations that have changed. */
    refresh,
    /** Returns the Kubernetes API watches that are interrupted. */
    staleWatches: () => kube.staleWatches(),
    [Symbol.asyncDispose]: () => Promise.resolve(resources.dispose()),
  };
}

/** Returns docker's configuration file as docker finds it, or undefined without a home folder. */
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

const HOSTNAME = "/etc/hostname";

/**
 * Returns the Kubernetes providers. They call the API server from their first use on.
 *
 * @param changed Called when a pod, secret or service account has changed.
 * @param pulls Returns which pods pulled an image.
 */
export async function openKube(
  context: Context,
  config: AgentConfig,
  changed: () => void,
  pulls?: CriPulls,
): Promise<Kube> {
  const { clock, files, processRunner, random, host } = context;
  const { kubesecret } = config.providers;
  return new Kube({
    ...kubesecret,
    nodeName: kubesecret.nodeName ?? await defaultNodeName(context),
    http: createKubeHttp(),
    clock,
    files,
    processRunner,
    random,
    env: host.env,
    changed,
    ...(pulls && { pulledBy: (image) => pulls.pods?.(image).map(({ uid }) => uid) ?? [] }),
  });
}

/**
 * Returns `$NODE_NAME`, else what the kubelet uses by default: the lower-case hostname. A compiled
 * binary cannot read it from `/proc`.
 */
export async function defaultNodeName({ host, files }: Context): Promise<string> {
  const name = host.env["NODE_NAME"] ?? "";
  if (name !== "") return name;
  const text = await files.readText(HOSTNAME).catch(() => undefined);
  return text?.trim().toLowerCase() || "localhost";
}
