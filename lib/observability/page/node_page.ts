import { html } from "hono/html";
import {
  type AgentStatus,
  type DaemonStatus,
  type FailureStatus,
  formatDuration,
  type PluginStatus,
  printable,
  type ProviderStatus,
  REASON_CODES,
} from "../../model/mod.ts";
import type { Finding, HealthView } from "../health.ts";
import { imageLabel } from "../problems.ts";
import { HEALTH_STATES, type ImageView, imageViews } from "../image_view.ts";
import {
  type Cell,
  guideLink,
  imageHref,
  layout,
  lifetimeBar,
  type Markup,
  moment,
  summaryBlock,
  table,
  word,
} from "./layout.ts";

/** Maximum rows of a table, and of a page of images. Rows with problems come first. */
const MAX_ROWS = 50;
const MAX_FINDINGS = 8;

/** From this many images on, the page has a filter. */
const FILTER_MIN_IMAGES = 10;

/** The images to show. */
export interface ImageFilter {
  /** Part of the name; empty for all. */
  readonly text: string;
  /** A health state; empty for all. */
  readonly state: string;
  /** Starts at 1. */
  readonly page: number;
}

/** Renders the status of the node. Every text from outside is escaped. */
export function nodePage(status: AgentStatus, health: HealthView, filter: ImageFilter): Markup {
  const { hostname, daemons, nowMs } = status;
  const views = imageViews(status, nowMs);
  const matching = views.filter(({ image, word }) =>
    imageLabel(image).toLowerCase().includes(filter.text.toLowerCase()) &&
    (filter.state === "" || word === filter.state)
  );
  const pages = Math.max(1, Math.ceil(matching.length / MAX_ROWS));
  const page = Math.min(filter.page, pages);
  const first = (page - 1) * MAX_ROWS;
  const imageRows = matching.slice(first, first + MAX_ROWS).map((view) => imageRow(view, nowMs));
  const [worst] = health.findings;
  const daemonRows = daemons.toSorted((a, b) =>
    Number(a.state === "running") - Number(b.state === "running") || (a.id < b.id ? -1 : 1)
  ).slice(0, MAX_ROWS).map(daemonRow);
  const omitted = daemons.length <= MAX_ROWS
    ? ""
    : html`<p class="muted">The other ${
      daemons.length - MAX_ROWS
    } are in the <a href="/v1/status">JSON status</a>.</p>`;
  return layout({
    title: `${hostname ?? "nydus-auth-agent"}: ${health.level}`,
    heading: `nydus-auth-agent${hostname === undefined ? "" : ` on ${hostname}`}`,
    level: health.level,
    summary: summaryBlock(health, worst && findingLinks(worst, nowMs)),
    body: html`${tiles(status, views)}
${otherProblems(health, nowMs)}
<h2 id="images">Images</h2>
${views.length < FILTER_MIN_IMAGES ? "" : filterForm(views, filter)}
${table("Images", IMAGE_COLUMNS, imageRows)}
${pages === 1 ? "" : pageLinks(filter, page, pages, matching.length)}
<h2 id="nydusd">nydusd</h2>
${table("Daemons", DAEMON_COLUMNS, daemonRows)}
${omitted}
${providerTable(status)}
${pluginTable(status)}
${footer(status)}`,
  });
}

function tiles(status: AgentStatus, views: readonly ImageView[]): Markup {
  const { daemons, nowMs } = status;
  const mounts = daemons.reduce((sum, { instances }) => sum + instances.length, 0);
  const failing = views.filter(({ level }) => level !== "ok");
  const earliest = (time: (view: ImageView) => number | undefined) =>
    Math.min(...views.map((view) => time(view) ?? Infinity));
  const renewalMs = earliest(({ image }) => image.nextAttemptAtMs);
  const expiryMs = earliest(({ image }) => image.expiresAtMs);
  const timeText = (ms: number, otherwise: string) =>
    ms !== Infinity ? moment(ms, nowMs) : views.length === 0 ? "none" : otherwise;
  const worst = failing.some(({ level }) => level === "critical") ? "critical" : "warning";
  const problems = failing.length === 0
    ? "no problems"
    : html`<span class="word ${worst}">${failing.length} with problems</span>`;
  return html`
    <ul class="tiles">
      <li><b>${views.length}</b> ${views.length === 1 ? "image" : "images"}, ${problems}</li>
      <li><b>${mounts}</b> ${mounts === 1 ? "mount" : "mounts"} in ${daemons.length} nydusd</li>
      <li><b>${timeText(renewalMs, "when a source changes")}</b> next renewal</li>
      <li><b>${timeText(expiryMs, "unknown")}</b> first credential ${expiryMs < nowMs
        ? "expired"
        : "expires"}</li>
    </ul>
  `;
}

function filterForm(views: readonly ImageView[], { text, state }: ImageFilter): Markup {
  const counts = Map.groupBy(views, ({ word }) => word);
  const options = Object.entries(HEALTH_STATES).flatMap(([name, { label }]) => {
    const count = counts.get(name as ImageView["word"])?.length ?? 0;
    if (count === 0 && name !== state) return [];
    return [
      html`<option value="${name}" ${
        name === state ? "selected" : ""
      }>${label} (${count})</option>`,
    ];
  });
  return html`
    <form method="get" action="/" role="search">
      <label>Name contains<input name="q" value="${printable(text)}"></label>
      <label>Health<select name="state"><option value="">all (${views
        .length})</option>${options}</select></label>
      <button>Filter</button>
      ${text === "" && state === "" ? "" : html`<a href="/">Show all</a>`}
    </form>
  `;
}

function pageLinks({ text, state }: ImageFilter, page: number, pages: number, count: number) {
  const link = (to: number, name: string) =>
    to < 1 || to > pages ? "" : html`<li><a href="/?${new URLSearchParams({
      q: text,
      state,
      page: String(to),
    })}">${name}</a></li>`;
  const first = (page - 1) * MAX_ROWS + 1;
  const last = Math.min(count, page * MAX_ROWS);
  return html`
    <nav aria-label="Pages of images">
      <ul>
        <li>${first} to ${last} of ${count}</li>
        ${link(page - 1, "Previous")}${link(page + 1, "Next")}
      </ul>
    </nav>
  `;
}

/** Lists the findings except the first, which is in the summary. */
function otherProblems({ findings }: HealthView, nowMs: number): Markup | "" {
  const others = findings.slice(1);
  if (others.length === 0) return "";
  const more = others.length - MAX_FINDINGS;
  const items = others.slice(0, MAX_FINDINGS).map((finding) => {
    const { severity, text, remedy } = finding;
    return html`<li>${word(severity, severity)}: ${printable(text)}
<span class="remedy">${printable(remedy)}</span>
<span class="small">${findingLinks(finding, nowMs)}</span></li>`;
  });
  return html`<h2>Other problems</h2>
<ul class="plain">${items}</ul>
${more > 0 ? html`<p class="muted">And ${more} more.</p>` : ""}`;
}

/** Renders since when a finding has lasted, with links to an affected image and to the guide. */
function findingLinks({ code, sinceMs, images: [image] }: Finding, nowMs: number): Markup {
  const since = sinceMs === undefined ? "" : html`
    since ${moment(sinceMs, nowMs)};
  `;
  const link = image === undefined ? "" : html`
    <a href="${imageHref(image)}">image</a>,
  `;
  return html`${since}${link}${guideLink(code)}`;
}

const IMAGE_COLUMNS = [
  "Image",
  "Health",
  "Provider",
  "Credential expires",
  "Next renewal",
  "Mounts",
];

function imageRow({ image, mounts, word: state, level }: ImageView, nowMs: number): Cell[] {
  const { provider, plugin, nextAttemptAtMs } = image;
  return [
    html`<a href="${imageHref(image.image)}">${printable(imageLabel(image))}</a>`,
    word(level, HEALTH_STATES[state].label, HEALTH_STATES[state].meaning),
    provider === undefined ? "" : html`<span title="${printable(plugin ?? "")}">${provider}</span>`,
    lifetimeBar(image, nowMs),
    provider === undefined || provider === "adopted"
      ? ""
      : nextAttemptAtMs === undefined
      ? html`<span class="muted">when the source changes</span>`
      : moment(nextAttemptAtMs, nowMs),
    String(mounts.length),
  ];
}

const DAEMON_COLUMNS = ["nydusd", "State", "Version", "Mode", "Mounts", "Discovered by", "Detail"];

function daemonRow(daemon: DaemonStatus): Cell[] {
  const { id, state, version = "", mode = "", instances, source, stateDetail = "" } = daemon;
  const level = state === "unresponsive" || state === "broken" ? "warning" : "ok";
  return [id, word(level, state), version, mode, String(instances.length), source, stateDetail];
}

function providerTable({ providers, enabledProviders, nowMs }: AgentStatus): Markup | "" {
  if (providers === undefined) return "";
  const columns = ["Provider", "Health", "Requests", "Failures", "Last result", "Last failure"];
  const rows = providers.map((provider) =>
    providerRow(provider, enabledProviders?.includes(provider.name) ?? true, nowMs)
  );
  return html`<h2 id="providers">Providers</h2>
${table("Providers", columns, rows)}`;
}

/** These have a credential only while an image is pulled and are not queried by renewals. */
const PULL_PROVIDERS: readonly ProviderStatus["name"][] = ["labels", "cri"];

function providerRow(provider: ProviderStatus, isEnabled: boolean, nowMs: number): Cell[] {
  const { name, requests, failures, last, lastFailure } = provider;
  const unused = PULL_PROVIDERS.includes(name) ? "only during pulls" : "not used yet";
  const health = !isEnabled || last?.reason === "not-enabled"
    ? html`<span class="muted">disabled</span>`
    : last === undefined
    ? html`<span class="muted">${unused}</span>`
    : last.outcome === "failed"
    ? word("warning", "failing")
    : word("ok", "working");
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
    failureCell(lastFailure, nowMs),
  ];
}

function failureCell(failure: PluginStatus["lastFailure"] | FailureStatus, nowMs: number): Cell {
  if (failure === undefined) return "";
  const reason = "reason" in failure ? `${failure.reason}: ` : "";
  return html`${reason}${printable(failure.detail)}, ${moment(failure.atMs, nowMs)}`;
}

function pluginTable({ plugins = [], nowMs }: AgentStatus): Markup | "" {
  if (plugins.length === 0) return "";
  const columns = ["Plugin", "Health", "Executions", "Failures", "Duration", "Last run"];
  const rows = plugins.map((plugin) => pluginRow(plugin, nowMs));
  return html`<h2 id="plugins">Plugins and credential helpers</h2>
${table("Plugins", [...columns, "Last failure"], rows)}`;
}

function pluginRow(plugin: PluginStatus, nowMs: number): Cell[] {
  const { name, executions, failures, lastResult, lastFailure } = plugin;
  const failing = lastResult === "failure" || lastResult === "timeout";
  const longest = formatDuration(plugin.longestDurationMs);
  return [
    name,
    failing ? word("warning", "failing") : word("ok", "working"),
    String(executions),
    String(failures),
    `${formatDuration(plugin.lastDurationMs)} (longest ${longest})`,
    moment(plugin.lastAtMs, nowMs),
    failureCell(lastFailure, nowMs),
  ];
}

function footer({ nowMs, startedAtMs, version, configHash, lastReconcileAtMs }: AgentStatus) {
  const reconciled = lastReconcileAtMs === undefined
    ? "not reconciled yet"
    : html`last reconcile ${moment(lastReconcileAtMs, nowMs)}`;
  return html`
    <p
      class="small">Version ${printable(version)}, up ${formatDuration(
        nowMs - startedAtMs,
      )}, ${reconciled}, configuration <code>${configHash.slice(0, 12)}</code>.
    Status as JSON: <a href="/v1/status">/v1/status</a>; Prometheus metrics:
    <a href="/metrics">/metrics</a>; health checks: <a href="/readyz?verbose">/readyz?verbose</a>.</p>
  `;
}
