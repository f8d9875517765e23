import { firstOfEach, lockedPackages, type LockFile } from "./sbom.ts";

/** Licences that dependencies may have. */
export const ALLOWED_LICENCES: readonly string[] = [
  "Apache-2.0",
  "BSD-3-Clause",
  "BlueOak-1.0.0",
  "ISC",
  "MIT",
];

/** Package scripts that npm runs on installation. */
const INSTALL_SCRIPTS = ["preinstall", "install", "postinstall"];

/** The required fields of a package's `package.json`. */
export interface Manifest {
  readonly license?: unknown;
  readonly scripts?: Readonly<Record<string, unknown>>;
  /** Whether npm runs a native build on installation, like an install script. */
  readonly hasNativeBuild: boolean;
}

/** A locked package. */
export interface Dependency {
  readonly name: string;
  readonly version: string;
  /** Whether `deno.json` lists it; otherwise it is transitive. */
  readonly isDirect: boolean;
  /** Whether its code is in the binary. */
  readonly isShipped: boolean;
  /** Undefined when the manifest is unavailable or has no licence. */
  readonly licence: string | undefined;
  /** Scripts that would run on installation. */
  readonly installScripts: readonly string[];
  /** Whether the lock contains its digest. */
  readonly isPinned: boolean;
}

/** Returns every package of a lock, one entry per version. */
export function dependenciesOf(
  lock: LockFile,
  shipped: ReadonlySet<string>,
  manifestOf: (name: string, version: string) => Manifest | undefined,
): readonly Dependency[] {
  const direct = new Set(
    (lock.workspace?.dependencies ?? []).map((specifier) =>
      specifier.replace(/^npm:\/?/, "").replace(/(?<=.)@.*$/, "")
    ),
  );
  return firstOfEach(lockedPackages(lock)).map(({ name, version, locked }) => {
    const manifest = manifestOf(name, version);
    const named = INSTALL_SCRIPTS.filter((script) => manifest?.scripts?.[script] !== undefined);
    return {
      name,
      version,
      isDirect: direct.has(name),
      isShipped: shipped.has(`${name}@${version}`),
      licence: typeof manifest?.license === "string" ? manifest.license : undefined,
      installScripts: [
        ...named,
        ...(manifest?.hasNativeBuild === true ? ["binding.gyp"] : []),
        ...(locked.scripts === true ? ["scripts in deno.lock"] : []),
      ],
      isPinned: /^sha512-[A-Za-z0-9+/]{86}==$/.test(locked.integrity ?? ""),
    };
  });
}

/**
 * Returns the violations of the dependency rules. The README must list each direct dependency in a
 * table row with licence and reason, and each transitive dependency with its licence.
 */
export function violationsOf(dependencies: readonly Dependency[], readme: string): string[] {
  const violations: string[] = [];
  for (const { name, version, licence, isDirect, installScripts, isPinned } of dependencies) {
    const which = `${name}@${version}`;
    if (!isPinned) violations.push(`${which}: no SHA-512 in deno.lock`);
    for (const script of installScripts) violations.push(`${which}: install script: ${script}`);
    if (licence === undefined) violations.push(`${which}: no licence found`);
    else if (!ALLOWED_LICENCES.includes(licence)) {
      violations.push(`${which}: licence ${licence} is not allowed`);
    } else if (!(isDirect ? hasRow(readme, name, licence) : isNamed(readme, name, licence))) {
      violations.push(`${which}: missing in the README with licence ${licence}`);
    }
  }
  return violations;
}

/** Whether a table row `| import | package | licence | reason |` exists with a reason. */
function hasRow(readme: string, name: string, licence: string): boolean {
  return readme.split("\n").some((line) => {
    const [, , from = "", licences = "", why = ""] = line.split("|").map((cell) => cell.trim());
    return from.split(/[\s,`]+|\bwith\b/).includes(name) && licences === licence && why.length >= 8;
  });
}

function isNamed(readme: string, name: string, licence: string): boolean {
  return readme.replaceAll(/\s+/g, " ").includes(`\`${name}\` (${licence})`);
}

/** Whether deno.json freezes the lock file. */
export function isFrozen(denoJson: { readonly lock?: unknown }): boolean {
  const lock = denoJson.lock;
  return typeof lock === "object" && lock !== null && "frozen" in lock && lock.frozen === true;
}
