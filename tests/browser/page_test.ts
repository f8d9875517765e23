/**
 * Checks the pages in a browser: no console message, no overflow on narrow screens, automatic
 * refresh. Ignored without Chromium. With `SCREENSHOTS=<folder>` it writes screenshots.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { join } from "node:path";
import {
  crowdedNode,
  emptyNode,
  HOSTILE,
  hostileNode,
  oneImage,
  type Stage,
} from "../unit/observability/page/nodes.ts";
import { CHROMIUM, Tab } from "./chromium.ts";
import { serve } from "./served.ts";

const SCREENSHOTS = Deno.env.get("SCREENSHOTS");
const STAGES: Readonly<Record<string, () => Stage>> = {
  "none": emptyNode,
  "one": oneImage,
  "few": () => crowdedNode(7),
  "crowded": crowdedNode,
  "hostile": hostileNode,
};
/** The narrowest is that of WCAG 1.4.10: a desktop at 400 %. */
const WIDTHS = { narrow: 320, phone: 390, desktop: 1280 } as const;

async function screenshot(tab: Tab, name: string): Promise<void> {
  if (SCREENSHOTS !== undefined) await tab.screenshot(join(SCREENSHOTS, `${name}.png`));
}

const overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";

for (const [name, stageOf] of Object.entries(STAGES)) {
  Deno.test({
    name: `pages: a node (${name}) fits a phone and logs nothing to the console`,
    ignore: CHROMIUM === undefined,
    async fn() {
      const stage = stageOf();
      await using server = serve(stage);
      await using tab = await Tab.open();
      const first = stage.status.images[0]?.image;
      const paths = {
        node: "/",
        ...(first !== undefined && { image: `/images?ref=${encodeURIComponent(first)}` }),
      };
      for (const [page, path] of Object.entries(paths)) {
        for (const [size, width] of Object.entries(WIDTHS)) {
          for (const scheme of ["light", "dark"] as const) {
            await tab.size(width, 800);
            await tab.scheme(scheme);
            await tab.go(`${server.url}${path}`);
            equal(await tab.eval<number>(overflow), 0, `${page} ${size} is too wide`);
            ok(
              (await tab.eval<string>("document.querySelector('main > .summary').innerText"))
                .length > 10,
            );
            equal(await tab.eval<boolean>("document.getElementById('stale').hidden"), true);
            if (size !== "narrow") await screenshot(tab, `${name}-${page}-${size}-${scheme}`);
          }
        }
      }
      deepEqual(tab.messages, []);
    },
  });
}

Deno.test({
  name:
    "nodePage: refreshes itself, shows when the agent is not responding, and works without scripts",
  ignore: CHROMIUM === undefined,
  async fn() {
    const server = serve(oneImage());
    await using tab = await Tab.open();
    await tab.size(WIDTHS.desktop, 800);
    await tab.go(`${server.url}/`);
    const refresh = "document.dispatchEvent(new Event('visibilitychange')); " +
      "new Promise((done) => setTimeout(done, 700))";
    const title = () => tab.eval<string>("document.title");
    equal(await title(), "nydus-auth-agent: ok");
    const focused = () => tab.eval<string>("document.activeElement.outerHTML");
    const announcement = () =>
      tab.eval<string>("document.getElementById('announcement').textContent");
    // The page of an image has details.
    const image = server.stage.status.images[0]?.image ?? "";
    await tab.go(`${server.url}/images?ref=${encodeURIComponent(image)}`);
    await tab.eval("document.querySelector('details').open = true");
    for (const what of ["main a", "main summary"]) {
      await tab.eval(`document.querySelector('${what}').focus()`);
      const before = await focused();
      await tab.eval(refresh);
      equal(await focused(), before, "the focus is kept");
      equal(await tab.eval<boolean>("document.querySelector('details').open"), true);
    }
    equal(await announcement(), "", "an unchanged summary is not announced");
    await tab.go(server.url);
    server.stage = crowdedNode(5);
    await tab.eval(refresh);
    equal(await title(), "nydus-auth-agent: critical");
    ok((await announcement()).startsWith("critical: the credential of "), await announcement());
    equal(await tab.eval<boolean>("document.getElementById('stale').hidden"), true);
    deepEqual(tab.messages, []);
    await tab.scripts(false);
    await tab.go(`${server.url}/`);
    await tab.scripts(true);
    ok((await tab.eval<number>("document.querySelectorAll('tbody tr').length")) >= 5);
    await tab.go(`${server.url}/`);
    await server[Symbol.asyncDispose]();
    await tab.eval(refresh);
    equal(await tab.eval<boolean>("document.getElementById('stale').hidden"), false);
    await screenshot(tab, "stale");
  },
});

Deno.test({
  name: "pages: render markup in images and errors as text",
  ignore: CHROMIUM === undefined,
  async fn() {
    await using server = serve(hostileNode());
    await using tab = await Tab.open();
    for (const path of ["/", `/images?ref=${encodeURIComponent(HOSTILE)}`, "/images?ref=%3Cb%3E"]) {
      await tab.go(`${server.url}${path}`);
      equal(await tab.eval<number>("document.scripts.length"), 1, path);
      equal(await tab.eval<number>("document.querySelectorAll('img, b > *, iframe').length"), 0);
    }
    deepEqual(tab.messages.filter((text) => !text.includes("404")), []);
  },
});
