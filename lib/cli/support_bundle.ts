import { dirname, resolve } from "@std/path";
import { addressOf, dockerConfigPath, runChecks } from "../agent/mod.ts";
import { BUILD_INFO } from "../assets/mod.ts";
import type { AgentConfig } from "../config/mod.ts";
import { type AgentError, Deadline, EXIT, messageOf } from "../model/mod.ts";
import { type NodeStatus, redact, redactText, withTextTimes } from "../observability/mod.ts";
import type { Context } from "../platform/mod.ts";
import { queryAgent } from "./agent_client.ts";
import type { CommandCall } from "./options.ts";
import { loadConfigForStatus } from "./status.ts";

const METRICS_TIMEOUT_MS = 5_000;
const JOURNAL = "/usr/bin/journalctl";

/**
 * `support-bundle`: writes a tar archive with what a maintainer needs to find a problem: version,
 * configuration, status, metrics, the end of the log, the findings of `check`, and the permissions
 * of files and sockets. No part reads a file that contains credentials, and every text is redacted.
 *
 * @throws {AgentError} `io` when the archive cannot be written.
 */
export async function supportBundle(
  { context, flags, args: [file] }: CommandCall,
): Promise<number> {
  const { host, clock, files } = context;
  const nowMs = clock.wallMs();
  const time = new Date(nowMs).toISOString().replaceAll(/[:-]|\.\d+/g, "");
  const name = `nydus-auth-agent-support-${time}`;
  const path = resolve(host.cwd, file ?? `${name}.tar`);
  const config = await loadConfigForStatus(context, flags);
  const reply = await queryAgent(config).catch((error: AgentError) => error);
  const running = reply instanceof Error ? undefined : reply;
  const parts: Readonly<Record<string, () => unknown>> = {
    "version.json": () => ({ ...BUILD_INFO, denoVersion: host.denoVersion }),
    "configuration.json": () => config,
    "status.json": () => reply instanceof Error ? { error: reply.message } : withTextTimes(reply),
    "metrics.txt": () => metricsOf(config),
    "log.txt": () => logOf(context),
    "checks.json": () => runChecks(context, config, { refs: [], probe: false, running }),
    "permissions.txt": () => permissionsOf(context, config, running),
  };
  const entries: string[] = [];
  for (const [part, collect] of Object.entries(parts)) {
    const collected = async () => textOf(await collect());
    const text = await collected()
      .catch((error) => `failed to collect this part: ${messageOf(error)}\n`);
    const redacted = text.split("\n").map(redactText).join("\n");
    entries.push(tarEntry(`${name}/${part}`, redacted, nowMs));
  }
  await files.writeAtomic(path, entries.join("") + "\0".repeat(2 * TAR_BLOCK), { mode: 0o600 });
  host.out(`${path}\nIt contains names of images, hosts and files. Read it before you share it.\n`);
  return EXIT.ok;
}

/** Returns a text, or a value as JSON without fields that have the name of a secret. */
function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  const withoutSecrets = (name: string, item: unknown) =>
    typeof item === "string" ? redact({ [name]: item })[name] : item;
  return `${JSON.stringify(value, withoutSecrets, 2)}\n`;
}

async function metricsOf({ server, metricsServer }: AgentConfig): Promise<string> {
  const address = server ?? metricsServer;
  if (address === undefined) return "server.address is off\n";
  using deadline = new Deadline(METRICS_TIMEOUT_MS);
  const { signal } = deadline;
  const url = `http://${addressOf(address)}/metrics`;
  return await (await fetch(url, { redirect: "error", signal })).text();
}

async function logOf({ processRunner }: Context): Promise<string> {
  const args = ["--unit=nydus-auth-agent", "--lines=2000", "--no-pager", "--output=short-iso"];
  const limits = { timeoutMs: 20_000, maxStdoutBytes: 8 * 1_024 * 1_024 };
  const result = await processRunner.run({ path: JOURNAL, args, ...limits, env: {}, stdin: "" });
  return result.kind === "exited" ? result.stdout : `${JOURNAL}: ${result.kind}\n`;
}

/** Lists kind, mode and owner of every file, folder and socket that the agent uses. */
async function permissionsOf(
  context: Context,
  config: AgentConfig,
  running: NodeStatus | undefined,
): Promise<string> {
  const { host, files } = context;
  const { node, api, providers } = config;
  const sockets = running?.daemons.map(({ apiSocket }) => apiSocket) ?? [];
  const used = [
    ...config.files,
    node.root,
    node.systemSocket,
    api.socket,
    providers.cri.socket,
    providers.cri.link,
    providers.cri.imageServiceSocket,
    dockerConfigPath(context, config),
    providers.kubelet.configPath,
    providers.kubelet.binDir,
    providers.kubesecret.kubeconfigPath,
    ...sockets,
  ];
  const paths = new Set(used.flatMap((path) => path ? [dirname(path), path] : []));
  const lines = await Promise.all(
    [...paths].sort().map(async (path) => {
      const stat = await files.stat(path, { noFollow: true }).catch(messageOf);
      if (stat === undefined || typeof stat === "string") return `${path}: ${stat ?? "missing"}\n`;
      const mode = (stat.mode & 0o7777).toString(8).padStart(4, "0");
      return `${path}: ${stat.kind}, mode ${mode}, owner ${stat.uid}:${stat.gid}\n`;
    }),
  );
  return `user ${host.uid()}\n${lines.join("")}`;
}

const TAR_BLOCK = 512;

/** Returns a file of a tar archive (POSIX ustar). */
function tarEntry(name: string, text: string, timeMs: number): string {
  const { length } = new TextEncoder().encode(text);
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, "0")}\0`;
  const header = (checksum: string) =>
    [
      name.padEnd(100, "\0"),
      octal(0o600, 8),
      octal(0, 8),
      octal(0, 8),
      octal(length, 12),
      octal(Math.floor(timeMs / 1_000), 12),
      checksum,
      "0".padEnd(101, "\0"),
      "ustar\0" + "00",
    ].join("").padEnd(TAR_BLOCK, "\0");
  const sum = [...header(" ".repeat(8))].reduce((sum, char) => sum + char.charCodeAt(0), 0);
  const padding = "\0".repeat((TAR_BLOCK - length % TAR_BLOCK) % TAR_BLOCK);
  return `${header(`${octal(sum, 7)} `)}${text}${padding}`;
}
