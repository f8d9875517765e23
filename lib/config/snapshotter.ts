import { DAEMON_MODES, FS_DRIVERS } from "./keys.ts";
import { describeType, type KeyType, tomlLiteral, type ValueOf } from "./key.ts";
import { isTable, type TomlTable } from "./toml.ts";
import type { Findings, Setting } from "./settings.ts";
import { describeFound, readValue } from "./values.ts";

const BOOLEAN = { kind: "boolean" } as const;
const PATH = { kind: "path" } as const;

/**
 * The keys that are read from the snapshotter's file. Names, defaults and meanings are those of
 * https://github.com/containerd/nydus-snapshotter/blob/a7a1f071/config/config.go
 */
const SNAPSHOTTER_KEYS = {
  "root": PATH,
  "daemon_mode": { kind: "choice", choices: DAEMON_MODES },
  "daemon.fs_driver": { kind: "choice", choices: FS_DRIVERS },
  "daemon.nydusd_config": PATH,
  "system.enable": BOOLEAN,
  "system.address": PATH,
  "remote.convert_vpc_registry": BOOLEAN,
  "remote.auth.enable_kubeconfig_keychain": BOOLEAN,
  "remote.auth.kubeconfig_path": PATH,
  "remote.auth.enable_cri_keychain": BOOLEAN,
  "remote.auth.image_service_address": PATH,
  "remote.auth.enable_kubelet_credential_providers": BOOLEAN,
  "remote.auth.credential_provider_config": PATH,
  "remote.auth.credential_provider_bin_dir": PATH,
  "remote.auth.credential_renewal_interval": {
    kind: "duration",
    minMs: -Infinity,
    maxMs: Infinity,
    nanoseconds: true,
  },
  "remote.mirrors_config.dir": PATH,
  "experimental.enable_backend_source": BOOLEAN,
} as const satisfies Record<string, KeyType>;

/** Paths of the keys that are read from the snapshotter's configuration file. */
export const SNAPSHOTTER_KEY_PATHS: readonly string[] = Object.keys(SNAPSHOTTER_KEYS);

/** Settings in the snapshotter's configuration file. */
export type SnapshotterSettings = {
  readonly [Path in keyof typeof SNAPSHOTTER_KEYS]?: Setting<
    ValueOf<(typeof SNAPSHOTTER_KEYS)[Path]>
  >;
};

/**
 * Reads the known keys and ignores all others. Like in the snapshotter, an empty text counts as not
 * set.
 */
export function readSnapshotterTables(
  file: string,
  tables: TomlTable,
  { problems }: Findings,
): SnapshotterSettings {
  const wrongTables = new Set<string>();
  const lookup = (path: string): unknown => {
    const names = path.split(".");
    let found: unknown = tables;
    for (const [depth, name] of names.entries()) {
      if (!isTable(found)) {
        const place = names.slice(0, depth).join(".");
        if (!wrongTables.has(place)) {
          wrongTables.add(place);
          const problem = `found ${describeFound(found)}, expected a table`;
          problems.push({ file, place, problem, remedy: `write [${place}]` });
        }
        return undefined;
      }
      found = Object.hasOwn(found, name) ? found[name] : undefined;
      if (found === undefined) return undefined;
    }
    return found;
  };
  const entries = Object.entries(SNAPSHOTTER_KEYS).flatMap(([path, type]) => {
    const raw = lookup(path);
    if (raw === undefined || raw === "") return [];
    const origin = { file, place: path };
    const result = readValue(type, raw);
    if (result.kind === "value") return [[path, { value: result.value, origin }] as const];
    const remedy = result.instead === undefined
      ? `the snapshotter expects ${describeType(type)}`
      : `for example ${tomlLiteral(result.instead)}`;
    problems.push({ ...origin, problem: result.problem, remedy });
    return [];
  });
  return Object.fromEntries(entries) as SnapshotterSettings;
}
