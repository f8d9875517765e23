import { join } from "@std/path";
import type { Dependency } from "./supply_chain.ts";
import { BuildError, runTool } from "./toolchain.ts";

/** Result of `npm audit`. */
export type Audit =
  | { readonly kind: "clean"; readonly packages: number }
  | { readonly kind: "vulnerable"; readonly findings: readonly string[] }
  /** The audit did not run, so the check must not pass. */
  | { readonly kind: "unavailable"; readonly reason: string };

/**
 * Returns a `package-lock.json` with every locked package as a direct dependency under an alias, so
 * that it can contain several versions of one package.
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

/** Runs `npm audit` on the packages. It sends only their names and versions. */
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

/** Parses the output of `npm audit --json`; an incomplete report is `unavailable`. */
export function readAudit(
  stdout: string,
  dependencies: readonly Pick<Dependency, "name" | "version">[],
): Audit {
  const report = parsed(stdout);
  if (report?.auditReportVersion !== 2 || report.vulnerabilities === undefined) {
    const message = report?.message ?? report?.error?.summary ?? "no report";
    // The registry's address must not appear in a log.
    const reason = message.replaceAll(/\bhttps?:\/\/\S+/g, "the registry");
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
