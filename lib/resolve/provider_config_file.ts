import type { ProviderConfigReading } from "./provider_config.ts";

export type { PluginDefinition, ProviderConfigReading } from "./provider_config.ts";

/** The same as `readProviderConfig`, whose YAML reader is loaded only where one is wanted. */
export async function openProviderConfig(
  text: string,
  file: string,
): Promise<ProviderConfigReading> {
  const { readProviderConfig } = await import("./provider_config.ts");
  return readProviderConfig(text, file);
}
