/** One flag that the binary is compiled with, and why it is not narrower. */
export interface Grant {
  readonly flag: string;
  readonly why: string;
}

/**
 * Everything that the compiled binary may do. `docs/permissions.md` says the same at more length,
 * and a test keeps the two together.
 */
export const GRANTS: readonly Grant[] = [
  { flag: "--no-prompt", why: "a service has nobody to ask: what is not granted is refused" },
  {
    flag: "--allow-read",
    why: "operators say where configuration, secrets, sockets and the snapshotter's root are",
  },
  {
    flag: "--allow-write",
    why: "daemons' configuration files below the snapshotter's root; unix sockets count as written",
  },
  { flag: "--allow-run", why: "operators name the credential plugins and helpers to run" },
  {
    flag: "--allow-env",
    why: "plugins get the whole environment, as the kubelet gives it to them",
  },
  {
    flag: "--allow-net",
    why:
      "what operators choose: sockets' paths, the address for metrics, the Kubernetes API server",
  },
  {
    flag: "--deny-net=169.254.169.254,169.254.170.2,169.254.170.23,100.100.100.200," +
      "168.63.129.16,[fd00:ec2::23],[fd00:ec2::254],[fd20:ce::254]",
    why: "a cloud's metadata service is for plugins, never for the agent itself; Deno before 2.9 " +
      "does not apply this to names, so registries' addresses are checked in lib/platform as well",
  },
  {
    flag: "--allow-sys=osUptime,statfs,uid",
    why: "the machine's uptime, for systemd's reload protocol; whether a folder is in memory; " +
      "our own user, for `check`",
  },
];

/**
 * An agent that mostly sleeps is to be small, and yet never to stop for long. Of V8's three compilers
 * each brings megabytes of its own code into memory when it first runs: only the last is left, for
 * what is called twenty thousand times. `--optimize-for-size` saves another megabyte and a half, and
 * was given up: with 10,000 images its collections stop the event loop for 70 ms.
 */
const V8_FLAGS = "--v8-flags=" + [
  "--max-semi-space-size=8",
  "--no-sparkplug",
  "--no-maglev",
  "--invocation-count-for-osr=20000",
  "--invocation-count-for-early-optimization=20000",
  "--invocation-count-for-turbofan=20000",
].join(",");

/** Features of Deno that are not settled yet, and that the agent uses. */
export const UNSTABLE: readonly string[] = [
  "--unstable-http", // HTTP clients with authorities, client certificates and proxies of their own
  "--unstable-net", // datagrams over unix sockets, for systemd
];

/** Flags of `deno compile`, in a fixed order. */
export function compileFlags(): string[] {
  return [...UNSTABLE, V8_FLAGS, ...GRANTS.map((grant) => grant.flag)];
}
