import { join } from "@std/path";
import type {
  Clock,
  FileSystem,
  Observer,
  ProcessRequest,
  ProcessResult,
  ProcessRunner,
} from "../../lib/model/mod.ts";
import { systemClock, systemRandom } from "../../lib/platform/mod.ts";
import { KubeletProvider } from "../../lib/providers/mod.ts";

/** Behavior of the plugin of a benchmark. */
export interface PluginBehavior {
  cacheKeyType: "Image" | "Registry" | "Global";
  cacheDuration: string;
  /** Duration of one execution. */
  durationMs: number;
  isFailing: boolean;
  /** Whether each image gets its own password, like responses that cannot be shared. */
  isPerImage: boolean;
}

/** Counts executions and runs no child process. */
export class CountedPlugin implements ProcessRunner {
  executions = 0;
  /** Start time of each execution. */
  readonly startedMs: number[] = [];
  /** Maximum number of concurrent executions. */
  maxConcurrent = 0;
  password = "first";
  readonly behavior: PluginBehavior = {
    cacheKeyType: "Registry",
    cacheDuration: "1h",
    durationMs: 0,
    isFailing: false,
    isPerImage: false,
  };
  #running = 0;

  async run({ stdin }: ProcessRequest): Promise<ProcessResult> {
    this.executions++;
    this.startedMs.push(performance.now());
    this.maxConcurrent = Math.max(this.maxConcurrent, ++this.#running);
    const { durationMs, isFailing, isPerImage, cacheKeyType, cacheDuration } = this.behavior;
    await new Promise<void>((resolve) =>
      durationMs > 0 ? setTimeout(resolve, durationMs) : setImmediate(resolve)
    );
    this.#running--;
    if (isFailing) return { kind: "exited", code: 1, stdout: "", stderr: "no" };
    const password = isPerImage ? String(JSON.parse(stdin).image) : this.password;
    const auth = { "*.example.com": { username: "token", password } };
    const stdout = JSON.stringify({
      kind: "CredentialProviderResponse",
      apiVersion: "credentialprovider.kubelet.k8s.io/v1",
      cacheKeyType,
      cacheDuration,
      auth,
    });
    return { kind: "exited", code: 0, stdout, stderr: "" };
  }
}

const CONFIG_PATH = join("/", "bench", "providers.json");

/** Returns a kubelet provider with one plugin for `*.example.com`, executed by `plugin`. */
export function kubeletWith(
  plugin: CountedPlugin,
  { observer, maxParallel = 8, clock = systemClock }: {
    readonly observer: Observer;
    readonly maxParallel?: number;
    readonly clock?: Clock;
  },
): KubeletProvider {
  return new KubeletProvider({
    configPath: CONFIG_PATH,
    binDir: "/bench/bin",
    timeoutMs: 60_000,
    maxParallel,
    files: configOnly(),
    processRunner: plugin,
    clock,
    random: systemRandom,
    observer,
    signal: new AbortController().signal,
    accounts: () => {
      throw new Error("no plugin has tokenAttributes");
    },
  });
}

function configOnly(): FileSystem {
  const text = JSON.stringify({
    apiVersion: "kubelet.config.k8s.io/v1",
    kind: "CredentialProviderConfig",
    providers: [{
      name: "bench-plugin",
      apiVersion: "credentialprovider.kubelet.k8s.io/v1",
      matchImages: ["*.example.com"],
      defaultCacheDuration: "1h",
    }],
  });
  const stat = {
    kind: "file",
    stamp: "1",
    size: text.length,
    mode: 0o600,
    uid: 0,
    gid: 0,
  } as const;
  return {
    readText: (path) => Promise.resolve(path === CONFIG_PATH ? text : undefined),
    stat: (path) => Promise.resolve(path === CONFIG_PATH ? stat : undefined),
    list: () => Promise.resolve([]),
    writeAtomic: () => Promise.resolve(),
    watch: () => ({ [Symbol.dispose]() {} }),
  };
}
