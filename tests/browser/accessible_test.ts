/**
 * Checks the pages in a browser for WCAG 2.2 AA: contrast, keyboard navigation, and the
 * accessibility tree. Ignored without Chromium.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { crowdedNode, hostileNode, oneImage } from "../unit/observability/page/nodes.ts";
import { CHROMIUM, Tab } from "./chromium.ts";
import { serve } from "./served.ts";

const ignore = CHROMIUM === undefined;
const imagePath = (stage: ReturnType<typeof oneImage>) =>
  `/images?ref=${encodeURIComponent(stage.status.images[0]?.image ?? "")}`;

/** Returns each visible text with its contrast: `[ratio, required, text]`. */
const CONTRASTS = `(() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const part = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) =>
    0.2126 * part(r / 255) + 0.7152 * part(g / 255) + 0.0722 * part(b / 255);
  const backgroundOf = (element) => {
    for (let each = element; each !== null; each = each.parentElement) {
      const [r, g, b, a = 1] = rgb(getComputedStyle(each).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    const text = walk.currentNode.textContent.trim();
    if (text === "" || !element.checkVisibility() || element.closest("script, style")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgb(style.color)), light(backgroundOf(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const px = parseFloat(style.fontSize);
    const large = px >= 24 || (px >= 18.66 && Number(style.fontWeight) >= 700);
    found.push([ratio, large ? 3 : 4.5, text.slice(0, 60)]);
  }
  return found;
})()`;

Deno.test({
  name: "pages: every text has the contrast of WCAG AA, in light and dark mode",
  ignore,
  async fn() {
    await using tab = await Tab.open();
    for (const stage of [crowdedNode(12), hostileNode()]) {
      await using server = serve(stage);
      for (const path of ["/", imagePath(stage), "/images?ref=nginx"]) {
        for (const scheme of ["light", "dark"] as const) {
          await tab.scheme(scheme);
          await tab.go(`${server.url}${path}`);
          await tab.eval(
            "document.querySelectorAll('details').forEach((each) => each.open = true)",
          );
          await tab.eval("document.getElementById('stale').hidden = false");
          const texts = await tab.eval<[number, number, string][]>(CONTRASTS);
          ok(texts.length > 5, path);
          deepEqual(texts.filter(([ratio, required]) => ratio < required), [], `${path} ${scheme}`);
        }
      }
    }
  },
});

Deno.test({
  name: "nodePage: Tab reaches every control in order, with a visible focus",
  ignore,
  async fn() {
    await using tab = await Tab.open();
    await using server = serve(crowdedNode(12));
    await tab.go(`${server.url}/`);
    const controls = "[...document.querySelectorAll('a, input, select, button, summary')]";
    const count = await tab.eval<number>(`${controls}.length`);
    ok(count > 16);
    const key = { key: "Tab", code: "Tab", windowsVirtualKeyCode: 9 };
    for (let i = 0; i < count; i++) {
      await tab.send("Input.dispatchKeyEvent", { type: "keyDown", ...key });
      await tab.send("Input.dispatchKeyEvent", { type: "keyUp", ...key });
      equal(await tab.eval<number>(`${controls}.indexOf(document.activeElement)`), i);
      const isFocusVisible = "(() => { const { outlineStyle, outlineWidth } = " +
        "getComputedStyle(document.activeElement); " +
        "return outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2; })()";
      equal(await tab.eval<boolean>(isFocusVisible), true, `control ${i}`);
    }
  },
});

interface AxNode {
  readonly nodeId: string;
  readonly ignored: boolean;
  readonly role: { readonly value: string };
  readonly name?: { readonly value: string };
  readonly childIds?: readonly string[];
  readonly properties?: readonly { readonly name: string; readonly value: { value: unknown } }[];
}

Deno.test({
  name: "pages: have landmarks, ordered headings, and names for tables, links and images",
  ignore,
  async fn() {
    await using tab = await Tab.open();
    const stage = crowdedNode(12);
    await using server = serve(stage);
    for (const width of [390, 1280]) {
      await tab.size(width, 900);
      for (const path of ["/", imagePath(stage)]) {
        await tab.go(`${server.url}${path}`);
        const { result } = await tab.send("Accessibility.getFullAXTree") as unknown as {
          result: { nodes: AxNode[] };
        };
        const nodes = result.nodes.filter(({ ignored }) => !ignored);
        const of = (role: string) => nodes.filter((node) => node.role.value === role);
        const names = (role: string) => of(role).map(({ name }) => name?.value ?? "");
        for (const role of ["banner", "main"]) equal(of(role).length, 1, role);
        equal(of("status").length, 1);
        const levels = of("heading").map(({ properties = [] }) =>
          properties.find(({ name }) => name === "level")?.value.value as number
        );
        deepEqual([levels[0], levels.slice(1).filter((level) => level !== 2)], [1, []]);
        for (
          const role of [
            "table",
            "link",
            "image",
            "checkbox",
            "textbox",
            "combobox",
            "columnheader",
          ]
        ) {
          deepEqual(
            names(role).filter((name) => name === ""),
            [],
            `${path}: a ${role} has no name`,
          );
        }
        ok(of("table").length >= 3 && of("image").length > 0);
        // Each body row has a header cell.
        ok(of("rowheader").length >= 3);
        equal(of("rowheader").length + of("table").length, of("row").length, `${path} ${width}`);
      }
    }
  },
});
