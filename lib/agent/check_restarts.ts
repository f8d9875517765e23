import { basename, join } from "@std/path";
import {
  type Daemon,
  encodeRegistryAuth,
  formatDuration,
  joinNames,
  type NodeView,
  type RafsInstance,
} from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { credentialsOf, type DockerConfig, findAuth } from "../providers/mod.ts";
import { type CheckFindings, finding } from "./check_node.ts";
import { findProcesses, flagOf, type FoundProcess } from "./processes.ts";

/** A program that reads a configuration only when it starts. */
interface Reader {
  /** Flags with the path of the configuration. */
  readonly flags: readonly string[];
  readonly defaultPath?: string;
  readonly restart: string;
}

const READERS: Readonly<Record<string, Reader>> = {
  "kubelet": {
    flags: ["--image-credential-provider-config"],
    restart: "systemctl restart kubelet",
  },
  "containerd": {
    flags: ["--config", "-c"],
    defaultPath: "/etc/containerd/config.toml",
    restart: "systemctl restart containerd",
  },
  "containerd-nydus-grpc": {
    flags: ["--config"],
    restart: "systemctl restart nydus-snapshotter",
  },
};
/** The program as the first argument, which a zero byte ends. */
const COMMAND_LINE = `^[^ ]*(${Object.keys(READERS).join("|")})($|[^a-z-])`;
/** Start times have a resolution of seconds. */
const TOLERANCE_MS = 2_000;

/**
 * Reports programs that started before their configuration of registries or credential providers
 * changed. containerd reads `hosts.toml` at each pull, and docker's tools their file at each call.
 */
export async function checkRestarts(
  { files, processRunner }: Pick<Context, "files" | "processRunner">,
  { warnings, passed }: CheckFindings,
): Promise<void> {
  const current: string[] = [];
  for (const process of await findProcesses(processRunner, COMMAND_LINE) ?? []) {
    const { pid, argv: [program = ""], startedAtMs } = process;
    const name = basename(program);
    const reader = READERS[name];
    const path = reader && configOf(process, reader);
    if (reader === undefined || path === undefined || startedAtMs === undefined) continue;
    const names = (await files.list(path).catch(() => [])).map((name) => join(path, name));
    const times = await Promise.all(
      [path, ...names].map(async (file) =>
        (await files.stat(file).catch(() => undefined))?.mtimeMs ?? 0
      ),
    );
    const changedAtMs = Math.max(...times);
    if (changedAtMs === 0) continue; // it is not visible here, as in a container
    if (changedAtMs <= startedAtMs + TOLERANCE_MS) {
      current.push(name);
      continue;
    }
    const duration = formatDuration(changedAtMs - startedAtMs);
    const problem = `${name} (process ${pid}) started ${duration} before its last change`;
    warnings.push(finding(path, problem, reader.restart));
  }
  if (current.length > 0) {
    passed.push(`restarts: not needed for ${current.join(", ")}; hosts.toml is read at each pull`);
  }
}

function configOf(process: FoundProcess, { flags, defaultPath }: Reader): string | undefined {
  return flags.map((flag) => flagOf(process, flag)).find((path) => path?.startsWith("/")) ??
    defaultPath;
}

/**
 * Reports mounts whose credential is not that of a docker configuration, for a node where no agent
 * runs that would deliver it. A running agent reports outdated mounts itself.
 */
export function checkMountedCredentials(
  { file, config }: { readonly file: string; readonly config: DockerConfig },
  { daemons }: NodeView,
  { warnings }: CheckFindings,
): void {
  const isOutdated = ({ image, mountId = "" }: RafsInstance, auths: Daemon["currentAuth"]) => {
    const found = image && findAuth(config, image.registry);
    const [credential] = found === undefined ? [] : credentialsOf(found.auth);
    const current = auths?.get(mountId);
    return credential?.kind === "basic" && current !== undefined &&
      !encodeRegistryAuth(credential).equals(current);
  };
  const images = daemons.flatMap(({ instances, currentAuth }) =>
    instances.flatMap((one) => isOutdated(one, currentAuth) ? [one.image?.text ?? ""] : [])
  );
  if (images.length === 0) return;
  const problem = `mounts have another credential than it: ${joinNames(images)}`;
  warnings.push(finding(file, problem, "start the agent, which delivers the newest"));
}
