import { join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { type ImageReference, messageOf } from "../model/mod.ts";
import { knowsRegistry, parseDockerConfig, type RunningKubelet } from "../resolve/mod.ts";
import { dockerConfigPath } from "./chain.ts";
import type { Context } from "./context.ts";

/**
 * Docker configurations of the node that the kubelet reads for an image's registry and the agent
 * does not, a sentence each. The kubelet looks into its root folder, and below `/`.
 */
export async function dockerDifferences(
  context: Context,
  config: AgentConfig,
  kubelet: RunningKubelet | undefined,
  { registry }: ImageReference,
): Promise<readonly string[]> {
  if (kubelet === undefined) return [];
  const ours = config.providers.docker.enabled ? dockerConfigPath(context, config) : undefined;
  const paths = [join(kubelet.rootDir, "config.json"), "/.docker/config.json"];
  const found: string[] = [];
  for (const path of paths) {
    if (path === ours) continue;
    try {
      const text = await context.files.readText(path);
      if (text === undefined || !knowsRegistry(parseDockerConfig(text), registry)) continue;
      const agent = ours === undefined ? "reads no such file" : `reads ${ours}`;
      found.push(
        `the kubelet reads ${path} too, which has an entry for ${registry}; the agent ${agent}`,
      );
    } catch (error) {
      found.push(`the kubelet reads ${path} too, and the agent cannot: ${messageOf(error)}`);
    }
  }
  return found;
}
