import { freePort, startCompanion, writePrivateText } from "../platform/mod.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { runDemo } from "./demo.ts";

/** `demo`: the main job on the simulated node. */
export async function demo(
  { host, clock, mainUrl }: Context,
  { output }: { readonly output: "text" | "json" },
): Promise<number> {
  const stop = new AbortController();
  using _signals = host.onSignal(["SIGTERM", "SIGINT"], () => stop.abort());
  try {
    return await runDemo({
      output,
      selfCommand: host.selfCommand(mainUrl),
      isTerminal: host.stdoutIsTerminal,
      colour: host.stdoutIsTerminal && (host.env["NO_COLOR"] ?? "") === "",
      write: (text) => host.out(text),
      signal: stop.signal,
      ports: {
        start: startCompanion,
        writeText: writePrivateText,
        freePort,
        sleep: clock.sleep,
        nowMs: clock.monotonicMs,
      },
    });
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    host.err("the demo was stopped\n");
    return EXIT.failed;
  }
}
