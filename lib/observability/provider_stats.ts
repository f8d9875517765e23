import {
  type AgentEvent,
  defined,
  type Observer,
  type PluginStatus,
  PROVIDER_NAMES,
  type ProviderName,
  type ProviderStatus,
} from "../model/mod.ts";
import { safeText } from "./redact.ts";

/** Configuration files name the plugins, in any number. */
const MAX_PLUGINS = 200;
const MAX_TEXT = 500;

/** Counts requests to providers and executions of plugins and credential helpers. */
export class ProviderStats implements Observer {
  readonly #now: () => number;
  readonly #providers = new Map<ProviderName, ProviderStatus>(
    PROVIDER_NAMES.map((name) => [name, { name, requests: 0, failures: 0 }]),
  );
  readonly #plugins = new Map<string, PluginStatus>();

  /** @param now Returns the wall time in ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  notify(event: AgentEvent): void {
    if (event.kind === "provider-queried") this.#countRequest(event);
    if (event.kind === "plugin-executed") this.#countExecution(event);
  }

  /** Returns all providers in the order of the chain, and the executed plugins by name. */
  status(): {
    readonly providers: readonly ProviderStatus[];
    readonly plugins: readonly PluginStatus[];
  } {
    const plugins = [...this.#plugins.values()].sort((a, b) => a.name < b.name ? -1 : 1);
    return { providers: [...this.#providers.values()], plugins };
  }

  #countRequest(event: Extract<AgentEvent, { kind: "provider-queried" }>): void {
    const { provider: name, outcome, reason, detail = "" } = event;
    const before = this.#providers.get(name);
    if (before === undefined) return;
    const atMs = this.#now();
    const failed = outcome === "failed";
    this.#providers.set(name, {
      ...before,
      requests: before.requests + 1,
      failures: before.failures + (failed ? 1 : 0),
      last: { outcome, reason, atMs },
      ...(failed && { lastFailure: { reason, detail: safeText(detail, MAX_TEXT), atMs } }),
    });
  }

  #countExecution(event: Extract<AgentEvent, { kind: "plugin-executed" }>): void {
    const { plugin: name, provider, result, durationMs, detail = "" } = event;
    const key = `${provider} ${name}`;
    const before = this.#plugins.get(key);
    if (before === undefined && this.#plugins.size >= MAX_PLUGINS) return;
    const lastAtMs = this.#now();
    const failed = result === "failure" || result === "timeout";
    const lastFailure = failed
      ? { detail: `${result}: ${safeText(detail, MAX_TEXT)}`, atMs: lastAtMs }
      : before?.lastFailure;
    this.#plugins.set(key, {
      name,
      provider,
      executions: (before?.executions ?? 0) + 1,
      failures: (before?.failures ?? 0) + (failed ? 1 : 0),
      lastAtMs,
      lastResult: result,
      lastDurationMs: durationMs,
      longestDurationMs: Math.max(before?.longestDurationMs ?? 0, durationMs),
      ...defined({ lastFailure }),
    });
  }
}
