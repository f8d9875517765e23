import { AgentError } from "../model/mod.ts";
import { demandApi } from "./api_client.ts";
import { type Context, EXIT, type Flags, loadConfigToAsk } from "./context.ts";

const LEVELS: readonly string[] = ["debug", "info", "warning", "error"];

/**
 * `log-level get` and `log-level set LEVEL`: what the running agent writes, until its next reload
 * or restart.
 *
 * @throws {AgentError} `usage` for other words; as `demandApi` does.
 */
export async function logLevel(
  context: Context,
  flags: Flags,
  action: string,
  level: string | undefined,
): Promise<number> {
  if (action !== "get" && action !== "set") {
    throw new AgentError("usage", "log-level: say get, or set and a level");
  }
  if (action === "set" && !LEVELS.includes(level ?? "")) {
    throw new AgentError("usage", `log-level set: the level is one of ${LEVELS.join(", ")}`);
  }
  const config = await loadConfigToAsk(context, flags);
  const answer = await demandApi<{ readonly level: string }>(config, {
    method: action === "get" ? "GET" : "PUT",
    path: "/v1/log-level",
    ...(action === "set" && { body: { level } }),
  });
  context.host.out(`${answer.level}\n`);
  return EXIT.ok;
}
