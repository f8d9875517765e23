import { join } from "@std/path";
import { parse } from "@std/toml";
import {
  type CredentialHost,
  credentialHosts,
  DOCKER_HUB_HOSTS,
  type FileSystem,
  hostOf,
  ImagePattern,
  type ImageReference,
  isDockerHub,
  readBackendOfFile,
  tryParseImageTarget,
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

const MAX_FILE_BYTES = 256 * 1024;
/** Hosts per hosts.toml. */
const MAX_HOSTS = 64;

/**
 * Decides which hosts may receive the credential of an image besides its own registry: those that
 * the configuration of the agent or of the snapshotter names for it. Each file is read once per
 * discovery; while it cannot be parsed, its previous hosts stay approved.
 */
export class ApprovedHosts {
  readonly #options: ApprovedHostsOptions;
  readonly #patterns: readonly ImagePattern[];
  /** The hosts in each file, in this discovery and in the previous one. */
  #hosts = new Map<string, Promise<readonly string[]>>();
  #previous: ReadonlyMap<string, Promise<readonly string[]>> = new Map();

  constructor(options: ApprovedHostsOptions) {
    this.#options = options;
    this.#patterns = options.allowedHosts.map((text) => ImagePattern.parse(text));
  }

  /** Starts a new discovery: reads the files again. */
  refresh(): void {
    this.#previous = this.#hosts;
    this.#hosts = new Map();
  }

  /** Returns the file, key or rule that approves a host for an image; undefined if none does. */
  async approvalOf(
    image: ImageReference,
    { role, host }: CredentialHost,
  ): Promise<string | undefined> {
    const target = tryParseImageTarget(host);
    const pattern = target && this.#patterns.find((pattern) => pattern.matches(target));
    if (pattern !== undefined) return `delivery.allowed_hosts (${pattern.text})`;
    if (role !== "proxy") {
      if (this.#vpcHosts(image).includes(host)) return "the snapshotter's convert_vpc_registry";
      const mirror = (await this.mirrorsFor(image)).find((one) => one.host === host);
      if (mirror !== undefined) return mirror.path;
    }
    const { templatePath } = this.#options;
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
    const own = isDockerHub(image.registry) ? DOCKER_HUB_HOSTS : [image.registry];
    const names = [...own, ...this.#vpcHosts(image)];
    const paths = new Set(names.flatMap((name) => mirrorFiles(mirrorsDir, name)));
    const found = await Promise.all(
      [...paths].map(async (path) =>
        (await this.#hostsIn(path, mirrorsOf)).map((host) => ({ host, path }))
      ),
    );
    return found.flat();
  }

  /** `registry-vpc.…` for `registry.…` (nydus-snapshotter `ConvertToVPCHost`). */
  #vpcHosts({ registry }: ImageReference): readonly string[] {
    const [first = "", ...rest] = registry.split(".");
    if (!this.#options.vpcRegistry || first.endsWith("-vpc")) return [];
    return [[`${first}-vpc`, ...rest].join(".")];
  }

  #hostsIn(path: string, parse: (text: string) => readonly string[]): Promise<readonly string[]> {
    const previous = this.#previous.get(path);
    const hosts = this.#hosts.get(path) ??
      this.#options.files.readText(path, { maxBytes: MAX_FILE_BYTES })
        .then((text) => text === undefined ? [] : parse(text))
        .catch(() => previous ?? []); // unreadable, or half-written
    this.#hosts.set(path, hosts);
    return hosts;
  }
}

/** Returns `role host` of the mirrors and the proxy in a template; they serve every image. */
function templateHosts(text: string): readonly string[] {
  const backend = readBackendOfFile(JSON.parse(text));
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
 *
 * @throws {Error} For an invalid text.
 */
export function mirrorsOf(text: string): readonly string[] {
  const { host: hosts = {} } = parse(text.replace(/^\uFEFF/, ""));
  if (typeof hosts !== "object" || hosts === null || Array.isArray(hosts)) {
    throw new TypeError("host is not a table");
  }
  return Object.keys(hosts).slice(0, MAX_HOSTS).flatMap((url) => hostOf(url) ?? []);
}
