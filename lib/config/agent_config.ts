import type { ConfigProblem, FsDriver } from "../model/mod.ts";

/** The agent's whole configuration: frozen, durations in milliseconds, every default filled in. */
export interface AgentConfig {
  /** The files it was read from, in the order of reading. */
  readonly files: readonly string[];
  /** SHA-256 (hex) over what it means, so that equal configurations have equal hashes. */
  readonly hash: string;
  /** What is not wrong but worth saying; printed by `check`, logged by `run`. */
  readonly warnings: readonly ConfigProblem[];
  readonly node: NodeConfig;
  readonly renewal: RenewalConfig;
  readonly providers: ProvidersConfig;
  readonly delivery: DeliveryConfig;
  /** Where the status page, metrics and health are served; undefined = nowhere. */
  readonly server?: { readonly hostname: string; readonly port: number };
  /** Where only metrics and health are served; undefined = nowhere. */
  readonly metricsServer?: { readonly hostname: string; readonly port: number };
  readonly api: ApiConfig;
  readonly log: LogConfig;
}

/** Where the snapshotter and the daemons are. */
export interface NodeConfig {
  /** The snapshotter's root folder. */
  readonly root: string;
  /** Socket of the snapshotter's system API; undefined when it is switched off. */
  readonly systemSocket?: string;
  readonly fsDriver: FsDriver;
  readonly daemonMode: "dedicated" | "shared" | "none";
  /** Daemons listed by hand. */
  readonly daemons: readonly ConfiguredDaemon[];
  /** The snapshotter's folder of registry mirrors: a mount may read from one of those hosts. */
  readonly mirrorsDir?: string;
  /** The snapshotter's template of a daemon's configuration. */
  readonly daemonTemplate: string;
  /** The snapshotter reads images from the `-vpc` host of their registry. */
  readonly vpcRegistry: boolean;
}

/** A daemon that no snapshotter lists. */
export interface ConfiguredDaemon {
  readonly id: string;
  /** A path, or a glob of paths: one daemon for each socket that it matches. */
  readonly socket: string;
  /** The image that its mount serves, as in an image reference. */
  readonly ref: string;
}

/** When to look and when to renew. */
export interface RenewalConfig {
  /** False: only look-ups are answered, nothing is renewed or delivered. */
  readonly enabled: boolean;
  /** How often what daemons hold is compared with what they should hold. */
  readonly checkIntervalMs: number;
  /** How long before the hard end to renew; `auto` = a third of the life. */
  readonly leadTimeMs: number | "auto";
  /** How often a plugin or helper is asked when no clock is known. */
  readonly refreshIntervalMs: number;
}

/** Which providers there are and what they read. */
export interface ProvidersConfig {
  /** How long a running agent waits for each provider before it goes on without it. */
  readonly timeoutMs: number;
  readonly labels: { readonly enabled: boolean };
  readonly cri: {
    readonly enabled: boolean;
    /** Where CRI requests are taken. */
    readonly socket: string;
    /** A symbolic link that clients are given; undefined = none is made. */
    readonly link?: string;
    /** Socket of the image service that they are passed on to. */
    readonly imageServiceSocket: string;
    /** How long the link keeps leading to the agent after its end; 0: it moves with the end. */
    readonly fallbackDelayMs: number;
    /** Keep what was seen over a restart of the agent, in memory-backed storage. */
    readonly persist: boolean;
  };
  readonly docker: {
    readonly enabled: boolean;
    /** The docker configuration file; undefined = `$DOCKER_CONFIG/config.json`, else the home's. */
    readonly configPath?: string;
    readonly helperTimeoutMs: number;
  };
  readonly kubelet: {
    readonly enabled: boolean;
    /** Path of the `CredentialProviderConfig`; empty when not enabled. */
    readonly configPath: string;
    readonly binDir: string;
    readonly timeoutMs: number;
    readonly maxParallel: number;
  };
  readonly kubesecret: {
    readonly enabled: boolean;
    /** Undefined: `$KUBECONFIG`, the home's, or the pod's service account. */
    readonly kubeconfigPath?: string;
    /** Only the secrets that this node's pods name, or all there are. */
    readonly mode: "referenced" | "list";
    /** With `list`; undefined = all. */
    readonly namespaces?: readonly string[];
    /** With `referenced`; undefined = `$NODE_NAME`, else the machine's name. */
    readonly nodeName?: string;
  };
}

/** What may be written, and where. */
export interface DeliveryConfig {
  /** `auto`: rewrite a daemon's configuration file where it already holds a credential. */
  readonly configFiles: "auto" | "always" | "never";
  /** Patterns of hosts that may be shown any image's credential. */
  readonly allowedHosts: readonly string[];
  /** What to do where a credential would be shown to a host that nobody named. */
  readonly unapprovedHostPolicy: "warn" | "refuse";
  /** When the registry itself is asked whether it accepts a credential. */
  readonly verify: "never" | "as-needed" | "on-change";
}

/** Where other programs of this node ask. */
export interface ApiConfig {
  /** Undefined: nowhere. */
  readonly socket?: string;
  /** Name or number of a group that may ask too. */
  readonly group?: string;
}

/** How to log. */
export interface LogConfig {
  readonly level: "debug" | "info" | "warning" | "error";
  readonly format: "text" | "json";
}
