import type { ConfigProblem, FsDriver } from "../model/mod.ts";

/** The agent's configuration: frozen, complete with defaults, durations in milliseconds. */
export interface AgentConfig {
  /** The files that were read, in order. */
  readonly files: readonly string[];
  /** SHA-256 (hex) of the settings: equal for equal configurations from different sources. */
  readonly hash: string;
  /** Valid settings that are probably mistakes; printed by `check`, logged by `run`. */
  readonly warnings: readonly ConfigProblem[];
  /** Every setting as JSON, by key path, to compare configurations. */
  readonly values: Readonly<Record<string, string>>;
  readonly node: NodeConfig;
  readonly renewal: RenewalConfig;
  readonly providers: ProvidersConfig;
  readonly delivery: DeliveryConfig;
  /** Address of the status page, metrics and health probes; undefined if disabled. */
  readonly server?: { readonly hostname: string; readonly port: number };
  /** Additional address of metrics and health probes; undefined if disabled. */
  readonly metricsServer?: { readonly hostname: string; readonly port: number };
  readonly api: ApiConfig;
  readonly log: LogConfig;
}

/** The snapshotter and the daemons of the node. */
export interface NodeConfig {
  /** The snapshotter's root folder. */
  readonly root: string;
  /** Socket of the snapshotter's system API; undefined if disabled. */
  readonly systemSocket?: string;
  readonly fsDriver: FsDriver;
  readonly daemonMode: "dedicated" | "shared" | "none";
  /** Daemons that are listed in the configuration. */
  readonly daemons: readonly ConfiguredDaemon[];
  /** The snapshotter's folder with registry mirrors, which are approved hosts. */
  readonly mirrorsDir?: string;
  /** The snapshotter's template of a daemon's configuration file. */
  readonly daemonTemplate: string;
  /** Whether the snapshotter reads images from the `-vpc` host of their registry. */
  readonly vpcRegistry: boolean;
}

/** A daemon without a snapshotter. */
export interface ConfiguredDaemon {
  readonly id: string;
  readonly socket: string;
  /** Reference of the image that its mount serves. */
  readonly ref: string;
}

/** Intervals of reconciles and renewals. */
export interface RenewalConfig {
  /** If false, the agent serves lookups, but neither renews nor delivers credentials. */
  readonly enabled: boolean;
  /** Interval between two reconciles without an event. */
  readonly checkIntervalMs: number;
  /** Time before expiry at which to renew; `auto` is a third of the lifetime. */
  readonly leadTimeMs: number | "auto";
  /** Interval between two executions of a plugin or helper whose credential has no known lifetime. */
  readonly refreshIntervalMs: number;
}

/** Settings of the providers. */
export interface ProvidersConfig {
  /** How long a running agent waits for a provider before it queries the next one. */
  readonly timeoutMs: number;
  readonly labels: { readonly enabled: boolean };
  readonly cri: {
    readonly enabled: boolean;
    /** Socket on which the CRI proxy listens. */
    readonly socket: string;
    /** Symbolic link that CRI clients connect to; undefined if disabled. */
    readonly link?: string;
    /** Socket of the image service that requests are forwarded to. */
    readonly imageServiceSocket: string;
    /** How long the link points to the proxy after the agent has stopped. */
    readonly fallbackDelayMs: number;
    /** Whether to keep observed credentials across restarts, in memory-backed storage. */
    readonly persist: boolean;
  };
  readonly docker: {
    readonly enabled: boolean;
    /** Path of docker's configuration file; undefined for docker's default. */
    readonly configPath?: string;
    readonly helperTimeoutMs: number;
  };
  readonly kubelet: {
    readonly enabled: boolean;
    /** Path of the `CredentialProviderConfig`; empty if not enabled. */
    readonly configPath: string;
    readonly binDir: string;
    readonly timeoutMs: number;
    readonly maxParallel: number;
  };
  readonly kubesecret: {
    readonly enabled: boolean;
    /** Undefined for `$KUBECONFIG`, `~/.kube/config`, or the pod's service account. */
    readonly kubeconfigPath?: string;
    /** Read only the pull secrets that this node's pods reference, or list all. */
    readonly mode: "referenced" | "list";
    /** With `list`; undefined for all namespaces. */
    readonly namespaces?: readonly string[];
    /** With `referenced`; undefined for `$NODE_NAME`, else the host name. */
    readonly nodeName?: string;
  };
}

/** Settings of the delivery to nydusd. */
export interface DeliveryConfig {
  /** Whether to update daemons' configuration files; `auto`: if they contain a credential. */
  readonly configFiles: "auto" | "always" | "never";
  /** Patterns of hosts that may receive the credential of any image. */
  readonly allowedHosts: readonly string[];
  /** What to do if an unapproved host would receive a credential. */
  readonly unapprovedHostPolicy: "warn" | "refuse";
  /** When to probe the registry with a credential. */
  readonly verify: "never" | "as-needed" | "on-change";
}

/** The local API. */
export interface ApiConfig {
  /** Undefined if disabled. */
  readonly socket?: string;
  /** Name or number of a group that may also use it. */
  readonly group?: string;
}

/** Logging. */
export interface LogConfig {
  readonly level: "debug" | "info" | "warning" | "error";
  readonly format: "text" | "json";
}
