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
import { KubeletProvider } from "../../lib/providers/exec_plugin/mod.ts";

/** How the plugin of a benchmark behaves. */
export interface PluginManner {
  cacheKeyType: "Image" | "Registry" | "Global";
  cacheDuration: string;
  /** How long one execution takes. */
  takesMs: number;
  isFailing: boolean;
  /** A password of its own for each image, as for answers that cannot be shared. */
  isPerImage: boolean;
}

/** Executions without child processes, counted. */
export class CountedPlugin implements ProcessRunner {
  executions = 0;
  /** When each execution began. */
  readonly startedMs: number[] = [];
  /** The most that ran side by side. */
  mostAtOnce = 0;
  password = "first";
  readonly manner: PluginManner = {
    cacheKeyType: "Registry",
    cacheDuration: "1h",
    takesMs: 0,
    isFailing: false,
    isPerImage: false,
  };
  #running = 0;

  async run({ stdin }: ProcessRequest): Promise<ProcessResult> {
    this.executions++;
    this.startedMs.push(performance.now());
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#running);
    const { takesMs, isFailing, isPerImage, cacheKeyType, cacheDuration } = this.manner;
    await new Promise<void>((resolve) =>
      takesMs > 0 ? setTimeout(resolve, takesMs) : setImmediate(resolve)
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

/** The kubelet provider with one plugin for `*.example.com`, run by `plugin`. */
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
