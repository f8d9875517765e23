import { join } from "@std/path";
import { parse } from "@std/toml";
import {
  type CredentialHost,
  credentialHosts,
  type FileSystem,
  hostOf,
  ImagePattern,
  type ImageReference,
  type ImageTarget,
  isDockerHub,
  parseImageTarget,
  readBackendOfFile,
} from "../model/mod.ts";

/** Configuration that approves hosts. */
export interface ApprovedHostsOptions {
  readonly files: FileSystem;
  /** The snapshotter's `[remote.mirrors_config] dir`. */
  readonly mirrorsDir?: string;
  /** The snapshotter's template of a daemon's configuration: its mirrors and its proxy. */
  readonly templatePath?: string;
  /** The snapshotter's `convert_vpc_registry`. */
  readonly vpcRegistry: boolean;
  /** Valid host patterns. */
  readonly allowedHosts: readonly string[];
}

/** The hosts of a file, and the stamp of the version that was parsed. */
interface ParsedFile {
  readonly stamp: string;
  readonly hosts: readonly string[];
}

const MAX_FILE_BYTES = 256 * 1024;
/** Parsed files that are kept; each registry has up to three. */
const MAX_FILES = 3_000;
/** Hosts per hosts.toml. */
const MAX_HOSTS = 64;
const HUB_NAMES = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/**
 * Decides which hosts may receive the credential of an image besides its own registry: those that
 * the configuration of the agent or of the snapshotter names for it. A file is parsed again when it
 * changes; while it cannot be parsed, its previous hosts stay approved.
 */
export class ApprovedHosts {
  readonly #options: ApprovedHostsOptions;
  readonly #patterns: readonly ImagePattern[];
  readonly #parsed = new Map<string, ParsedFile>();
  /** Checks each file once per discovery. */
  #current = new Map<string, Promise<readonly string[]>>();

  constructor(options: ApprovedHostsOptions) {
    this.#options = options;
    this.#patterns = options.allowedHosts.map((text) => ImagePattern.parse(text));
  }

  /** Takes over the parsed files after a reload, for files that cannot be parsed now. */
  inherit(before: ApprovedHosts): void {
    for (const [path, file] of before.#parsed) this.#parsed.set(path, { ...file, stamp: "" });
  }

  /** Starts a new discovery: checks files for changes again. */
  refresh(): void {
    this.#current = new Map();
  }

  /** Returns the file, key or rule that approves a host for an image; undefined if none does. */
  async approvalOf(
    image: ImageReference,
    { role, host }: CredentialHost,
  ): Promise<string | undefined> {
    const target = targetOf(host);
    const pattern = target && this.#patterns.find((pattern) => pattern.matches(target));
    if (pattern !== undefined) return `delivery.allowed_hosts (${pattern.text})`;
    const { mirrorsDir, templatePath } = this.#options;
    if (role !== "proxy") {
      if (this.#vpcHosts(image).includes(host)) return "the snapshotter's convert_vpc_registry";
      for (const path of mirrorsDir === undefined ? [] : this.#mirrorFiles(mirrorsDir, image)) {
        if ((await this.#hostsIn(path, mirrorsOf)).includes(host)) return path;
      }
    }
    if (templatePath === undefined) return undefined;
    const inTemplate = await this.#hostsIn(templatePath, templateHosts);
    return inTemplate.includes(`${role} ${host}`) ? templatePath : undefined;
  }

  /** Returns the mirrors of an image's registry in the mirrors folder, with their files. */
  async mirrorsFor(
    image: ImageReference,
  ): Promise<readonly { readonly host: string; readonly path: string }[]> {
    const { mirrorsDir } = this.#options;
    if (mirrorsDir === undefined) return [];
    const found = await Promise.all(
      this.#mirrorFiles(mirrorsDir, image).map(async (path) =>
        (await this.#hostsIn(path, mirrorsOf)).map((host) => ({ host, path }))
      ),
    );
    return found.flat();
  }

  #mirrorFiles(folder: string, image: ImageReference): readonly string[] {
    const { registry } = image;
    const names = isDockerHub(registry) ? HUB_NAMES : [registry];
    const all = [...names, ...this.#vpcHosts(image)];
    return [...new Set(all.flatMap((name) => mirrorFiles(folder, name)))];
  }

  /** `registry-vpc.…` for `registry.…` (nydus-snapshotter `ConvertToVPCHost`). */
  #vpcHosts({ registry }: ImageReference): readonly string[] {
    const [first = "", ...rest] = registry.split(".");
    if (!this.#options.vpcRegistry || first.endsWith("-vpc")) return [];
    return [[`${first}-vpc`, ...rest].join(".")];
  }

  #hostsIn(
    path: string,
    parse: (text: string) => readonly string[] | undefined,
  ): Promise<readonly string[]> {
    const hosts = this.#current.get(path) ?? this.#read(path, parse);
    this.#current.set(path, hosts);
    return hosts;
  }

  async #read(
    path: string,
    parse: (text: string) => readonly string[] | undefined,
  ): Promise<readonly string[]> {
    const { files } = this.#options;
    const before = this.#parsed.get(path);
    try {
      const stat = await files.stat(path);
      if (stat === undefined) {
        this.#parsed.delete(path);
        return [];
      }
      if (before?.stamp === stat.stamp) return before.hosts;
      const text = await files.readText(path, { maxBytes: MAX_FILE_BYTES });
      const hosts = text === undefined ? [] : parse(text) ?? before?.hosts ?? [];
      if (this.#parsed.size >= MAX_FILES) this.#parsed.clear();
      this.#parsed.set(path, { stamp: stat.stamp, hosts });
      return hosts;
    } catch {
      return before?.hosts ?? [];
    }
  }
}

function targetOf(host: string): ImageTarget | undefined {
  try {
    return parseImageTarget(host);
  } catch {
    return undefined; // no pattern matches it
  }
}

/** Returns `role host` of the mirrors and the proxy in a template; they serve every image. */
function templateHosts(text: string): readonly string[] | undefined {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    return undefined;
  }
  const backend = readBackendOfFile(file);
  if (backend === undefined) return [];
  return credentialHosts({ ...backend, scheme: "http" })
    .filter(({ role }) => role !== "registry") // the snapshotter replaces it by the image's own
    .map(({ role, host }) => `${role} ${host}`);
}

/**
 * Returns the files in which the snapshotter searches the mirrors of a registry, most specific
 * first (nydus-snapshotter `config/daemonconfig/mirrors.go`, `hostPaths`).
 */
export function mirrorFiles(folder: string, registry: string): readonly string[] {
  const colon = registry.lastIndexOf(":");
  const names = [
    ...(colon > 0 ? [`${registry.slice(0, colon)}_${registry.slice(colon + 1)}_`] : []),
    registry,
    "_default",
  ];
  return names.map((name) => join(folder, name, "hosts.toml"));
}

/**
 * Returns the mirrors in a hosts.toml. Like the snapshotter, it uses only the host of a URL.
 * Undefined when the text is invalid.
 */
export function mirrorsOf(text: string): readonly string[] | undefined {
  let hosts: unknown;
  try {
    hosts = parse(text.replace(/^\uFEFF/, ""))["host"];
  } catch {
    return undefined; // possibly half-written
  }
  if (hosts === undefined) return [];
  if (typeof hosts !== "object" || hosts === null || Array.isArray(hosts)) return undefined;
  return Object.keys(hosts).slice(0, MAX_HOSTS).flatMap((url) => hostOf(url) ?? []);
}
