import { firstOfEach, lockedPackages, type LockFile } from "./sbom.ts";

/** Licences that the program may carry: permissive ones, whose texts we know. */
export const ALLOWED_LICENCES: readonly string[] = [
  "Apache-2.0",
  "BSD-3-Clause",
  "BlueOak-1.0.0",
  "ISC",
  "MIT",
];

/** npm runs these of a package's scripts when it is installed. */
const INSTALL_SCRIPTS = ["preinstall", "install", "postinstall"];

/** What is needed of a package's own `package.json`. */
export interface Manifest {
  readonly license?: unknown;
  readonly scripts?: Readonly<Record<string, unknown>>;
  /** npm builds one without being asked: that is an install script too. */
  readonly hasNativeBuild: boolean;
}

/** One locked package. */
export interface Dependency {
  readonly name: string;
  readonly version: string;
  /** Named in `deno.json`, not brought along by another. */
  readonly isDirect: boolean;
  /** Whether its code is in the binary. */
  readonly isShipped: boolean;
  /** Undefined: its manifest cannot be had, or names none. */
  readonly licence: string | undefined;
  /** What would run when it is installed. */
  readonly installScripts: readonly string[];
  /** Whether the lock holds its digest. */
  readonly isPinned: boolean;
}

/** Every package of a lock, once for each version, by name. */
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
 * What is wrong with the dependencies, and with what the README says of them: a row with a reason
 * and the licence for each that we name, and the licence of each that is brought along.
 */
export function breachesOf(dependencies: readonly Dependency[], readme: string): string[] {
  const breaches: string[] = [];
  for (const { name, version, licence, isDirect, installScripts, isPinned } of dependencies) {
    const which = `${name}@${version}`;
    if (!isPinned) breaches.push(`${which}: deno.lock holds no SHA-512 of it`);
    for (const script of installScripts) breaches.push(`${which}: runs at its install: ${script}`);
    if (licence === undefined) breaches.push(`${which}: no licence found`);
    else if (!ALLOWED_LICENCES.includes(licence)) {
      breaches.push(`${which}: the licence ${licence} is not on the list`);
    } else if (!(isDirect ? hasRow(readme, name, licence) : isNamed(readme, name, licence))) {
      breaches.push(`${which}: the README does not tell it with its licence, ${licence}`);
    }
  }
  return breaches;
}

/** `| import | package | licence | why |`, and the reason is not empty. */
function hasRow(readme: string, name: string, licence: string): boolean {
  return readme.split("\n").some((line) => {
    const [, , from = "", licences = "", why = ""] = line.split("|").map((cell) => cell.trim());
    return from.split(/[\s,`]+|\bwith\b/).includes(name) && licences === licence && why.length >= 8;
  });
}

function isNamed(readme: string, name: string, licence: string): boolean {
  return readme.replaceAll(/\s+/g, " ").includes(`\`${name}\` (${licence})`);
}

/** A package that a lock names but deno.json does not let change: the setting that freezes it. */
export function isFrozen(denoJson: { readonly lock?: unknown }): boolean {
  const lock = denoJson.lock;
  return typeof lock === "object" && lock !== null && "frozen" in lock && lock.frozen === true;
}
