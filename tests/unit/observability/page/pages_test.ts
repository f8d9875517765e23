import { deepEqual, equal, match, ok } from "node:assert/strict";
import { createHash } from "node:crypto";
import { createApp } from "../../../../lib/observability/app.ts";
import { HEALTH_STATES, healthOf } from "../../../../lib/observability/mod.ts";
import { imageViews } from "../../../../lib/observability/page/image_view.ts";
import { PALETTES } from "../../../../lib/observability/page/style.ts";
import { daemonOf, imageOf, mountOf, NOW_MS, statusOf } from "../status_of.ts";
import { crowdedNode, emptyNode, HOSTILE, hostileNode, oneImage, type Stage } from "./nodes.ts";

function appOf({ status, history }: Stage) {
  return createApp({
    metrics: { page: () => Promise.resolve({ contentType: "text/plain", body: "" }) },
    status: () => status,
    health: () => healthOf(status, NOW_MS, { checkIntervalMs: 60_000 }),
    history: (image) => history.of(image),
    allowedHosts: ["127.0.0.1"],
    now: () => 0,
  });
}

async function pageOf(stage: Stage, path = "/"): Promise<string> {
  const response = await appOf(stage).request(path);
  match(response.headers.get("content-type") ?? "", /^text\/html/);
  return await response.text();
}

const imagePath = (image: string) => `/images?ref=${encodeURIComponent(image)}`;
const imageRows = (page: string) =>
  page.split('aria-label="Images"')[1]?.split("</table>")[0] ?? "";
const firstImage = ({ status }: Stage) => status.images[0]?.image ?? "";

Deno.test("nodePage: none, one and a thousand images", async () => {
  const none = await pageOf(emptyNode());
  match(none, /no nydus mount is on this node/);
  ok(!none.includes('aria-label="Images"'));
  const one = await pageOf(oneImage());
  equal(imageRows(one).match(/data-label="Image"/g)?.length, 1);
  match(one, /the next renewal is in 3h/);
  match(imageRows(one), /67 % of its life is left/);
  match(imageRows(one), /ecr-credential-provider, \*\.example\.com/);
  const many = await pageOf(crowdedNode());
  equal(imageRows(many).match(/data-label="Image"/g)?.length, 1_000);
  match(many, /1000<\/b> images, <span class="word critical">1[0-9] in trouble</);
  const more = await pageOf(crowdedNode(1_200));
  equal(imageRows(more).match(/data-label="Image"/g)?.length, 1_000);
  match(more, /And 200\s+more, which <a href="\/v1\/status">JSON<\/a> has/);
});

Deno.test("nodePage: trouble comes first, and all of it is told", async () => {
  const page = await pageOf(crowdedNode());
  const words = [...imageRows(page).matchAll(/class="word \w+" title="[^"]*">([a-z]+)</g)]
    .map(([, word]) => word);
  deepEqual(words.slice(0, 2), ["expired", "failing"]);
  const lastTrouble = words.findLastIndex((word) => word !== "fresh" && word !== "public");
  ok(lastTrouble > 5 && lastTrouble < 20, String(lastTrouble));
  match(page, /And \d+ more\./);
  match(page, /its configuration file is not there/);
  match(page, /no answer in 2s/);
});

Deno.test("nodePage: the node's name stands in the heading and first in the browser's tab", async () => {
  const { history, status } = oneImage();
  const page = await pageOf({ history, status: { ...status, hostname: "node-7<b>" } });
  match(page, /<h1>nydus-auth-agent on node-7&lt;b&gt;<\/h1>/);
  match(page, /<title>node-7&lt;b&gt;: ok<\/title>/);
  match(await pageOf(oneImage()), /<title>nydus-auth-agent: ok<\/title>/);
});

Deno.test("nodePage: a provider that is off says so, also before it was asked", async () => {
  const { history, status } = oneImage();
  const off = { ...status, enabledProviders: ["labels", "docker", "kubelet"] as const };
  const page = await pageOf({ history, status: off });
  const rows = (page.split('aria-label="Providers"')[1]?.split("</table>")[0] ?? "")
    .split('<tr role="row">').slice(2)
    .map((row) => row.replace(/<[^>]+>/g, " ").trim().split(/\s+/).slice(0, 2).join(" "));
  deepEqual(rows, [
    "labels only",
    "cri off",
    "docker answers",
    "kubelet failing",
    "kubesecret off",
  ]);
});

Deno.test("the pages: what comes from outside is escaped wherever it stands", async () => {
  for (const path of ["/", imagePath(HOSTILE), "/images?ref=%3Cscript%3Ealert(1)%3C/script%3E"]) {
    const page = await pageOf(hostileNode(), path);
    ok(page.includes("&lt;script&gt;"), path);
    equal(page.match(/<script/g)?.length, 1, "the page's own script");
    ok(!/<img|<b>|\sonerror=[^&]*"[^>]*>\s*</i.test(page.replace(/<li><b>/g, "")), path);
    ok(!page.includes("\u202e"), "no mark turns the direction of writing");
    ok(!page.includes("[object"), path);
  }
});

Deno.test("the pages: policy names exactly the style and the script that are there", async () => {
  for (const path of ["/", imagePath(firstImage(oneImage())), "/images"]) {
    const response = await appOf(oneImage()).request(path);
    const policy = response.headers.get("content-security-policy") ?? "";
    const page = await response.text();
    for (const tag of ["style", "script"]) {
      const texts = [...page.matchAll(new RegExp(`<${tag}>([^]*?)</${tag}>`, "g"))];
      equal(texts.length, 1);
      const hash = createHash("sha256").update(texts[0]?.[1] ?? "").digest("base64");
      ok(policy.includes(`${tag}-src 'sha256-${hash}'`), tag);
    }
    ok(!/\sstyle=|\son\w+=|javascript:|https?:\/\//.test(page), "nothing inline, nothing outside");
  }
});

Deno.test("imagePage: facts, mounts, answers, history; by any way to write the reference", async () => {
  const stage = oneImage();
  const page = await pageOf(stage, imagePath(firstImage(stage)));
  match(page, /<h1>registry\.example\.com\/team\/app:v1<\/h1>/);
  match(page, /cq1x0 \(running, dedicated, 2\.4\.4\)/);
  match(page, /no-entry-for-registry/);
  match(page, /what it gave before is used/);
  match(page, /kubelet comes before it and has a credential/);
  match(page, /it knows a credential only while an image is pulled/);
  match(page, /3 times in 2m/);
  match(page, /nydus-auth-agent explain registry\.example\.com\/team\/app:v1/);
  const order = ["credential-delivered", "credential-renewed", "renewal-failed"];
  const places = order.map((event) =>
    page.split('aria-label="History"')[1]?.indexOf(`>${event}<`) ?? -1
  );
  deepEqual(places, places.toSorted((a, b) => a - b));
  ok(!places.includes(-1));
});

Deno.test("imagePage: an image that is read from two places has both on it", async () => {
  const { status, history } = oneImage();
  const [image] = status.images;
  const [daemon] = status.daemons;
  ok(image !== undefined && daemon !== undefined);
  const endpoint = "mirror.example/team/app";
  const [mount] = daemon.instances;
  ok(mount !== undefined);
  const both = {
    ...status,
    images: [image, { ...image, endpoint }],
    daemons: [{ ...daemon, instances: [mount, { ...mount, snapshotId: "77", endpoint }] }],
  };
  const page = await pageOf({ status: both, history }, imagePath(image.image));
  match(page, /<dt>Read from<\/dt>\s*<dd>mirror\.example\/team\/app<\/dd>/);
  equal(page.match(/aria-label="Mounts"/g)?.length, 2);
  equal(page.match(/>77</g)?.length, 1);
});

Deno.test("imagePage: an image that is gone has its past, one never seen a hint and 404", async () => {
  const { history } = oneImage();
  const gone = { history, status: statusOf() };
  const past = await appOf(gone).request(imagePath("registry.example.com/team/app:v1"));
  equal(past.status, 200);
  match(await past.text(), /backs no mount any more; what follows is its past/);
  const never = await appOf(gone).request(imagePath("nginx"));
  equal(never.status, 404);
  match(await never.text(), /docker\.io\/library\/nginx:latest is not mounted on this node/);
  equal((await appOf(gone).request("/images")).status, 404);
  const odd = await (await appOf(gone).request(imagePath("a b; rm -rf '/'"))).text();
  match(odd, /explain &#39;a b; rm -rf &#39;\\&#39;&#39;\/&#39;\\&#39;&#39;&#39;/);
});

Deno.test("imageViews: every word can be met, and no image in trouble is called fresh", () => {
  const { provider: _, ...bare } = imageOf("missing");
  const lastFailure = { reason: "plugin-failed", detail: "x", atMs: NOW_MS } as const;
  const status = statusOf({
    images: [
      imageOf("fresh"),
      imageOf("renewing", { window: "advisory" }),
      imageOf("waiting"),
      { ...bare, image: "public" },
      imageOf("adopted", { provider: "adopted" }),
      imageOf("undelivered"),
      { ...bare, failures: 1, lastFailure },
      imageOf("failing", { failures: 1, lastFailure }),
      imageOf("unread"),
      imageOf("expired", { window: "expired" }),
    ],
    daemons: [daemonOf("d", [
      mountOf("1", { image: "waiting", delivery: "pending" }),
      mountOf("2", { image: "undelivered", delivery: "unreachable" }),
      mountOf("3", { image: "unread", readsFailingSinceMs: NOW_MS - 60_000 }),
    ])],
  });
  const views = imageViews(status, NOW_MS);
  for (const { image, word } of views) equal(word, image.image);
  deepEqual(new Set(views.map(({ word }) => word)), new Set(Object.keys(HEALTH_STATES)));
  equal(views[0]?.word, "expired");
  for (const { word, level } of views) {
    equal(level === "ok", ["fresh", "renewing", "waiting", "public"].includes(word), word);
  }
});

/** Relative luminance as WCAG 2.2 defines it. */
function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [dark = 0, light = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

Deno.test("PALETTES: text has WCAG AA's 4.5:1, what is drawn 3:1, in light and dark", () => {
  ok(Math.abs(contrast("#000000", "#ffffff") - 21) < 0.001);
  for (const [scheme, palette] of Object.entries(PALETTES)) {
    for (const ground of [palette.ground, palette.raised]) {
      for (const name of ["text", "muted", "ok", "warning", "critical", "link"] as const) {
        const ratio = contrast(palette[name], ground);
        ok(ratio >= 4.5, `${scheme} ${name}: ${ratio}`);
      }
    }
    for (const name of ["ok", "warning", "critical", "text"] as const) {
      const ratio = contrast(palette[name], palette.track);
      ok(ratio >= 3, `${scheme} ${name} on the bar: ${ratio}`);
    }
  }
});
