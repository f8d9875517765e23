import { join } from "@std/path";
import type { Dependency } from "./supply_chain.ts";
import { BuildError, runTool } from "./toolchain.ts";

/** What a look into the registry's list of known vulnerabilities gave. */
export type Audit =
  | { readonly kind: "clean"; readonly packages: number }
  | { readonly kind: "vulnerable"; readonly findings: readonly string[] }
  /** Nothing was looked up: that is no pass. */
  | { readonly kind: "unavailable"; readonly reason: string };

/**
 * A `package-lock.json` with every locked package as a dependency of its own under an alias, so that
 * several versions of one package have a place each.
 */
export function npmLock(dependencies: readonly Pick<Dependency, "name" | "version">[]): unknown {
  const aliases = dependencies.map(({ name, version }, i) =>
    [`locked-${i}`, { name, version }] as const
  );
  const wanted = Object.fromEntries(
    aliases.map(([alias, { name, version }]) => [alias, `npm:${name}@${version}`]),
  );
  const root = { name: "locked", version: "0.0.0", dependencies: wanted };
  const nodes = aliases.map(([alias, entry]) => [`node_modules/${alias}`, entry] as const);
  return {
    ...root,
    lockfileVersion: 3,
    requires: true,
    packages: { "": root, ...Object.fromEntries(nodes) },
  };
}

/** Has `npm audit` look the packages up. Only their names and versions are sent. */
export async function npmAudit(
  dependencies: readonly Pick<Dependency, "name" | "version">[],
  settings: Readonly<Record<string, string>> = {},
): Promise<Audit> {
  const folder = await Deno.makeTempDir({ prefix: "npm-audit-" });
  try {
    const lock = npmLock(dependencies) as { readonly dependencies: unknown };
    const { dependencies: wanted } = lock;
    const root = { name: "locked", version: "0.0.0", private: true, dependencies: wanted };
    await Deno.writeTextFile(join(folder, "package.json"), JSON.stringify(root));
    await Deno.writeTextFile(join(folder, "package-lock.json"), JSON.stringify(lock));
    const { stdout } = await runTool(
      "npm",
      ["audit", "--json", "--package-lock-only", "--ignore-scripts"],
      { cwd: folder, env: { npm_config_fetch_retries: "1", ...settings } },
    );
    return readAudit(stdout, dependencies);
  } catch (error) {
    if (error instanceof BuildError) return { kind: "unavailable", reason: error.message };
    throw error;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** What `npm audit --json` printed; anything that is no whole report is no pass. */
export function readAudit(
  stdout: string,
  dependencies: readonly Pick<Dependency, "name" | "version">[],
): Audit {
  const report = parsed(stdout);
  if (report?.auditReportVersion !== 2 || report.vulnerabilities === undefined) {
    const said = report?.message ?? report?.error?.summary ?? "no report";
    // The address says which registry this machine uses: nobody's business in a log.
    const reason = said.replaceAll(/\bhttps?:\/\/\S+/g, "the registry");
    return { kind: "unavailable", reason };
  }
  const names = Object.keys(report.vulnerabilities);
  if (names.length === 0) return { kind: "clean", packages: dependencies.length };
  return {
    kind: "vulnerable",
    findings: Object.values(report.vulnerabilities).flatMap(({ name, severity, via }) =>
      via.map((one) =>
        typeof one === "string"
          ? `${name}: by ${one}`
          : `${one.name}: ${severity}: ${one.title} (${one.range}), ${one.url}`
      )
    ),
  };
}

interface Report {
  readonly auditReportVersion?: number;
  readonly message?: string;
  readonly error?: { readonly summary?: string };
  readonly vulnerabilities?: Readonly<Record<string, Vulnerability>>;
}

interface Vulnerability {
  readonly name: string;
  readonly severity: string;
  readonly via: readonly (string | Readonly<Record<"name" | "title" | "range" | "url", string>>)[];
}

function parsed(text: string): Report | undefined {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
