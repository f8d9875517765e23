import { html } from "hono/html";
import { type AgentStatus, type DaemonStatus, formatDuration } from "../../model/mod.ts";
import type { Finding } from "../finding.ts";
import { findingsOf } from "../findings.ts";
import type { HealthView } from "../health.ts";
import { imageLabel } from "../image_label.ts";
import { printable } from "../printable.ts";
import { HEALTH_STATES, type ImageView, imageViews, type MountView } from "./image_view.ts";
import { layout, sentenceBlock } from "./layout.ts";
import { pluginTable, providerTable } from "./source_tables.ts";
import { type Cell, imageHref, lifetimeBar, type Markup, moment, table, word } from "./parts.ts";

/** Rows of a table at most; what is in trouble comes first, and JSON has all. */
const MAX_ROWS = 1_000;
const MAX_FINDINGS = 8;
/** So many rows are more than a screen. */
const LONG = 12;

/** The state of the node for people. Everything that comes from outside is escaped. */
export function nodePage(status: AgentStatus, health: HealthView): Markup {
  const views = imageViews(status, status.nowMs);
  const { hostname } = status;
  return layout({
    title: `${hostname ?? "nydus-auth-agent"}: ${health.level}`,
    heading: `nydus-auth-agent${hostname === undefined ? "" : ` on ${hostname}`}`,
    level: health.level,
    summary: sentenceBlock(health),
    body: html`${tiles(status, views)}
${contents(status)}
${problems(status, health)}
<h2 id="images">Images</h2>
${
      table(
        "Images",
        IMAGE_COLUMNS,
        views.slice(0, MAX_ROWS).map((view) => imageRow(view, status.nowMs)),
      )
    }
${leftOut(views.length)}
${views.length > 0 ? wordsMean() : ""}
${implausibleMounts(status)}
<h2 id="nydusd">nydusd</h2>
${table("Daemons", DAEMON_COLUMNS, sorted(status.daemons).slice(0, MAX_ROWS).map(daemonRow))}
${leftOut(status.daemons.length)}
${providerTable(status)}
${pluginTable(status)}
${colophon(status)}`,
  });
}

function tiles(status: AgentStatus, views: readonly ImageView[]): Markup {
  const { daemons, nowMs } = status;
  const mounts = daemons.reduce((sum, { instances }) => sum + instances.length, 0);
  const failing = views.filter(({ level }) => level !== "ok").length;
  const soonest = (pick: (view: ImageView) => number | undefined) =>
    views.reduce((first, view) => Math.min(first, pick(view) ?? Infinity), Infinity);
  const dueMs = soonest(({ image }) => image.nextAttemptAtMs);
  const endMs = soonest(({ image }) => image.expiresAtMs);
  const none = views.length === 0 ? "none" : undefined;
  const inTime = (ms: number, fallback: string) =>
    ms === Infinity ? none ?? fallback : moment(ms, nowMs);
  const withProblems = failing === 0
    ? "none in trouble"
    : html`<span class="word ${worstOf(views)}">${failing} in trouble</span>`;
  return html`
    <ul class="tiles">
      <li><b>${views.length}</b> ${views.length === 1 ? "image" : "images"}, ${withProblems}</li>
      <li><b>${mounts}</b> ${mounts === 1 ? "mount" : "mounts"} in ${daemons.length} nydusd</li>
      <li><b>${inTime(dueMs, "when a source changes")}</b> the next renewal</li>
      <li><b>${inTime(endMs, "no end is known")}</b> the first credential ${endMs < nowMs
        ? "ended"
        : "ends"}</li>
    </ul>
  `;
}

function worstOf(views: readonly ImageView[]): HealthView["level"] {
  return views.some(({ level }) => level === "critical") ? "critical" : "warning";
}

/** Where to go on a page that is long. */
function contents({ images, daemons, providers, plugins = [] }: AgentStatus): Markup | "" {
  if (images.length + daemons.length < LONG) return "";
  const links = [
    ["images", "Images"],
    ["nydusd", "nydusd"],
    ...(providers === undefined ? [] : [["providers", "Providers"]]),
    ...(plugins.length === 0 ? [] : [["plugins", "Plugins"]]),
  ];
  return html`
    <nav aria-label="On this page">
      <ul>${links.map(([id, name]) => html`<li><a href="#${id}">${name}</a></li>`)}</ul>
    </nav>
  `;
}

/** The words of the column Health, also for those who have no mouse to hold above them. */
function wordsMean(): Markup {
  const words = Object.entries(HEALTH_STATES);
  return html`
    <details id="words">
      <summary class="small">What the words mean</summary>
      <dl>${words.map(([name, meaning]) =>
        html`
          <dt>${name}</dt>
          <dd>${meaning}</dd>
        `
      )}</dl>
    </details>
  `;
}

/** What is wrong besides the worst, which the one sentence tells. */
function problems(status: AgentStatus, { about }: HealthView): Markup | "" {
  const findings = findingsOf(status, status.nowMs);
  const critical = findings.filter(({ level }) => level === "critical");
  const others = findings.filter(({ level }) => level === "warning");
  const rest = [...critical, ...others].slice(about === "loop" ? 0 : 1);
  if (rest.length === 0) return "";
  const shown = rest.slice(0, MAX_FINDINGS);
  const more = rest.length - shown.length;
  return html`<h2>What else is wrong</h2>
<ul class="plain">${shown.map(problem)}</ul>
${more > 0 ? html`<p class="muted">And ${more} more.</p>` : ""}`;
}

function problem({ level, text, remedy, image }: Finding): Markup {
  const link = image === undefined ? "" : html`
    <a href="${imageHref(image)}">its image</a>
  `;
  return html`<li>${word(level, level)}: ${printable(text)}
<span class="mend">${printable(remedy)}${link}</span></li>`;
}

const IMAGE_COLUMNS = [
  "Image",
  "Health",
  "Provider",
  "Credential ends",
  "Renewed next",
  "Mounts",
  "Last delivery",
];

function imageRow({ image, mounts, word: name, level }: ImageView, nowMs: number): Cell[] {
  const { provider, plugin, pattern, nextAttemptAtMs } = image;
  const origin = [plugin, pattern].filter((part) => part !== undefined).join(", ");
  const delivered = Math.max(...mounts.map(({ mount }) => mount.deliveredAtMs ?? -Infinity));
  return [
    html`<a href="${imageHref(image.image)}">${printable(imageLabel(image))}</a>`,
    word(level, name, HEALTH_STATES[name]),
    provider === undefined ? "" : html`${provider}${
      origin === "" ? "" : html`
        <span class="small">${printable(origin)}</span>
      `
    }`,
    lifetimeBar(image, nowMs),
    provider === undefined || provider === "adopted"
      ? ""
      : nextAttemptAtMs === undefined
      ? html`<span class="muted">when its source changes</span>`
      : moment(nextAttemptAtMs, nowMs),
    mountsText(mounts),
    delivered === -Infinity ? "" : moment(delivered, nowMs),
  ];
}

/** Such as `2 in-use, 1 refused; nydusd a, b`. */
function mountsText(mounts: readonly MountView[]): string {
  if (mounts.length === 0) return "none any more";
  const counts = new Map<string, number>();
  for (const { mount: { delivery } } of mounts) {
    counts.set(delivery, (counts.get(delivery) ?? 0) + 1);
  }
  const states = [...counts].map(([state, count]) =>
    `${count} ${state === "none" ? "without a credential" : state}`
  ).join(", ");
  const daemons = [...new Set(mounts.map(({ daemon }) => daemon.id))];
  const names = daemons.length > 3 ? `${daemons.length} nydusd` : `nydusd ${daemons.join(", ")}`;
  return `${states}; ${names}`;
}

/** Mounts of which nobody knows the image: no row of the images has them. */
function implausibleMounts({ daemons }: AgentStatus): Markup | "" {
  const rows = daemons.flatMap(({ id, instances }) =>
    instances.filter(({ image }) => image === undefined)
      .map(({ snapshotId, delivery, imageProblem }) => [
        snapshotId,
        id,
        delivery,
        imageProblem ?? "",
      ])
  );
  if (rows.length === 0) return "";
  return html`<h2>Mounts of unknown images</h2>
${
    table(
      "Mounts of unknown images",
      ["Snapshot", "nydusd", "Delivery", "Why"],
      rows.slice(0, MAX_ROWS),
    )
  }`;
}

const DAEMON_COLUMNS = ["nydusd", "State", "Version", "Mode", "Mounts", "Found by", "Detail"];

function sorted(daemons: readonly DaemonStatus[]): readonly DaemonStatus[] {
  return daemons.toSorted((a, b) =>
    Number(a.state === "running") - Number(b.state === "running") || (a.id < b.id ? -1 : 1)
  );
}

function daemonRow(daemon: DaemonStatus): Cell[] {
  const { id, state, version = "", mode = "", instances, source, stateDetail = "" } = daemon;
  const level = state === "running"
    ? "ok"
    : state === "unresponsive" || state === "broken"
    ? "warning"
    : "ok";
  return [id, word(level, state), version, mode, String(instances.length), source, stateDetail];
}

function leftOut(count: number): Markup | "" {
  if (count <= MAX_ROWS) return "";
  return html`<p class="muted">And ${
    count - MAX_ROWS
  } more, which <a href="/v1/status">JSON</a> has.</p>`;
}

function colophon({ nowMs, startedAtMs, version, configHash, lastReconcileAtMs }: AgentStatus) {
  const compared = lastReconcileAtMs === undefined
    ? "nothing compared yet"
    : html`compared ${moment(lastReconcileAtMs, nowMs)}`;
  return html`<p class="small">Version ${printable(version)}, up ${
    formatDuration(nowMs - startedAtMs)
  }, ${compared},
configuration <code>${configHash.slice(0, 12)}</code>. The same as JSON:
<a href="/v1/status">/v1/status</a>; for Prometheus: <a href="/metrics">/metrics</a>; for probes:
<a href="/readyz?verbose">/readyz?verbose</a>.</p>`;
}
