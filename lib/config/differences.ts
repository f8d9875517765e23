import type { AgentConfig } from "./agent_config.ts";
import { CONFIG_KEYS } from "./keys.ts";

/**
 * Returns the sorted key paths of the settings that differ between two configurations. A setting
 * that only the snapshotter's file has is returned as its path in {@linkcode AgentConfig}. Ignores
 * files, hash and warnings.
 */
export function configDifferences(a: AgentConfig, b: AgentConfig): string[] {
  const before = leavesOf(a);
  const after = leavesOf(b);
  const fields = [...new Set([...before.keys(), ...after.keys()])]
    .filter((field) => before.get(field) !== after.get(field));
  return [...new Set(fields.map(keyPathOf))].sort();
}

function leavesOf(
  { node, renewal, providers, delivery, server, metricsServer, api, log }: AgentConfig,
) {
  const leaves = new Map<string, unknown>();
  const visit = (value: unknown, path: string) => {
    if (typeof value !== "object" || value === null) return void leaves.set(path, value);
    for (const [name, part] of Object.entries(value)) {
      visit(part, Array.isArray(value) ? `${path}[${name}]` : `${path}.${name}`);
    }
  };
  const parts = {
    node,
    renewal,
    providers,
    delivery,
    server: server ?? "off",
    metricsServer: metricsServer ?? "off",
    api,
    log,
  };
  for (const [name, part] of Object.entries(parts)) visit(part, name);
  return leaves;
}

/** `daemons[2].ref` for `node.daemons[2].ref`, `server.address` for `server.port`. */
function keyPathOf(field: string): string {
  const indexes = field.match(/\[\d+\]/g) ?? [];
  const general = field.replaceAll(/\[\d+\]/g, "[]");
  const key = CONFIG_KEYS.find((key) =>
    key.field !== undefined && (general === key.field || general.startsWith(`${key.field}.`))
  );
  if (key === undefined) return field;
  let next = 0;
  return key.path.replaceAll("[]", () => indexes[next++] ?? "[]");
}
