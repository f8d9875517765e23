import { hashOf } from "./style.ts";

/**
 * Replaces the page's main part by a newer one every ten seconds, as long as somebody looks, and
 * says so when the agent does not answer: an old page must not pass for a new one. It keeps the
 * focus, waits while text is selected, and leaves every decision to the server.
 */
export const REFRESH = `
(() => {
  const live = document.getElementById("live");
  const stale = document.getElementById("stale");
  live.parentElement.hidden = false;
  const turn = async () => {
    if (!live.checked || document.hidden || String(getSelection()) !== "") return;
    try {
      const signal = AbortSignal.timeout(8000);
      const answer = await fetch(location.href, { signal, headers: { accept: "text/html" } });
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = next.querySelector("main");
      if (main === null) throw new Error("no page");
      const href = document.activeElement?.getAttribute("href");
      document.querySelector("main").replaceWith(main);
      document.title = next.title;
      const icon = next.querySelector("link[rel=icon]").getAttribute("href");
      const shown = document.querySelector("link[rel=icon]");
      if (shown.getAttribute("href") !== icon) shown.setAttribute("href", icon);
      if (href) {
        const links = [...document.querySelectorAll("main a")];
        links.find((a) => a.getAttribute("href") === href)?.focus({ preventScroll: true });
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
