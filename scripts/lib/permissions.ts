/** A permission flag of the binary, and the reason for its scope. */
export interface Grant {
  readonly flag: string;
  readonly why: string;
}

/** Permissions of the compiled binary. `docs/security.md` lists them, from this table. */
export const GRANTS: readonly Grant[] = [
  { flag: "--no-prompt", why: "what is not granted is denied." },
  {
    flag: "--allow-read",
    why:
      "configuration, secrets, sockets and the snapshotter's root, whose paths operators choose. " +
      "Deno itself denies most of `/proc`, `/sys` and `/dev`.",
  },
  {
    flag: "--allow-write",
    why:
      "daemon configuration files below the snapshotter's root; `install`; connecting to a unix " +
      "socket counts as writing.",
  },
  {
    flag: "--allow-run",
    why:
      "credential plugins and helpers, which operators name in configuration files; `ulimit -Sn` and " +
      "the number of open files in `/bin/sh`. The broadest permission: child processes are bound only by the " +
      "[systemd unit](systemd.md) or the [container](kubernetes.md).",
  },
  { flag: "--allow-env", why: "plugins get the whole environment, as in the kubelet; settings." },
  {
    flag: "--allow-net",
    why:
      "unix sockets, the address for metrics and health, the Kubernetes API server, registries. " +
      "TLS connections to a registry pass through a loopback connection of the agent to itself.",
  },
  {
    flag: "--deny-net=169.254.169.254,169.254.170.2,169.254.170.23,100.100.100.200," +
      "168.63.129.16,[fd00:ec2::23],[fd00:ec2::254],[fd20:ce::254]",
    why: "[metadata services](#metadata-services) are for plugins, never for the agent.",
  },
  {
    flag: "--allow-sys=osUptime,statfs,uid",
    why:
      "uptime for systemd's reload protocol; whether a folder is in memory; the user, for `check`.",
  },
];

/**
 * Flags that reduce the resident memory. Without optimizing compilers an idle agent has 4 to 9 MiB
 * less; up to 23 mounts it needs the same CPU time, with 100 mounts 0.57 instead of 0.44 %
 * (`bench:idle`). The event loop delays of a full node stay below 50 ms (`bench reconcile`). With the
 * default young generation, memory under attack is 2.2 times that of an idle agent instead of 1.5
 * times (`measure:attacks`).
 */
const V8_FLAGS = "--v8-flags=--max-semi-space-size=8,--no-maglev,--no-turbofan";

/** Unstable Deno features that the agent uses. */
export const UNSTABLE: readonly string[] = [
  "--unstable-http", // HTTP clients with their own CA certificates, client certificates and proxies
  "--unstable-net", // datagrams over unix sockets, for systemd
];

/** Returns the flags of `deno compile`, in a fixed order. */
export function compileFlags(): string[] {
  return [...UNSTABLE, V8_FLAGS, ...GRANTS.map((grant) => grant.flag)];
}
