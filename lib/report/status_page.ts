import { createHash } from "node:crypto";
import { html, raw } from "hono/html";
import { type AgentStatus, formatDuration, type ImageStatus } from "../model/mod.ts";
import type { HealthView } from "./health.ts";
import { printable } from "./printable.ts";

const STYLE = `
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { margin: 1.5rem auto; max-width: 80rem; padding: 0 1rem; }
.sentence { border-left: .4rem solid; padding: .5rem .8rem; font-size: 1.1rem; }
.ok { border-color: #2a8a4a; }
.warning { border-color: #c98a00; }
.critical { border-color: #c62828; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; vertical-align: top; }
td { overflow-wrap: anywhere; }
`;

/** The only style that the page's Content-Security-Policy lets pass. */
export const PAGE_STYLE_HASH = `sha256-${createHash("sha256").update(STYLE).digest("base64")}`;

/** The state for people. Everything that comes from outside is escaped. */
export function statusPage(status: AgentStatus, { sentence, level }: HealthView) {
  const { nowMs, startedAtMs, version, configHash } = status;
  return html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta http-equiv="refresh" content="15">
        <title>nydus-auth-agent: ${level}</title>
        <style>${raw(STYLE)}</style>
      </head>
      <body>
    <h1>nydus-auth-agent</h1>
    <p class="sentence ${level}"><strong>${level}</strong>: ${printable(sentence)}</p>
    <h2>Images</h2>
    ${imageTable(status)}
    <h2>Mounts</h2>
    ${mountTable(status)}
    ${problemList(status)}
    <p>Version ${version}, up ${formatDuration(nowMs - startedAtMs)}, configuration ${configHash
      .slice(0, 12)}. The same as JSON: <a href="/v1/status">/v1/status</a>; for Prometheus:
    <a href="/metrics">/metrics</a>.</p>
      </body>
    </html>
  `;
}

function imageTable({ images, nowMs }: AgentStatus) {
  const header = ["Image", "Provider", "Life", "Life left", "Renewed", "Asked again", "Trouble"];
  return table(header, images.map((image) => imageRow(image, nowMs)));
}

function imageRow(image: ImageStatus, nowMs: number): readonly string[] {
  const { provider, hardExpiresAtMs, renewedAtMs, nextAttemptAtMs, lastFailure } = image;
  return [
    image.endpoint === undefined ? image.image : `${image.image} (read from ${image.endpoint})`,
    provider ?? "none",
    image.window ?? "",
    hardExpiresAtMs === undefined ? "not told" : span(hardExpiresAtMs - nowMs),
    renewedAtMs === undefined ? "never" : span(renewedAtMs - nowMs),
    nextAttemptAtMs === undefined ? "when its source changes" : span(nextAttemptAtMs - nowMs),
    lastFailure === undefined
      ? ""
      : `${lastFailure.reason}: ${lastFailure.detail} (${span(lastFailure.atMs - nowMs)})`,
  ];
}

function mountTable({ daemons, nowMs }: AgentStatus) {
  const header = ["nydusd", "State", "Snapshot", "Image", "Delivery", "Delivered", "Detail"];
  const rows = daemons.flatMap((daemon) =>
    daemon.instances.map((mount) => [
      daemon.id,
      daemon.state,
      mount.snapshotId,
      `${mount.image ?? "not known"}${mount.host === undefined ? "" : ` (from ${mount.host})`}`,
      mount.delivery,
      mount.deliveredAtMs === undefined ? "" : span(mount.deliveredAtMs - nowMs),
      mount.deliveryDetail ?? mount.imageProblem ?? daemon.stateDetail ?? "",
    ])
  );
  return table(header, rows);
}

function problemList({ problems }: AgentStatus) {
  if (problems.length === 0) return "";
  const rows = problems.map(({ source, subject, detail }) => [source, subject, detail]);
  return html`<h2>Discovery</h2>
${table(["Source", "Subject", "Problem"], rows)}`;
}

function table(header: readonly string[], rows: readonly (readonly string[])[]) {
  if (rows.length === 0) return html`<p>None.</p>`;
  return html`
    <div class="wide">
      <table>
        <thead>
          <tr>${header.map((cell) => html`<th scope="col">${cell}</th>`)}</tr>
        </thead>
        <tbody>
    ${rows.map((row) =>
      html`
        <tr>${row.map((cell) => html`<td>${printable(cell)}</td>`)}</tr>
      `
    )}</tbody>
      </table>
    </div>
  `;
}

function span(ms: number): string {
  return ms < 0 ? `${formatDuration(-ms)} ago` : `in ${formatDuration(ms)}`;
}
