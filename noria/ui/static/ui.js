// Without this script the page works: one reloads it by hand.
"use strict";
(() => {
  const main = document.querySelector("main[data-refresh]");
  const live = document.getElementById("live");
  // A second click sends the same command's id, which the inbox takes once; this only tells so.
  document.querySelectorAll("form[data-once]").forEach((form) => {
    form.addEventListener("submit", () => {
      form.querySelectorAll("button").forEach((button) => { button.setAttribute("aria-busy", "true"); });
    });
  });
  document.querySelectorAll(".models tbody tr").forEach((row) => { row.classList.add("js"); });
  if (!main || !live) return;
  live.parentElement.hidden = false;
  const seconds = Number(main.dataset.refresh) || 10;
  const busy = () => main.contains(document.activeElement) && document.activeElement !== main
    && /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  async function refresh() {
    if (!live.checked || document.hidden || busy()) return;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
      if (!fresh || busy()) return;
      const open = [...main.querySelectorAll("details")].map((one) => one.open);
      const focused = document.activeElement && main.contains(document.activeElement)
        ? document.activeElement.getAttribute("href") : null;
      main.replaceChildren(...fresh.childNodes);
      [...main.querySelectorAll("details")].forEach((one, at) => { one.open = open[at] || false; });
      if (focused) {
        const again = [...main.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused);
        if (again) again.focus({ preventScroll: true });
      }
    } catch { /* the next turn tries again */ }
  }
  setInterval(refresh, seconds * 1000);
})();
