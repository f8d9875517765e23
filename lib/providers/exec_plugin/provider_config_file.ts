import { join } from "@std/path";
import type { FileSystem } from "../../model/mod.ts";
import type { ProviderConfigReading } from "./provider_config.ts";

export type { PluginDefinition, ProviderConfigReading } from "./provider_config.ts";

/** The files of a `CredentialProviderConfig`. */
export interface ProviderConfigFiles {
  /** Changes whenever one of them may have. */
  readonly stamp: string;
  readonly paths: readonly string[];
}

/**
 * The file at a path, or those of the folder there that newer kubelets merge, in the order of their
 * names; undefined when there is nothing.
 *
 * @throws {AgentError} `io`.
 */
export async function findProviderConfig(
  path: string,
  files: Pick<FileSystem, "stat" | "list">,
): Promise<ProviderConfigFiles | undefined> {
  const stat = await files.stat(path);
  if (stat?.kind !== "directory") return stat && { stamp: stat.stamp, paths: [path] };
  const names = (await files.list(path)).filter((name) => /\.(?:json|ya?ml)$/.test(name));
  const stamps = new Map<string, string>();
  for (const name of names) {
    const one = await files.stat(join(path, name));
    if (one !== undefined && one.kind !== "directory") stamps.set(join(path, name), one.stamp);
  }
  return { stamp: JSON.stringify([...stamps]), paths: [...stamps.keys()] };
}

/**
 * Reads what is at a path. The YAML reader is loaded only where one is wanted. Undefined: there is
 * nothing, or a file went away meanwhile.
 *
 * @param found What {@linkcode findProviderConfig} found there, where that is known.
 * @throws {AgentError} `io`.
 */
export async function openProviderConfig(
  path: string,
  files: Pick<FileSystem, "stat" | "list" | "readText">,
  found?: ProviderConfigFiles,
): Promise<ProviderConfigReading | undefined> {
  const { paths } = found ?? await findProviderConfig(path, files) ?? {};
  if (paths === undefined) return undefined;
  const { readProviderConfig } = await import("./provider_config.ts");
  const isFolder = paths[0] !== path;
  const readings: (readonly [string, ProviderConfigReading])[] = [];
  for (const file of paths) {
    const text = await files.readText(file);
    if (text === undefined) return undefined;
    readings.push([file, readProviderConfig(text, file, { mayBeEmpty: isFolder })]);
  }
  return isFolder ? merged(path, readings) : readings[0]?.[1];
}

/**
 * The files of a folder as one, in their order: together they need a provider, and no name comes
 * twice (Kubernetes `pkg/credentialprovider/plugin/config.go`, `readCredentialProviderConfig`).
 */
function merged(
  folder: string,
  readings: readonly (readonly [string, ProviderConfigReading])[],
): ProviderConfigReading {
  const plugins = readings.flatMap(([, { plugins }]) => plugins);
  const problems = readings.flatMap(([, { problems }]) => problems);
  const warnings = readings.flatMap(([, { warnings }]) => warnings);
  const filesByName = new Map<string, string>();
  for (const [file, { plugins }] of readings) {
    for (const { name } of plugins) {
      const other = filesByName.get(name);
      filesByName.set(name, file);
      if (other === undefined) continue;
      const problem = `the name ${JSON.stringify(name)} is used in ${other} too`;
      problems.push({ file, place: "providers", problem, remedy: "give each plugin one entry" });
    }
  }
  if (plugins.length === 0 && problems.length === 0) {
    const problem = readings.length === 0
      ? "there is no .json, .yaml or .yml file in the folder"
      : "at least one provider is required";
    problems.push({ file: folder, place: "", problem, remedy: "write a file that names a plugin" });
  }
  return { plugins, problems, warnings };
}
