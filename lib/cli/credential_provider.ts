import { loadClientConfig } from "../config/mod.ts";
import {
  EXIT,
  type ImageReference,
  messageOf,
  parseImageReference,
  PLUGIN_API_VERSION,
} from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { CALLED_BY_AGENT, MAX_STDOUT_BYTES, processProblem } from "../providers/mod.ts";
import { queryApi } from "./agent_client.ts";
import type { ServedCredential } from "./get.ts";

/** Less than the minute after which the kubelet kills a plugin. */
const TIMEOUT_MS = 55_000;
const API_TIMEOUT_MS = 20_000;

/**
 * Implements the kubelet's credential provider protocol (`credentialprovider.kubelet.k8s.io/v1`):
 * answers from the running agent, so that one execution of the cloud's plugin serves the kubelet and
 * the mounts. Executes that plugin directly in three cases: no agent answers, for whatever reason; the
 * agent itself called this program, whose entry it found in the kubelet's configuration; the request
 * is for a service account, whose credential must not come from another one.
 *
 * @param plugin The cloud's plugin and its arguments.
 */
export async function credentialProvider(
  context: Context,
  [plugin, ...args]: readonly string[],
): Promise<number> {
  const { host, processRunner } = context;
  try {
    const input = await host.readInput();
    let problem = "no agent answers";
    const answer = await answerOf(context, input).catch((error) => {
      problem = messageOf(error);
      return undefined;
    });
    if (answer !== undefined) {
      host.out(`${JSON.stringify(answer)}\n`);
      return EXIT.ok;
    }
    if (plugin === undefined) {
      host.err(`error: ${problem}, and no plugin is given\n`);
      return EXIT.failed;
    }
    const result = await processRunner.run({
      path: plugin,
      args,
      env: { [CALLED_BY_AGENT]: "1" },
      stdin: input,
      timeoutMs: TIMEOUT_MS,
      maxStdoutBytes: MAX_STDOUT_BYTES,
    });
    const failure = processProblem(result, TIMEOUT_MS);
    if (failure !== undefined) throw new Error(`failed to run ${plugin}: ${failure.detail}`);
    if (result.kind === "exited") host.out(result.stdout);
    return EXIT.ok;
  } catch (error) {
    host.err(`error: ${messageOf(error)}\n`);
    return EXIT.failed;
  }
}

/** Returns the agent's response, or undefined if the plugin must be executed. */
async function answerOf(context: Context, input: string): Promise<object | undefined> {
  if (CALLED_BY_AGENT in context.host.env) return undefined;
  const { apiVersion, image, serviceAccountToken = "" } = readRequest(input);
  if (apiVersion !== PLUGIN_API_VERSION || typeof image !== "string") return undefined;
  if (serviceAccountToken !== "") return undefined;
  const reference = parseImageReference(image);
  const config = await loadClientConfig(context, {});
  const result = await queryApi<ServedCredential>(config, {
    method: "POST",
    path: "/v1/credentials/get",
    body: { ref: reference.text },
    timeoutMs: API_TIMEOUT_MS,
  });
  if (result.kind === "answered") {
    return responseOf(reference, result.body, context.clock.wallMs());
  }
  const isNone = result.kind === "refused" && result.code === "no-credential";
  return isNone ? response("0s", null) : undefined;
}

function readRequest(input: string): Readonly<Record<string, unknown>> {
  try {
    return { ...JSON.parse(input) };
  } catch {
    throw new Error("the request on stdin, which the kubelet writes, is not JSON");
  }
}

/**
 * Returns undefined for a credential that the protocol cannot express, or that is not for every pod of
 * the node: one of a pull secret, a pull or a service account.
 */
function responseOf(
  { registry }: ImageReference,
  { provider, credential, account, refreshAt, expiresAt }: ServedCredential,
  nowMs: number,
): object | undefined {
  const isForNode = (provider === "kubelet" || provider === "docker") && account === undefined;
  if (credential.form !== "basic" || !isForNode) return undefined;
  const { username, password } = credential;
  const untilMs = Date.parse(refreshAt ?? expiresAt ?? "");
  // Without an expiry nothing is cached: the next query of the agent is cheap.
  const seconds = Math.max(0, Math.floor((untilMs - nowMs) / 1_000)) || 0;
  return response(`${seconds}s`, { [registry]: { username, password } });
}

function response(cacheDuration: string, auth: object | null): object {
  const kind = "CredentialProviderResponse";
  return { kind, apiVersion: PLUGIN_API_VERSION, cacheKeyType: "Image", cacheDuration, auth };
}
