import { deepEqual, equal, ok } from "node:assert/strict";
import { CONFIG_KEYS, SNAPSHOTTER_FILE_KEYS } from "../../../lib/config/mod.ts";
import { sampleConfig } from "../../../scripts/docs.ts";
import { load } from "./sources.ts";

function read(path: string): Promise<string> {
  return Deno.readTextFile(new URL(`../../../${path}`, import.meta.url));
}

Deno.test("docs/configuration.md: lists every key that is read from the snapshotter", async () => {
  const section = (await read("docs/configuration.md")).split("## What is taken")[1] ?? "";
  for (const { path } of SNAPSHOTTER_FILE_KEYS) ok(section.includes(`\`${path}\``), path);
});

/** Returns the lines of the sample, with the path of each commented key. */
async function sampleLines(): Promise<{ line: string; path?: string; bare: string }[]> {
  let section = "";
  return (await read("lib/assets/config.toml")).split("\n").map((line) => {
    const bare = line.replace(/^# /, "");
    const table = /^\[\[?([\w.]+)\]?\]$/.exec(bare)?.[1];
    if (table !== undefined) section = bare.startsWith("[[") ? `${table}[].` : `${table}.`;
    const key = line.startsWith("# ") ? /^(\w+) = /.exec(bare)?.[1] : undefined;
    return { line, bare, ...(key === undefined ? {} : { path: `${section}${key}` }) };
  });
}

Deno.test("lib/assets/config.toml: is up to date (deno task docs)", async () => {
  equal(await read("lib/assets/config.toml"), sampleConfig());
});

Deno.test("lib/assets/config.toml: changes nothing as delivered", async () => {
  const config = await load({ ours: await read("lib/assets/config.toml") });
  equal(config.hash, (await load()).hash);
  deepEqual(config.warnings, []);
});

Deno.test("lib/assets/config.toml: loads with each key alone and with all keys", async () => {
  const files = { "/etc/nydus/config.toml": "" };
  const lines = await sampleLines();
  const uncomment = (chosen: (path: string) => boolean) =>
    lines.map(({ line, bare, path }) => {
      const daemons = bare === "[[daemons]]" && chosen("daemons[].socket");
      return daemons || (path !== undefined && chosen(path)) ? bare : line;
    }).join("\n");
  for (const { path } of CONFIG_KEYS) {
    const whole = path.startsWith("daemons[]");
    const chosen = (other: string) => whole ? other.startsWith("daemons[]") : other === path;
    const text = uncomment(chosen);
    equal(text === uncomment(() => false), false, path);
    await load({ ours: text, files });
  }
  const all = await load({ ours: uncomment(() => true), files });
  equal(all.node.daemons[0]?.id, "web");
  equal(all.renewal.checkIntervalMs, 60_000);
});
