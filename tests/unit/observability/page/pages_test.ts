import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { createHash } from "node:crypto";
import { type AppOptions, createApp } from "../../../../lib/observability/app.ts";
import { HEALTH_STATES, healthOf, ImageHistory } from "../../../../lib/observability/mod.ts";
import { earlierCredentialUse, imageViews } from "../../../../lib/observability/image_view.ts";
import { type ImageStatus, PROVIDER_NAMES } from "../../../../lib/model/mod.ts";
import { guideLink, lifetimeBar } from "../../../../lib/observability/page/layout.ts";
import style from "../../../../lib/observability/page/style.css" with { type: "text" };
import { FINDING_CODES } from "../../../../lib/observability/problems.ts";
import { GUIDES } from "../../../../lib/assets/mod.ts";
import { daemonOf, imageOf, mountOf, NOW_MS, statusOf } from "../status_of.ts";
import { crowdedNode, emptyNode, HOSTILE, hostileNode, oneImage, type Stage } from "./nodes.ts";

function appOf({ status, history }: Stage, options: Partial<AppOptions> = {}) {
  return createApp({
    metrics: { page: () => Promise.resolve({ contentType: "text/plain", body: "" }) },
    status: () => status,
    health: () => healthOf(status, NOW_MS),
    history: (image) => history.of(image),
    hostname: "127.0.0.1",
    now: () => 0,
    ...options,
  });
}

async function pageOf(
  stage: Stage,
  path = "/",
  options: Partial<AppOptions> = {},
): Promise<string> {
  const response = await appOf(stage, options).request(path);
  match(response.headers.get("content-type") ?? "", /^text\/html/);
  return await response.text();
}

const imagePath = (image: string) => `/images?ref=${encodeURIComponent(image)}`;
const imageRows = (page: string) =>
  page.split('aria-label="Images"')[1]?.split("</table>")[0] ?? "";
const firstImage = ({ status }: Stage) => status.images[0]?.image ?? "";

Deno.test("nodePage: renders no, one and a thousand images", async () => {
  const none = await pageOf(emptyNode());
  match(none, /no nydus mounts on this node/);
  ok(!none.includes('aria-label="Images"'));
  const one = await pageOf(oneImage());
  equal(imageRows(one).match(/data-label="Image"/g)?.length, 1);
  match(one, /the next renewal is in 3h/);
  match(imageRows(one), /67 % of the lifetime is left/);
  match(imageRows(one), /title="ecr-credential-provider">kubelet</);
  ok(!one.includes("<form"));
  const many = await pageOf(crowdedNode());
  equal(imageRows(many).match(/data-label="Image"/g)?.length, 50);
  match(many, /1000<\/b> images, <span class="word critical">1[0-9] with problems</);
  ok(many.length < 100_000, "bounded");
});

Deno.test("nodePage: filters images by name and state, in pages of 50", async () => {
  const stage = crowdedNode();
  const shown = async (query: string) => {
    const page = await pageOf(stage, `/?${query}`);
    const [range = ""] = /\d+ to \d+ of \d+/.exec(page) ?? [];
    return { page, range, count: imageRows(page).match(/data-label="Image"/g)?.length ?? 0 };
  };
  const second = await shown("page=2");
  deepEqual([second.range, second.count], ["51 to 100 of 1000", 50]);
  match(second.page, /<a href="\/\?q=&amp;state=&amp;page=1">Previous<\/a>/);
  const last = await shown("page=99");
  equal(last.range, "951 to 1000 of 1000");
  ok(!last.page.includes(">Next<"));
  for (const page of ["0", "-3", "x", "1.5"]) {
    equal((await shown(`page=${page}`)).range, "1 to 50 of 1000", page);
  }
  const named = await shown("q=SERVICE-77:");
  deepEqual([named.count, named.range], [1, ""]);
  match(named.page, /<input name="q" value="SERVICE-77:">/);
  match(named.page, /<a href="\/">Show all<\/a>/);
  const failing = await shown("state=failing");
  ok(failing.count > 0 && failing.count < 5);
  match(failing.page, /<option value="failing" selected>renewal fails \(\d\)<\/option>/);
  match(failing.page, /<option value="valid" >valid \(\d+\)<\/option>/);
  ok(!failing.page.includes("(0)"));
  match((await shown("q=x&state=pending")).page, /<option value="pending" selected>waiting \(0\)</);
  equal((await shown("q=nothing")).count, 0);
  match((await shown("q=%3Cb%3E")).page, /value="&lt;b&gt;"/);
});

Deno.test("guidePage: renders the guides of the binary, with links between them", async () => {
  const guides = {
    "a.md": [
      "# A <b>",
      "Text\nwith `code <i>` and **bold `too`**.",
      "## What's `new`",
      "- One, see [B](b.md#part).\n- Two,\n  see [other](other.md) and [`here`](#part).",
      "```sh\nrun <x>\n\n- no item\n```",
      "End.",
    ].join("\n\n"),
    "b.md": "# B",
  };
  const page = await pageOf(emptyNode(), "/docs/a.md", { guides });
  const main = (page.split("<main>")[1] ?? "").split("</main>")[0]?.replace(/\s+/g, " ").trim();
  equal(
    main,
    "<p>Text with <code>code &lt;i&gt;</code> and <strong>bold <code>too</code></strong>.</p>" +
      '<h2 id="whats-new">What&#39;s <code>new</code></h2>' +
      '<ul class="plain"><li>One, see <a href="b.md#part">B</a>.</li>' +
      '<li>Two, see other and <a href="#part"><code>here</code></a>.</li></ul>' +
      "<pre>run &lt;x&gt; - no item</pre><p>End.</p>",
  );
  match(page, /<h1>A &lt;b&gt;<\/h1>/);
  const app = appOf(emptyNode(), { guides, metricsOnly: true });
  equal((await app.request("/docs/b.md")).status, 200);
  equal((await app.request("/docs/other.md")).status, 404);
});

Deno.test("guideLink: every finding has a link to a section that the binary serves", async () => {
  for (const code of FINDING_CODES) {
    const [, name = "", id] = /href="\/docs\/([^"#]+)#?([^"]*)"/.exec(String(guideLink(code))) ??
      [];
    const page = await pageOf(emptyNode(), `/docs/${name}`, { guides: GUIDES });
    ok(id === "" || page.includes(`<h2 id="${id}">`), `${code}: ${name}#${id}`);
  }
  const page = (await pageOf(crowdedNode())).replace(/\s+/g, " ");
  match(
    page,
    /since <time [^>]+>1m ago<\/time>; <a href="[^"]+">image<\/a>, <a href="\/docs\/runbooks.md#nyduscredentialexpired">/,
  );
  match(page, /<a href="\/docs\/troubleshooting.md#a-mount-is-unreachable">/);
});

Deno.test("imagePage: shows the renewals of the last day as a graphic, with text and a table", async () => {
  const stage = crowdedNode(7);
  const page = await pageOf(stage, imagePath(firstImage(stage)));
  match(page, /<title id="timeline-title">6 renewals succeeded and 3 failed<\/title>/);
  const bars = [
    ...page.matchAll(
      /<rect class="left (\w+)" x="([\d.]+)" y="([\d.]+)" width="1.6" height="([\d.]+)"/g,
    ),
  ];
  const shown = bars.map(([, level, ...place]) => [level, ...place.map(Number)]);
  deepEqual(shown.filter(([, , , height]) => height !== 0), [
    ...[8.33, 25, 41.67, 58.33, 75, 95.83].map((x) => ["ok", x, 14, 6]),
    ["critical", 95.83, 21, 18],
  ]);
  const rows = page.split('aria-label="Renewals of the last day"')[1]?.split("</table>")[0] ?? "";
  equal(rows.match(/data-label="From"/g)?.length, 6);
  // A day ago, and after the clock was set back.
  let nowMs = 0;
  const outside = new ImageHistory(() => nowMs);
  for (nowMs of [NOW_MS - 24 * 3_600_000, NOW_MS + 3_600_000]) {
    outside.notify({
      kind: "credential-renewed",
      image: firstImage(stage),
      provider: "kubelet",
      changed: true,
      fingerprint: "00",
    });
  }
  const none = await pageOf({ ...stage, history: outside }, imagePath(firstImage(stage)));
  match(none, /<h2>Renewals of the last day<\/h2>\s*<p class="muted">None/);
});

Deno.test("lifetimeBar: needs the start of the lifetime, except for an expired credential", () => {
  const bar = (parts: Partial<ImageStatus>) => String(lifetimeBar(imageOf("a", parts), NOW_MS));
  doesNotMatch(bar({ expiresAtMs: NOW_MS + 60_000 }), /<svg/);
  match(bar({ expiresAtMs: NOW_MS - 60_000 }), /0 % of the lifetime is left/);
  const times = { renewedAtMs: NOW_MS - 60_000, expiresAtMs: NOW_MS + 60_000 };
  match(bar(times), /"50 % of the lifetime is left"/);
});

Deno.test("nodePage: shows images with problems first, and other problems", async () => {
  const page = await pageOf(crowdedNode());
  const words = [...imageRows(page).matchAll(/class="word \w+" title="[^"]*">([a-z -]+)</g)]
    .map(([, word]) => word);
  deepEqual(words.slice(0, 2), ["expired", "renewal fails"]);
  const lastProblem = words.findLastIndex((word) => word !== "valid" && word !== "public");
  ok(lastProblem > 5 && lastProblem < 20, String(lastProblem));
  match(page, /\(9 more with the same cause\)/);
  match(page, /its configuration file does not exist/);
  match(page, /no response in 2s/);
});

Deno.test("nodePage: shows the host name in the heading and the title", async () => {
  const { history, status } = oneImage();
  const page = await pageOf({ history, status: { ...status, hostname: "node-7<b>" } });
  match(page, /<h1>nydus-auth-agent on node-7&lt;b&gt;<\/h1>/);
  match(page, /<title>node-7&lt;b&gt;: ok<\/title>/);
  match(await pageOf(oneImage()), /<title>nydus-auth-agent: ok<\/title>/);
});

Deno.test("nodePage: shows disabled providers, also before a request", async () => {
  const { history, status } = oneImage();
  const off = { ...status, enabledProviders: ["labels", "docker", "kubelet"] as const };
  const page = await pageOf({ history, status: off });
  const rows = (page.split('aria-label="Providers"')[1]?.split("</table>")[0] ?? "")
    .split('<tr role="row">').slice(2)
    .map((row) => row.replace(/<[^>]+>/g, " ").trim().split(/\s+/).slice(0, 2).join(" "));
  const shown: Partial<Record<string, string>> = {
    labels: "only",
    docker: "working",
    kubelet: "failing",
  };
  deepEqual(rows, PROVIDER_NAMES.map((name) => `${name} ${shown[name] ?? "disabled"}`));
});

Deno.test("nodePage: lists nydusd that are not running first, and others by name", async () => {
  const { history, status } = emptyNode();
  const daemons = [daemonOf("c", []), daemonOf("z", [], { state: "stopped" }), daemonOf("a", [])];
  const page = await pageOf({ history, status: { ...status, daemons } });
  const table = page.split('aria-label="Daemons"')[1]?.split("</table>")[0] ?? "";
  const names = [...table.matchAll(/data-label="nydusd">\s*<div>(\w)</g)].map(([, id]) => id);
  deepEqual(names, ["z", "a", "c"]);
});

Deno.test("pages: escape every text from outside", async () => {
  for (const path of ["/", imagePath(HOSTILE), "/images?ref=%3Cscript%3Ealert(1)%3C/script%3E"]) {
    const page = await pageOf(hostileNode(), path);
    ok(page.includes("&lt;script&gt;"), path);
    equal(page.match(/<script/g)?.length, 1, "the page's own script");
    ok(!/<img|<b>|\sonerror=[^&]*"[^>]*>\s*</i.test(page.replace(/<li><b>/g, "")), path);
    ok(!page.includes("\u202e"), "no mark for the direction of writing");
    ok(!page.includes("[object"), path);
  }
});

Deno.test("pages: the policy allows exactly the inline style and script", async () => {
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
    ok(
      !/\sstyle=|\son\w+=|javascript:|https?:\/\//.test(page),
      "nothing else inline, nothing external",
    );
  }
});

Deno.test("imagePage: shows facts, mounts, provider results and history", async () => {
  const stage = oneImage();
  const page = await pageOf(stage, imagePath(firstImage(stage)));
  match(page, /<h1>registry\.example\.com\/team\/app:v1<\/h1>/);
  match(page, /cq1x0 \(running, dedicated, 2\.4\.4\)/);
  match(page, /no-entry-for-registry/);
  match(page, /its previous credential is in use/);
  match(page, /3 times in 2m/);
  match(page, /nydus-auth-agent explain registry\.example\.com\/team\/app:v1/);
  const order = ["credential-delivered", "credential-renewed", "renewal-failed"];
  const places = order.map((event) =>
    page.split('aria-label="History"')[1]?.indexOf(`>${event}<`) ?? -1
  );
  deepEqual(places, places.toSorted((a, b) => a - b));
  ok(!places.includes(-1));
});

Deno.test("imagePage: shows every endpoint of an image", async () => {
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
  match(page, /<dt>Endpoint<\/dt>\s*<dd>mirror\.example\/team\/app<\/dd>/);
  equal(page.match(/aria-label="Mounts"/g)?.length, 2);
  equal(page.match(/>77</g)?.length, 1);
});

Deno.test("imagePage: shows the history of an image that is no longer mounted, and 404 for an unknown one", async () => {
  const { history } = oneImage();
  const gone = { history, status: statusOf() };
  const known = await appOf(gone).request(imagePath("registry.example.com/team/app:v1"));
  equal(known.status, 200);
  match(await known.text(), /is no longer mounted; its history is below/);
  const unknown = await appOf(gone).request(imagePath("nginx"));
  equal(unknown.status, 404);
  match(
    await unknown.text(),
    /<h1>docker\.io\/library\/nginx:latest<\/h1>[^]*this image is not mounted on this node/,
  );
  equal((await appOf(gone).request("/images")).status, 404);
  const hostile = await (await appOf(gone).request(imagePath("a b; rm -rf '/'"))).text();
  match(hostile, /explain &#39;a b; rm -rf &#39;\\&#39;&#39;\/&#39;\\&#39;&#39;&#39;/);
});

Deno.test("imageViews: returns every health state with its level", () => {
  const { provider: _, ...bare } = imageOf("missing");
  const lastFailure = { reason: "plugin-failed", detail: "x", atMs: NOW_MS } as const;
  const status = statusOf({
    images: [
      imageOf("valid"),
      imageOf("renewing", { window: "advisory" }),
      imageOf("pending"),
      { ...bare, image: "public" },
      imageOf("adopted", { provider: "adopted" }),
      imageOf("undelivered"),
      { ...bare, failures: 1, lastFailure },
      imageOf("failing", { failures: 1, lastFailure }),
      imageOf("read-errors"),
      imageOf("expired", { window: "expired", expiresAtMs: NOW_MS }),
    ],
    daemons: [daemonOf("d", [
      mountOf("1", { image: "pending", delivery: "pending" }),
      mountOf("2", { image: "undelivered", delivery: "unreachable" }),
      mountOf("3", { image: "read-errors", readsFailingSinceMs: NOW_MS - 60_000 }),
    ])],
  });
  const views = imageViews(status, NOW_MS);
  for (const { image, word } of views) equal(word, image.image);
  deepEqual(new Set(views.map(({ word }) => word)), new Set(Object.keys(HEALTH_STATES)));
  equal(views[0]?.word, "expired");
  for (const { word, level } of views) {
    equal(level === "ok", ["valid", "renewing", "pending", "public"].includes(word), word);
  }
});

Deno.test("earlierCredentialUse: returns the last user of the credential before the current one", () => {
  const use = (mounts: readonly Parameters<typeof mountOf>[1][], image = imageOf("i")) => {
    const instances = mounts.map((more, i) => mountOf(`${i}`, { image: "i", ...more }));
    const status = statusOf({ images: [image], daemons: [daemonOf("d", instances)] });
    const [view] = imageViews(status, NOW_MS);
    return view && earlierCredentialUse(view, NOW_MS);
  };
  const done = (secondsAgo: number) =>
    ({ delivery: "in-use", deliveredAtMs: NOW_MS - secondsAgo * 1_000 }) as const;
  equal(use([done(9), done(5)]), "not used by any mount; the last was d/1, 5s ago");
  for (
    const delivery of ["pending", "refused", "unreachable", "unsupported", "withheld"] as const
  ) {
    equal(use([done(9), { delivery }]), "still used by d/1", delivery);
  }
  equal(use([{ ...done(9), delivery: "file-only", behindSinceMs: 1 }]), "still used by d/0");
  equal(use([{ delivery: "in-use" }]), undefined, "delivered before the agent started");
  equal(use([done(9)], imageOf("i", { provider: "adopted" })), undefined);
});

/** Returns the relative luminance as defined by WCAG 2.2. */
function luminance(color: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [dark = 0, light = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

/** Returns the colors of the style sheet in light and in dark mode, which overrides them. */
function palettes(): Readonly<Record<string, Record<string, string>>> {
  const [light = "", dark = ""] = style.split("@media (prefers-color-scheme: dark)");
  const colors = (text: string) =>
    Object.fromEntries([...text.matchAll(/--(\w+): (#[0-9a-f]{6});/g)].map(([, k, v]) => [k, v]));
  return { light: colors(light), dark: colors(dark) };
}

Deno.test("style.css: text has a contrast of 4.5:1 and graphics 3:1 (WCAG AA)", () => {
  ok(Math.abs(contrast("#000000", "#ffffff") - 21) < 0.001);
  for (const [scheme, palette] of Object.entries(palettes())) {
    const { background: page = "", surface = "", track = "" } = palette;
    for (const background of [page, surface]) {
      for (const name of ["text", "muted", "ok", "warning", "critical", "link"] as const) {
        const ratio = contrast(palette[name] ?? "", background);
        ok(ratio >= 4.5, `${scheme} ${name}: ${ratio}`);
      }
    }
    for (const name of ["ok", "warning", "critical", "text"] as const) {
      const ratio = contrast(palette[name] ?? "", track);
      ok(ratio >= 3, `${scheme} ${name} on the bar: ${ratio}`);
    }
  }
});
