/**
 * Runs inside a `systemd_machine.ts`: an echo server in place of the runtime, a client that calls
 * through the link continuously, and systemctl commands that kill and restart the agent. Prints the
 * results as JSON.
 */
const UPSTREAM = "/run/containerd/containerd.sock";
const LINK = "/run/nydus-auth-agent-cri/image.sock";
const SOCKET = "/run/nydus-auth-agent/cri.sock";
const CONFIG = "/run/agent/config.toml";
const KILLS = 5;

const seen = { calls: 0, corrupted: 0, broken: 0, refusedMs: [] as number[], leftPath: 0 };
const stop = new AbortController();

const listener = Deno.listen({ transport: "unix", path: UPSTREAM });
const serving = (async () => {
  for await (const connection of listener) {
    void connection.readable.pipeTo(connection.writable).catch(() => {});
  }
})();

/** Ten calls over each connection, so that the link is resolved repeatedly. */
async function call(): Promise<void> {
  const connection = await Deno.connect({ transport: "unix", path: LINK });
  try {
    for (let i = 0; i < 10; i++) {
      const request = crypto.getRandomValues(new Uint8Array(256));
      await connection.write(request);
      const answer = new Uint8Array(request.length);
      for (let done = 0; done < answer.length;) {
        const count = await connection.read(answer.subarray(done));
        if (count === null) throw new Error("the connection was closed");
        done += count;
      }
      seen.calls++;
      if (answer.some((byte, i) => byte !== request[i])) seen.corrupted++;
    }
  } finally {
    connection.close();
  }
}

const calling = (async () => {
  let refusedAtMs: number | undefined;
  while (!stop.signal.aborted) {
    const before = seen.calls;
    try {
      await call();
    } catch (error) {
      const isRefused = error instanceof Deno.errors.ConnectionRefused ||
        error instanceof Deno.errors.NotFound;
      if (isRefused) refusedAtMs ??= performance.now();
      else seen.broken++;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    if (seen.calls === before || refusedAtMs === undefined) continue;
    seen.refusedMs.push(Math.round(performance.now() - refusedAtMs));
    refusedAtMs = undefined;
  }
})();

async function systemctl(...args: readonly string[]): Promise<string> {
  const { stdout } = await new Deno.Command("systemctl", { args: [...args] }).output();
  return new TextDecoder().decode(stdout).trim();
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const untilMs = Date.now() + 20_000; !await condition();) {
    if (Date.now() > untilMs) throw new Error(`timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const pointsTo = async (path: string) => await Deno.readLink(LINK) === path;
const inThePath = () => until("the CRI proxy", () => pointsTo(SOCKET));
const outOfThePath = () => until("the link to the runtime", () => pointsTo(UPSTREAM));
async function moreCalls(): Promise<void> {
  const before = seen.calls;
  await until("calls", () => Promise.resolve(seen.calls > before + 20));
}

/** Ends the agent, and waits until its successor is active. */
async function replaceAgent(...end: readonly string[]): Promise<void> {
  const before = await systemctl("show", "-p", "MainPID", "--value", "nydus-auth-agent");
  await systemctl(...end);
  await until("another agent", async () => {
    if (await pointsTo(UPSTREAM)) seen.leftPath++;
    const pid = await systemctl("show", "-p", "MainPID", "--value", "nydus-auth-agent");
    return pid !== before && await systemctl("is-active", "nydus-auth-agent") === "active";
  });
  await moreCalls();
}

await inThePath();
for (let i = 0; i < KILLS; i++) {
  await replaceAgent("kill", "--signal=KILL", "nydus-auth-agent");
  await replaceAgent("restart", "nydus-auth-agent");
}
const { broken: brokenByKills } = seen;
const timer = await systemctl("is-active", "nydus-auth-agent-cri-fallback.timer");
const after = await Deno.readLink(LINK);
await systemctl("stop", "nydus-auth-agent");
const stopped = await Deno.readLink(LINK);
await outOfThePath();
await moreCalls();
const config = await Deno.readTextFile(CONFIG);
await systemctl("start", "nydus-auth-agent");
await inThePath();
await moreCalls();
await Deno.writeTextFile(CONFIG, "nonsense");
await systemctl("restart", "--no-block", "nydus-auth-agent");
await outOfThePath();
await until("two crashes", async () => {
  return Number(await systemctl("show", "-p", "NRestarts", "--value", "nydus-auth-agent")) >= 2;
});
const crashing = await Deno.readLink(LINK);
await moreCalls();
await Deno.writeTextFile(CONFIG, config);
await inThePath();
await moreCalls();
stop.abort();
await calling;
listener.close();
await serving;
const [laid = "", kubelet = ""] = await Promise.all(
  ["laid", "seen"].map(async (name) => (await Deno.readTextFile(`/run/agent/${name}`)).trim()),
);
// deno-lint-ignore no-console -- the test reads it
console.log(
  JSON.stringify({
    ...seen,
    ends: 2 * KILLS,
    brokenByKills,
    timer,
    after,
    stopped,
    crashing,
    laid,
    kubelet,
  }),
);
