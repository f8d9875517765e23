// deno-lint-ignore-file no-console -- a command for contributors
/**
 * `deno task docs`: writes the sample configuration and the generated parts of `docs/`, between
 * `<!-- generated: NAME -->` and `<!-- end -->`. Unit tests check that they are up to date.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { CONFIG_KEYS, type ConfigKey, flagName, tomlLiteral } from "../lib/config/mod.ts";
import { REASON_CODES, type ReasonCode, reasonOutcome } from "../lib/model/mod.ts";
import { LOG_EVENTS } from "../lib/observability/log_lines.ts";
import { LABEL_VALUES, METRICS } from "../lib/observability/metrics.ts";
import { HEALTH_STATES } from "../lib/observability/image_view.ts";
import { FINDINGS } from "../lib/observability/problems.ts";
import { GRANTS } from "./lib/permissions.ts";

const DOCS = new URL("../docs/", import.meta.url);
const SAMPLE = new URL("../lib/assets/config.toml", import.meta.url);
const SAMPLE_COLUMNS = 100;
const SAMPLE_HEADER = `# nydus-auth-agent: /etc/nydus-auth-agent/config.toml
#
# Every key, commented out, with its default, or with an example if the default depends on something
# else. An empty file is valid. Precedence: flag, environment variable
# (NYDUS_AUTH_AGENT_<SECTION>_<KEY>), this file, the snapshotter's configuration file, default.
# Durations are texts such as "90s" or "1h30m"; paths are absolute.
# Validate the configuration with: nydus-auth-agent check
`;

/** Labels with a fixed set of values, with an optional note. */
const LABELS: readonly (readonly [label: string, values: readonly string[], note?: string])[] = [
  ["`result` of `snapshotter_credential_renewals_total`", LABEL_VALUES.renewalResults],
  ["`provider`", LABEL_VALUES.providers],
  ["`result` of `nydus_auth_agent_deliveries_total`", LABEL_VALUES.deliveryResults],
  [
    "`action`",
    LABEL_VALUES.unapprovedHostActions,
    "with a warning, or not, by `delivery.unapproved_hosts`",
  ],
  ["`state` of `nydus_auth_agent_instances`", LABEL_VALUES.deliveryStates],
  ["`state` of `nydus_auth_agent_daemons`", LABEL_VALUES.daemonStates],
  ["`verdict`", LABEL_VALUES.verdicts],
  ["`to`", LABEL_VALUES.criProxyDirections],
  ["`source`", LABEL_VALUES.discoverySources],
];
/** Labels whose values depend on the node, the build or another table. */
const OPEN_LABELS = ["image_ref", "plugin", "version", "commit", "deno", "hash", "reason"];

/** Generators of the parts by name. */
export const PARTS: Readonly<Record<string, () => string>> = {
  "config-keys": () => list(CONFIG_KEYS.map(configKey)),
  "findings": () =>
    list(
      Object.entries(FINDINGS).map(([code, { title }]) => `\`${code}\`: ${title}`),
    ),
  "health-states": () =>
    list(Object.entries(HEALTH_STATES).map(([k, { meaning }]) => `\`${k}\`: ${meaning}`)),
  "label-values": () =>
    list([
      ...LABELS.map(([label, values, note]) =>
        `${label}: ${codes(values)}${note === undefined ? "" : ` (${note})`}`
      ),
      "`reason`: the [reason codes](providers.md#reason-codes) of failures",
    ]),
  "log-events": () =>
    list(
      Object.entries(LOG_EVENTS).map(([k, { level, meaning }]) =>
        `\`${k}\` (${level}): ${meaning}`
      ),
    ),
  "metrics": () =>
    list(
      Object.values(METRICS).map(({ name, type, labels, help }) =>
        `\`${name}${labels.length > 0 ? `{${labels.join(",")}}` : ""}\` (${type}): ${help}`
      ),
    ),
  "permissions": () => list(GRANTS.map(({ flag, why }) => `\`${flag}\`: ${why}`)),
  "reason-codes": () =>
    (["found", "none", "failed"] as const).map((outcome) => {
      const reasons = Object.entries(REASON_CODES)
        .filter(([code]) => reasonOutcome(code as ReasonCode) === outcome);
      return `**${outcome}**\n\n${list(reasons.map(([k, v]) => `\`${k}\`: ${v}`))}`;
    }).join("\n\n"),
};

/** Returns a page with updated generated parts. */
export function withGenerated(page: string): string {
  return page.replaceAll(
    /(<!-- generated: ([a-z-]+) -->\n)[^]*?(<!-- end -->)/g,
    (_, start: string, name: string, end: string) => {
      const part = PARTS[name];
      if (part === undefined) throw new Error(`unknown generated part ${name}`);
      return `${start}\n${part()}\n\n${end}`;
    },
  );
}

/** Returns the metric labels that {@linkcode PARTS} does not describe. */
export function undescribedLabels(): string[] {
  const described = [...OPEN_LABELS, ...LABELS.map(([label]) => /^`([a-z_]+)`/.exec(label)?.[1])];
  return Object.values(METRICS).flatMap(({ labels }) =>
    labels.filter((label) => !described.includes(label))
  );
}

/** Returns every page with a generated part, and its URL. */
export function pagesWithParts(): { url: URL; text: string }[] {
  return [...Deno.readDirSync(DOCS)].filter(({ name }) => name.endsWith(".md"))
    .map(({ name }) => new URL(name, DOCS))
    .map((url) => ({ url, text: Deno.readTextFileSync(url) }))
    .filter(({ text }) => text.includes("<!-- generated: "));
}

function configKey({ path, type, flag, description, ...key }: ConfigKey): string {
  const literal = key.default === undefined ? undefined : `\`${tomlLiteral(key.default)}\``;
  const theirs = key.snapshotter && `the snapshotter's \`${key.snapshotter}\``;
  const own = [literal, key.defaultNote].filter((text) => text !== undefined).join(", ");
  const byDefault = [theirs, own].filter((text) => text).join(", or ");
  const option = flag === undefined ? "" : ` (\`${flagName(flag)}\`)`;
  const fallback = byDefault === "required" ? "required" : `default ${byDefault}`;
  const values = type.expected.replace(/^(?:an? (?:duration from )?|one of )/, "");
  return `\`${path}\`${option}: ${description} (${values}; ${fallback})`;
}

/** Returns the sample configuration, `lib/assets/config.toml`. */
export function sampleConfig(): string {
  const keys = CONFIG_KEYS.map((key) => {
    const [, table = "", name = ""] = /^(?:(.*)\.)?(\w+)$/.exec(key.path) ?? [];
    const text = `${comment(key)}# ${name} = ${tomlLiteral(key.example)}\n`;
    return { table: table.replace("daemons[]", "# [[daemons]]"), text };
  });
  const tables = [...Map.groupBy(keys, ({ table }) => table)].map(([table, entries]) => {
    const head = table === "" || table.startsWith("#") ? table : `[${table}]`;
    return `${head}\n${entries.map(({ text }) => text).join("\n")}`.trimStart();
  });
  return [SAMPLE_HEADER, ...tables].join("\n");
}

/** Describes a key in lines of at most `SAMPLE_COLUMNS`. */
function comment(
  { type, description, snapshotter, default: value, defaultNote = "" }: ConfigKey,
): string {
  const isRequired = defaultNote === "required";
  const theirs = snapshotter === undefined ? undefined : `the snapshotter's ${snapshotter}`;
  const below = value === undefined || (theirs ?? defaultNote) === "" ? "" : "the value below";
  const own = [below, isRequired ? "" : defaultNote].filter((text) => text !== "").join(", ");
  const byDefault = [theirs, own].filter((text) => text).join(", else ");
  const values = type.expected.startsWith("one of") ? ` One of ${type.expected.slice(7)}.` : "";
  return wrapped(`${description}${values}${isRequired ? " Required." : ""}`) +
    (byDefault === "" ? "" : wrapped(`Default: ${byDefault}.`));
}

/** Returns a text without code marks as comment lines. */
function wrapped(text: string): string {
  const lines = [""];
  for (const word of text.replaceAll("`", "").split(" ")) {
    const line = `${lines.at(-1)} ${word}`;
    if (line.length < SAMPLE_COLUMNS) lines[lines.length - 1] = line;
    else lines.push(` ${word}`);
  }
  return lines.map((line) => `#${line}\n`).join("");
}

function codes(values: readonly string[]): string {
  return values.map((value) => `\`${value}\``).join(", ");
}

function list(items: readonly string[]): string {
  return items.map((item) => `- ${item}`).join("\n");
}

if (import.meta.main) {
  Deno.writeTextFileSync(SAMPLE, sampleConfig());
  const pages = pagesWithParts();
  for (const { url, text } of pages) Deno.writeTextFileSync(url, withGenerated(text));
  const fmt = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", ...pages.map(({ url }) => fileURLToPath(url))],
  });
  Deno.exitCode = (await fmt.output()).code;
  console.log(`${pages.length} pages and the sample configuration`);
}
