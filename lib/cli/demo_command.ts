import type { Context } from "./context.ts";
import { runDemo } from "./demo.ts";

/** `demo`: the main job on the simulated node. */
export async function demo(
  { host, mainUrl }: Context,
  { output }: { readonly output: "text" | "json" },
): Promise<number> {
  const self = host.selfCommand(mainUrl);
  const stop = new AbortController();
  using _signals = host.onSignal(["SIGTERM", "SIGINT"], () => stop.abort());
  return await runDemo({
    output,
    agentCommand: self,
    selfCommand: self,
    isTerminal: host.stdoutIsTerminal,
    write: (text) => host.out(text),
    signal: stop.signal,
  });
}
