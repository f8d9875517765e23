import { html } from "hono/html";
import {
  type AgentStatus,
  formatDuration,
  type PluginStatus,
  type ProviderStatus,
  REASON_CODES,
} from "../../model/mod.ts";
import { printable } from "../printable.ts";
import { type Cell, type Markup, moment, table, word } from "./parts.ts";

/** The providers of the chain with their health. */
export function providerTable({ providers, enabledProviders, nowMs }: AgentStatus): Markup | "" {
  if (providers === undefined) return "";
  const columns = ["Provider", "Health", "Asked", "Failed", "Last answer", "Last failure"];
  return html`<h2 id="providers">Providers</h2>
${
    table(
      "Providers",
      columns,
      providers.map((provider) =>
        providerRow(provider, enabledProviders?.includes(provider.name) ?? true, nowMs)
      ),
    )
  }`;
}

/** They know a credential only while an image is pulled: no renewal asks them. */
const NOT_RENEWING: readonly ProviderStatus["name"][] = ["labels", "cri"];

function providerRow(provider: ProviderStatus, isEnabled: boolean, nowMs: number): Cell[] {
  const { name, requests, failures, last, lastFailure } = provider;
  const health = !isEnabled || last?.reason === "not-enabled"
    ? html`<span class="muted">off</span>`
    : last === undefined
    ? html`<span class="muted">${
      NOT_RENEWING.includes(name) ? "only at pulls" : "not asked yet"
    }</span>`
    : last.outcome === "failed"
    ? word("warning", "failing")
    : word("ok", "answers");
  return [
    name,
    health,
    String(requests),
    String(failures),
    last === undefined
      ? ""
      : html`<span title="${REASON_CODES[last.reason]}">${last.reason}</span>, ${
        moment(last.atMs, nowMs)
      }`,
    lastFailure === undefined
      ? ""
      : html`${lastFailure.reason}: ${printable(lastFailure.detail)}, ${
        moment(lastFailure.atMs, nowMs)
      }`,
  ];
}

/** Plugins and helpers with executions, times and the last error. */
export function pluginTable({ plugins = [], nowMs }: AgentStatus): Markup | "" {
  if (plugins.length === 0) return "";
  const columns = ["Plugin", "Health", "Executed", "Failed", "Took", "Last run", "Last failure"];
  return html`<h2 id="plugins">Plugins and credential helpers</h2>
${table("Plugins", columns, plugins.map((plugin) => pluginRow(plugin, nowMs)))}`;
}

function pluginRow(plugin: PluginStatus, nowMs: number): Cell[] {
  const { name, executions, failures, lastResult, lastFailure } = plugin;
  const failing = lastResult === "failure" || lastResult === "timeout";
  const took = `${formatDuration(plugin.lastDurationMs)}, longest ${
    formatDuration(plugin.longestDurationMs)
  }`;
  return [
    name,
    word(failing ? "warning" : "ok", failing ? "failing" : "answers"),
    String(executions),
    String(failures),
    took,
    moment(plugin.lastAtMs, nowMs),
    lastFailure === undefined
      ? ""
      : html`${printable(lastFailure.detail)}, ${moment(lastFailure.atMs, nowMs)}`,
  ];
}
