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

/** What the operator's configuration says of hosts. */
export interface ApprovedHostsOptions {
  readonly files: FileSystem;
  /** The snapshotter's `[remote.mirrors_config] dir`. */
  readonly mirrorsDir?: string;
  /** The snapshotter's template of a daemon's configuration: its mirrors and its proxy. */
  readonly templatePath?: string;
  /** The snapshotter's `convert_vpc_registry`. */
  readonly vpcRegistry: boolean;
  /** Patterns of hosts, each valid. */
  readonly allowedHosts: readonly string[];
}

interface Read {
  readonly stamp: string;
  readonly hosts: readonly string[];
}

const MAX_FILE_BYTES = 256 * 1024;
/** Files remembered at most; each registry of the node's images has up to three. */
const MAX_FILES = 3_000;
/** Hosts in one hosts.toml at most. */
const MAX_HOSTS = 64;
const HUB_NAMES = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/**
 * Who named a host: an image's credential may be shown to its own registry, and besides that to
 * hosts that the operator wrote down somewhere for it. A file is parsed again when it has changed;
 * one that cannot be read any more names what it named before.
 */
export class ApprovedHosts {
  readonly #options: ApprovedHostsOptions;
  readonly #patterns: readonly ImagePattern[];
  readonly #read = new Map<string, Read>();
  /** Answers of this look. */
  #answers = new Map<string, Promise<readonly string[]>>();

  constructor(options: ApprovedHostsOptions) {
    this.#options = options;
    this.#patterns = options.allowedHosts.map((text) => ImagePattern.parse(text));
  }

  /** Remembers what the one before a reload has read: it is asked about no other file again. */
  inherit(before: ApprovedHosts): void {
    for (const [path, read] of before.#read) this.#read.set(path, { ...read, stamp: "" });
  }

  /** Looks at the files again from now on: once a look is enough. */
  refresh(): void {
    this.#answers = new Map();
  }

  /** What names a host for an image, in words for people; undefined when nothing does. */
  async nameOf(
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

  /** The hosts that the mirrors folder names for an image's registry, with their files. */
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
    read: (text: string) => readonly string[] | undefined,
  ): Promise<readonly string[]> {
    const known = this.#answers.get(path);
    if (known !== undefined) return known;
    const answer = this.#look(path, read);
    this.#answers.set(path, answer);
    return answer;
  }

  async #look(
    path: string,
    read: (text: string) => readonly string[] | undefined,
  ): Promise<readonly string[]> {
    const { files } = this.#options;
    const before = this.#read.get(path);
    try {
      const stat = await files.stat(path);
      if (stat === undefined) {
        this.#read.delete(path);
        return [];
      }
      if (before?.stamp === stat.stamp) return before.hosts;
      const text = await files.readText(path, { maxBytes: MAX_FILE_BYTES });
      const hosts = text === undefined ? [] : read(text) ?? before?.hosts ?? [];
      if (this.#read.size >= MAX_FILES) this.#read.clear();
      this.#read.set(path, { stamp: stat.stamp, hosts });
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
    return undefined; // no pattern can name it
  }
}

/** `role host` of the mirrors and the proxy that a template names; they serve every image. */
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
    .filter(({ role }) => role !== "registry") // the snapshotter puts the image's own in its place
    .map(({ role, host }) => `${role} ${host}`);
}

/**
 * Where the snapshotter looks for a registry's mirrors below its mirrors folder, most specific
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
 * The hosts that a hosts.toml names as mirrors; of a URL only the host counts, as for the
 * snapshotter. Undefined when the text cannot be used.
 */
export function mirrorsOf(text: string): readonly string[] | undefined {
  let hosts: unknown;
  try {
    hosts = parse(text.replace(/^\uFEFF/, ""))["host"];
  } catch {
    return undefined; // half-written, perhaps
  }
  if (hosts === undefined) return [];
  if (typeof hosts !== "object" || hosts === null || Array.isArray(hosts)) return undefined;
  return Object.keys(hosts).slice(0, MAX_HOSTS).flatMap((url) => hostOf(url) ?? []);
}
