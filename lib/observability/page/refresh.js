/**
 * The only script of the pages. It replaces the main part every ten seconds while the page is
 * visible, and shows when the agent does not respond. It keeps the focus and open details, pauses
 * while text is selected or the filter has the focus, and announces the summary to screen readers
 * only if more than its numbers has changed. Pages without a summary are not refreshed.
 */
(() => {
  const live = document.getElementById("live");
  const stale = document.getElementById("stale");
  const announcement = document.getElementById("announcement");
  if (document.querySelector("main > .summary") === null) return;
  live.parentElement.hidden = false;
  const summaryOf = (root) => root.querySelector(".summary").textContent;
  const signature = (root) => summaryOf(root).replace(/[0-9.]+(?:ms|[dhms]|(?![a-z]))/g, "0");
  const keyOf = (element) =>
    element?.getAttribute("href") ??
      (element?.tagName === "SUMMARY" ? element.parentElement.id : null);
  const refresh = async () => {
    if (!live.checked || document.hidden || String(getSelection()) !== "") return;
    if (document.activeElement?.form) return;
    try {
      const signal = AbortSignal.timeout(8000);
      const response = await fetch(location.href, { signal, headers: { accept: "text/html" } });
      const next = new DOMParser().parseFromString(await response.text(), "text/html");
      const main = next.querySelector("main");
      if (main === null) throw new Error("no page");
      const old = document.querySelector("main");
      const focused = keyOf(document.activeElement);
      const open = [...old.querySelectorAll("details[open]")].map(({ id }) => id);
      const isChanged = signature(old) !== signature(main);
      for (const details of main.querySelectorAll("details")) {
        details.open = open.includes(details.id);
      }
      old.replaceWith(main);
      if (isChanged) announcement.textContent = summaryOf(main);
      document.title = next.title;
      const icon = next.querySelector("link[rel=icon]").getAttribute("href");
      const current = document.querySelector("link[rel=icon]");
      if (current.getAttribute("href") !== icon) current.setAttribute("href", icon);
      if (focused) {
        const all = [...main.querySelectorAll("a, summary")];
        all.find((element) => keyOf(element) === focused)?.focus({ preventScroll: true });
      }
      stale.hidden = true;
    } catch {
      stale.hidden = false;
    }
  };
  setInterval(refresh, 10000);
  document.addEventListener("visibilitychange", refresh);
})();
