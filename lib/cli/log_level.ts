import { AgentError } from "../model/mod.ts";
import { requireApi } from "./api_client.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { type Flags, loadClientConfig } from "../config/mod.ts";

/**
 * `log-level get` and `log-level set LEVEL`: what the running agent writes, until its next reload
 * or restart.
 *
 * @throws {AgentError} `usage` without a level to set; as `requireApi` does.
 */
export async function logLevel(
  context: Context,
  flags: Flags,
  action: string,
  level: string | undefined,
): Promise<number> {
  if (action === "set" && level === undefined) {
    throw new AgentError("usage", "log-level set: the level is missing");
  }
  const config = await loadClientConfig(context, flags);
  const answer = await requireApi<{ readonly level: string }>(config, {
    method: action === "get" ? "GET" : "PUT",
    path: "/v1/log-level",
    ...(action === "set" && { body: { level } }),
  });
  context.host.out(`${answer.level}\n`);
  return EXIT.ok;
}
