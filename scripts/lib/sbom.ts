/** The required fields of `deno.lock` (version 5). */
export interface LockFile {
  readonly version: string;
  readonly npm?: Readonly<Record<string, LockedPackage>>;
  readonly workspace?: { readonly dependencies?: readonly string[] };
}

interface LockedPackage {
  readonly integrity?: string;
  readonly dependencies?: readonly string[];
  readonly optionalDependencies?: readonly string[];
  /** Whether it has install scripts. */
  readonly scripts?: boolean;
}

/** A package of the lock, with its parsed key. */
export interface LockedEntry {
  readonly key: string;
  readonly locked: LockedPackage;
  readonly name: string;
  readonly version: string;
}

/** The subject of the bill of materials. */
export interface SbomSubject {
  readonly name: string;
  readonly version: string;
  readonly commit: string;
  readonly licence: string;
  readonly denoVersion: string;
  readonly target: string;
  /** SHA-256 of the binary, in hex. */
  readonly sha256: string;
  /** SHA-256 of the `denort` in it, or of Deno's archive with it, in hex. */
  readonly denortSha256?: string;
  /** ISO 8601; the commit's time, so that equal commits produce equal documents. */
  readonly timestamp?: string;
}

/** Information about packages that the lock file does not contain. */
export interface PackageFacts {
  /** Packages (`name@version`) whose code is in the bundle; the others are marked as excluded. */
  readonly shipped: ReadonlySet<string>;
  /** SPDX expression or name of the licence, if the package declares it. */
  licenceOf(name: string, version: string): string | undefined;
}

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** Returns a CycloneDX 1.6 document for `JSON.stringify`. Equal input produces equal output. */
export function sbomFromLock(lock: LockFile, subject: SbomSubject, facts: PackageFacts): Json {
  const packages = lockedPackages(lock);
  const refs = new Map(packages.map((entry) => [entry.key, npmPurl(entry.name, entry.version)]));
  const main = `pkg:generic/${subject.name}@${subject.version}`;
  const runtime = `pkg:github/denoland/deno@v${subject.denoVersion}`;
  const shipped = packages.filter((entry) => facts.shipped.has(`${entry.name}@${entry.version}`));
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      ...(subject.timestamp === undefined ? {} : { timestamp: subject.timestamp }),
      component: {
        type: "application",
        "bom-ref": main,
        name: subject.name,
        version: subject.version,
        hashes: [{ alg: "SHA-256", content: subject.sha256 }],
        licenses: [{ license: { id: subject.licence } }],
        purl: main,
        properties: [
          { name: "nydus-auth-agent:commit", value: subject.commit },
          { name: "nydus-auth-agent:target", value: subject.target },
        ],
      },
    },
    components: [
      {
        type: "platform",
        "bom-ref": runtime,
        name: "deno",
        version: subject.denoVersion,
        description: "the runtime inside the binary, with the V8 engine",
        ...(subject.denortSha256 !== undefined && {
          hashes: [{ alg: "SHA-256", content: subject.denortSha256 }],
        }),
        licenses: [{ license: { id: "MIT" } }],
        purl: runtime,
      },
      ...firstOfEach(packages).map((entry) => npmComponent(entry, facts)),
    ],
    dependencies: [
      { ref: main, dependsOn: [runtime, ...unique(shipped.map(({ key }) => refs.get(key)))] },
      ...firstOfEach(packages).map(({ key, locked }) => ({
        ref: refs.get(key) ?? key,
        dependsOn: unique(dependencyKeys(locked, refs).map((dependency) => refs.get(dependency))),
      })),
    ],
  };
}

/** Returns the packages of a lock, sorted by key. */
export function lockedPackages(lock: LockFile): readonly LockedEntry[] {
  return Object.entries(lock.npm ?? {})
    .map(([key, locked]) => ({ key, locked, ...splitKey(key) }))
    .sort((a, b) => a.key < b.key ? -1 : 1);
}

function npmComponent(
  { locked, name, version }: {
    readonly locked: LockedPackage;
    readonly name: string;
    readonly version: string;
  },
  facts: PackageFacts,
): Json {
  const purl = npmPurl(name, version);
  const hash = integrityHash(locked.integrity);
  const licence = facts.licenceOf(name, version);
  return {
    type: "library",
    "bom-ref": purl,
    name,
    version,
    scope: facts.shipped.has(`${name}@${version}`) ? "required" : "excluded",
    ...(hash === undefined ? {} : { hashes: [hash] }),
    ...(licence === undefined ? {} : { licenses: [licenceChoice(licence)] }),
    purl,
  };
}

/** Removes duplicates: a version may be locked several times with different peers. */
export function firstOfEach<T extends { readonly name: string; readonly version: string }>(
  packages: readonly T[],
): T[] {
  const byPurl = new Map<string, T>();
  for (const entry of packages) {
    const purl = npmPurl(entry.name, entry.version);
    if (!byPurl.has(purl)) byPurl.set(purl, entry);
  }
  return [...byPurl.values()];
}

// A single identifier, or an expression such as `(MIT OR Apache-2.0)`.
function licenceChoice(licence: string): Json {
  return / (?:OR|AND|WITH) /.test(licence) ? { expression: licence } : { license: { id: licence } };
}

// Lock keys are `name@version`, with peers appended as `_peer@version`.
function splitKey(key: string): { readonly name: string; readonly version: string } {
  const at = key.indexOf("@", 1);
  if (at < 0) throw new TypeError(`failed to read deno.lock: "${key}" has no version`);
  return { name: key.slice(0, at), version: key.slice(at + 1).split("_")[0] ?? "" };
}

// The lock omits the version of a dependency when only one version is locked.
function dependencyKeys(locked: LockedPackage, refs: ReadonlyMap<string, string>): string[] {
  const wanted = [...locked.dependencies ?? [], ...locked.optionalDependencies ?? []];
  return wanted.flatMap((dependency) => {
    if (refs.has(dependency)) return [dependency];
    return [...refs.keys()].filter((key) => key.startsWith(`${dependency}@`));
  });
}

/** Returns the package URL of an npm package; the purl specification escapes the scope's `@`. */
export function npmPurl(name: string, version: string): string {
  return `pkg:npm/${name.replace(/^@/, "%40")}@${version}`;
}

// Converts `sha512-<base64>` to the CycloneDX algorithm name and hex.
function integrityHash(
  integrity: string | undefined,
): { alg: string; content: string } | undefined {
  const parts = /^sha(1|256|384|512)-([A-Za-z0-9+/=]+)$/.exec(integrity ?? "");
  if (parts === null) return undefined;
  const bytes = Uint8Array.from(atob(parts[2] ?? ""), (char) => char.charCodeAt(0));
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return { alg: `SHA-${parts[1]}`, content: hex };
}

function unique(values: readonly (string | undefined)[]): string[] {
  return [...new Set(values.filter((value) => value !== undefined))].sort();
}
