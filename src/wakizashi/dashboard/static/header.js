// The header: time, what the river stacks, live or paused, and the words about the data.

import { announce, at, el, put, say, toast } from "./dom.js";
import { ago, between, forInput } from "./format.js";
import { BYS, LASTS } from "./state.js";
import { theme } from "./theme.js";

export const KEYS = [
  [`1 – ${LASTS.length}`, `the last ${LASTS.join(", ")}`],
  ["b", "stack by pairs, services, probes"],
  ["p", "pause, live"],
  ["Esc", "give up the span"],
  ["/", "find a name or an address"],
  ["c", "copy a link to this view"],
  ["t", "dark or light"],
  ["?", "these keys"],
];

/** onTime({last} or {since, until}); onBy(by); onLive() */
export function createHeader({ onTime, onBy, onLive }) {
  at("range").append(
    ...LASTS.map((last) => el("button", { type: "button", "data-last": last, title: `The last ${last}`, text: last, on: { click: () => onTime({ last }) } })),
    el("button", { type: "button", id: "custom", text: "custom", "aria-haspopup": "dialog", on: { click: askTime } }),
  );
  at("by").append(...BYS.map((by) => el("button", { type: "button", "data-by": by, text: by, on: { click: () => onBy(by) } })));
  at("live").append(el("i", { "aria-hidden": "true" }), el("span"));
  at("live").addEventListener("click", onLive);
  at("keys").append(...KEYS.flatMap(([key, words]) => [el("dt", {}, el("kbd", { text: key })), el("dd", { text: words })]));
  at("help").addEventListener("click", () => at("help-dialog").showModal());

  const dialog = at("custom-dialog");
  let shown = { since: Date.now() - 900_000, until: Date.now() };
  function askTime() {
    at("custom-since").value = forInput(shown.since);
    at("custom-until").value = forInput(shown.until);
    at("custom-fault").textContent = "";
    dialog.showModal();
  }
  dialog.querySelector("[value=close]").addEventListener("click", () => dialog.close());
  dialog.querySelector("form").addEventListener("submit", (event) => {
    const since = new Date(at("custom-since").value).getTime();
    const until = new Date(at("custom-until").value).getTime();
    if (since < until) onTime({ since, until });
    else {
      event.preventDefault();
      at("custom-fault").textContent = "Since is not before until; choose an earlier since.";
    }
  });

  return {
    show(state, time) {
      shown = time ?? shown;
      for (const button of at("range").children) put(button, "aria-pressed", (button.dataset.last ?? "") === (state.last ?? "") ? "true" : "false");
      for (const button of at("by").children) put(button, "aria-pressed", button.dataset.by === state.by ? "true" : "false");
      const live = state.last !== null;
      at("live").firstElementChild.className = live ? "pause" : "play";
      say(at("live").lastElementChild, live ? "Pause" : "Live");
      put(at("live"), "title", live ? "Hold this view still (p)" : "Follow the present again (p)");
    },
  };
}

export async function share(state) {
  // A live view is copied as live, a fixed one as fixed: the address says which.
  try {
    await navigator.clipboard.writeText(location.href);
    toast(state.last === null ? "Link copied: this very time" : `Link copied: the last ${state.last}, live`);
  } catch {
    // Browsers give the clipboard to https and localhost only.
    toast("The browser keeps its clipboard closed here; copy the address from its bar");
  }
}

export function showThemeButton() {
  put(at("theme"), "title", theme() === "dark" ? "Change to light (t)" : "Change to dark (t)");
}

/** The words about the data. kind: wait | live | stale | fixed | error | refused. The clock in them is not announced. */
export function showStatus({ kind, last, now, time }) {
  const words = {
    wait: () => "waiting for data",
    live: () => `live, ${ago(now - last)}`,
    stale: () => (last ? `stale: last window ${ago(now - last)}` : "no window yet"),
    fixed: () => `fixed: ${between(time.since, time.until, now)}`,
    refused: () => "refused",
    error: () => (last ? `no answer; data of ${ago(now - last)}` : "no answer"),
  }[kind]();
  const node = at("status");
  say(node.lastElementChild, words);
  if (node.dataset.kind === kind) return;
  node.dataset.kind = kind;
  document.body.dataset.live = { wait: "live", error: "stale", refused: "stale", fixed: "fixed" }[kind] ?? kind;
  announce(words);
}
