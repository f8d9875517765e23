import { loadAgentConfig } from "../config/mod.ts";
import { systemInstallFiles } from "../platform/mod.ts";
import { ConfigError, formatProblem, messageOf } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { install, type InstallOptions } from "./install.ts";
import { uninstall, type UninstallOptions } from "./uninstall.ts";

/** `install`, on this host. */
export function installCommand(context: Context, options: InstallOptions): Promise<number> {
  const { host } = context;
  return install(options, {
    ...ports(context),
    self: { path: host.execPath, standalone: host.standalone, uid: host.uid() },
    checkConfiguration: (path) => configurationProblems(context, path),
  });
}

/** `uninstall`, on this host. */
export function uninstallCommand(context: Context, options: UninstallOptions): Promise<number> {
  return uninstall(options, ports(context));
}

function ports({ host, processRunner }: Context) {
  return {
    files: systemInstallFiles(),
    processRunner,
    out: (line: string) => host.out(`${line}\n`),
    err: (line: string) => host.err(`${line}\n`),
  };
}

async function configurationProblems(
  { files }: Context,
  path: string,
): Promise<readonly string[]> {
  try {
    const flags = { config: path };
    await loadAgentConfig({ flags, env: {}, readText: (each) => files.readText(each) });
    return [];
  } catch (error) {
    return error instanceof ConfigError ? error.problems.map(formatProblem) : [messageOf(error)];
  }
}
