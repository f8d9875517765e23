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
    flag: "--deny-net=169.254.169.254,[fd00:ec2::254]",
    why: "a cloud's metadata service is for plugins, never for the agent itself",
  },
  {
    flag: "--allow-sys=osUptime,statfs,uid",
    why: "the machine's uptime, for systemd's reload protocol; whether a folder is in memory; " +
      "our own user, for `check`",
  },
];

/** An agent that mostly sleeps is to be small rather than fast: a tenth less resident memory. */
const V8_FLAGS = "--v8-flags=--max-semi-space-size=1,--optimize-for-size";

/** Features of Deno that are not settled yet, and that the agent uses. */
export const UNSTABLE: readonly string[] = [
  "--unstable-http", // HTTP clients over unix sockets
  "--unstable-net", // datagrams over unix sockets, for systemd
];

/** Flags of `deno compile`, in a fixed order. */
export function compileFlags(): string[] {
  return [...UNSTABLE, V8_FLAGS, ...GRANTS.map((grant) => grant.flag)];
}
