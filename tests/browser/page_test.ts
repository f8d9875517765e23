/**
 * The pages in a real browser: nothing in its console, nothing wider than a phone, the same with
 * scripts off. Ignored where there is no Chromium. With `PICTURES=<folder>` it leaves pictures.
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

const PICTURES = Deno.env.get("PICTURES");
const STAGES: Readonly<Record<string, () => Stage>> = {
  "none": emptyNode,
  "one": oneImage,
  "few": () => crowdedNode(7),
  "crowd": crowdedNode,
  "hostile": hostileNode,
};
/** The narrowest is that of WCAG 1.4.10: a desk at 400 %. */
const WIDTHS = { narrow: 320, phone: 390, desk: 1280 } as const;

async function picture(tab: Tab, name: string): Promise<void> {
  if (PICTURES !== undefined) await tab.picture(join(PICTURES, `${name}.png`));
}

const overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";

for (const [name, stageOf] of Object.entries(STAGES)) {
  Deno.test({
    name: `the pages of a node (${name}) fit a phone and leave the console empty`,
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
              (await tab.eval<string>("document.querySelector('main > .sentence').innerText"))
                .length > 10,
            );
            equal(await tab.eval<boolean>("document.getElementById('stale').hidden"), true);
            if (size !== "narrow") await picture(tab, `${name}-${page}-${size}-${scheme}`);
          }
        }
      }
      deepEqual(tab.complaints, []);
    },
  });
}

Deno.test({
  name: "a page renews itself, says when the agent is gone, and works with scripts off",
  ignore: CHROMIUM === undefined,
  async fn() {
    const server = serve(oneImage());
    await using tab = await Tab.open();
    await tab.size(WIDTHS.desk, 800);
    await tab.go(`${server.url}/`);
    const turn = "document.dispatchEvent(new Event('visibilitychange')); " +
      "new Promise((done) => setTimeout(done, 700))";
    const title = () => tab.eval<string>("document.title");
    equal(await title(), "nydus-auth-agent: ok");
    const focused = () => tab.eval<string>("document.activeElement.outerHTML");
    const news = () => tab.eval<string>("document.getElementById('news').textContent");
    await tab.eval("document.querySelector('details').open = true");
    for (const what of ["main a", "main summary"]) {
      await tab.eval(`document.querySelector('${what}').focus()`);
      const before = await focused();
      await tab.eval(turn);
      equal(await focused(), before, "the focus stays");
      equal(await tab.eval<boolean>("document.querySelector('details').open"), true);
    }
    equal(await news(), "", "nothing else is said: whoever listens is left alone");
    server.stage = crowdedNode(5);
    await tab.eval(turn);
    equal(await title(), "nydus-auth-agent: critical");
    ok((await news()).startsWith("critical: the credential of "), await news());
    equal(await tab.eval<boolean>("document.getElementById('stale').hidden"), true);
    deepEqual(tab.complaints, []);
    await tab.scripts(false);
    await tab.go(`${server.url}/`);
    await tab.scripts(true);
    ok((await tab.eval<number>("document.querySelectorAll('tbody tr').length")) >= 5);
    await tab.go(`${server.url}/`);
    await server[Symbol.asyncDispose]();
    await tab.eval(turn);
    equal(await tab.eval<boolean>("document.getElementById('stale').hidden"), false);
    await picture(tab, "stale");
  },
});

Deno.test({
  name: "markup in names and errors stays text",
  ignore: CHROMIUM === undefined,
  async fn() {
    await using server = serve(hostileNode());
    await using tab = await Tab.open();
    for (const path of ["/", `/images?ref=${encodeURIComponent(HOSTILE)}`, "/images?ref=%3Cb%3E"]) {
      await tab.go(`${server.url}${path}`);
      equal(await tab.eval<number>("document.scripts.length"), 1, path);
      equal(await tab.eval<number>("document.querySelectorAll('img, b > *, iframe').length"), 0);
    }
    deepEqual(tab.complaints.filter((text) => !text.includes("404")), []);
  },
});
