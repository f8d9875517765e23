import { hashOf } from "./style.ts";

/**
 * Replaces the page's main part by a newer one every ten seconds, as long as somebody looks, and
 * says so when the agent does not answer: an old page must not pass for a new one. It keeps the
 * focus and what is unfolded, waits while text is selected, and leaves every decision to the
 * server. Those who hear the page are told when the sentence says something else, not at every new
 * number.
 */
export const REFRESH = `
(() => {
  const live = document.getElementById("live");
  const stale = document.getElementById("stale");
  const news = document.getElementById("news");
  live.parentElement.hidden = false;
  const sentenceOf = (root) => root.querySelector(".sentence").textContent;
  const shape = (root) => sentenceOf(root).replace(/[0-9.]+(?:ms|[dhms]|(?![a-z]))/g, "0");
  const keyOf = (each) =>
    each?.getAttribute("href") ?? (each?.tagName === "SUMMARY" ? each.parentElement.id : null);
  const turn = async () => {
    if (!live.checked || document.hidden || String(getSelection()) !== "") return;
    try {
      const signal = AbortSignal.timeout(8000);
      const answer = await fetch(location.href, { signal, headers: { accept: "text/html" } });
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = next.querySelector("main");
      if (main === null) throw new Error("no page");
      const old = document.querySelector("main");
      const focused = keyOf(document.activeElement);
      const open = [...old.querySelectorAll("details[open]")].map((each) => each.id);
      const isNews = shape(old) !== shape(main);
      for (const each of main.querySelectorAll("details")) each.open = open.includes(each.id);
      old.replaceWith(main);
      if (isNews) news.textContent = sentenceOf(main);
      document.title = next.title;
      const icon = next.querySelector("link[rel=icon]").getAttribute("href");
      const shown = document.querySelector("link[rel=icon]");
      if (shown.getAttribute("href") !== icon) shown.setAttribute("href", icon);
      if (focused) {
        const all = [...main.querySelectorAll("a, summary")];
        all.find((each) => keyOf(each) === focused)?.focus({ preventScroll: true });
      }
      stale.hidden = true;
    } catch {
      stale.hidden = false;
    }
  };
  setInterval(turn, 10000);
  document.addEventListener("visibilitychange", turn);
})();
`;

/** The only script that the page's Content-Security-Policy lets pass. */
export const REFRESH_HASH = hashOf(REFRESH);
