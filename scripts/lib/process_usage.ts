/** Resources that a process has used. */
export interface Usage {
  /** CPU time of all threads. */
  readonly cpuMs: number;
  /** Voluntary context switches of all threads. */
  readonly switches: number;
  readonly residentMib: number;
  /** Without the text and read-only data of the binary. */
  readonly anonymousMib: number;
}

/** Reads the usage of a process from `/proc`. @throws {Deno.errors.NotFound} if it has ended. */
export function readUsage(pid: number): Usage {
  let cpuMs = 0;
  let switches = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    const folder = `/proc/${pid}/task/${name}`;
    // Nanoseconds; the times in `stat` have a resolution of 10 ms.
    cpuMs += parseInt(Deno.readTextFileSync(`${folder}/schedstat`)) / 1e6;
    switches += field(Deno.readTextFileSync(`${folder}/status`), "voluntary_ctxt_switches");
  }
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  const mib = (name: string) => field(status, name) / 1024;
  return { cpuMs, switches, residentMib: mib("VmRSS"), anonymousMib: mib("RssAnon") };
}

/** Returns the number of system calls of a process in some seconds; undefined without strace. */
export async function countSystemCalls(pid: number, seconds: number): Promise<number | undefined> {
  const strace = new Deno.Command("timeout", {
    args: ["-s", "INT", String(seconds), "strace", "-f", "-c", "-p", String(pid)],
    stdout: "null",
    stderr: "piped",
  });
  const { stderr } = await strace.output();
  const [, calls] = /^100\.00\s+\S+\s+\d+\s+(\d+)/m.exec(new TextDecoder().decode(stderr)) ?? [];
  return calls === undefined ? undefined : Number(calls);
}

function field(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(text)?.[1]);
}
