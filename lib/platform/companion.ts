/** A child process that runs beside us, its standard error in a file. */
export interface RunningCompanion extends AsyncDisposable {
  log(): Promise<string>;
}

const END_WITHIN_MS = 5_000;

/** Starts a program; disposing ends it by TERM, and by KILL when it does not listen. */
export function startCompanion(command: readonly string[], logPath: string): RunningCompanion {
  const [path = "", ...args] = command;
  const child = new Deno.Command(path, { args, stdin: "null", stdout: "null", stderr: "piped" })
    .spawn();
  const file = Deno.openSync(logPath, { write: true, create: true, mode: 0o600 });
  const copied = child.stderr.pipeTo(file.writable).catch(() => {});
  return {
    log: () => Deno.readTextFile(logPath),
    async [Symbol.asyncDispose]() {
      const kill = (name: Deno.Signal) => {
        try {
          child.kill(name);
        } catch {
          // It has ended.
        }
      };
      kill("SIGTERM");
      const timer = setTimeout(() => kill("SIGKILL"), END_WITHIN_MS);
      await child.status;
      clearTimeout(timer);
      await copied;
    },
  };
}

/** A port of loopback that nobody listens on at this moment. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    return listener.addr.port;
  } finally {
    listener.close();
  }
}

/** Writes a small text for the owner's eyes alone. */
export function writePrivateText(path: string, text: string): Promise<void> {
  return Deno.writeTextFile(path, text, { mode: 0o600 });
}
