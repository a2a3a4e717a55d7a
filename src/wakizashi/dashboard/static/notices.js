// What the page says when it has no traffic to show, or cannot get it: the cause, and what to do.

import { at, el } from "./dom.js";
import { length, moment } from "./format.js";
import { filtered } from "./state.js";

let shownBanner = "";

/** The banner, rebuilt only when it says something else: an alert that changes is read out again. */
function banner(kind, parts, key) {
  const node = at("banner");
  if (shownBanner === key) return;
  shownBanner = key;
  node.hidden = !key;
  node.dataset.kind = kind;
  node.replaceChildren(...parts);
}

export function showError(fault, { retryAt, onRetry, onReset, hasData }) {
  const words = el("p", {}, el("b", { text: fault.lasting ? "The server refuses this view: " : "No answer: " }), fault.message, hasData ? el("span", { class: "before", text: " – what you see is from before" }) : "");
  const button = fault.lasting
    ? el("button", { id: "retry", class: "button small", type: "button", text: "Start from the usual view", on: { click: onReset } })
    : el("button", { id: "retry", class: "button small", type: "button", text: "Retry now", on: { click: onRetry } });
  banner("error", [words, el("span", { id: "countdown", class: "hint", "aria-hidden": "true" }), button], `error ${fault.message} ${hasData}`);
  countdown(retryAt);
}

export function countdown(retryAt) {
  const node = at("countdown");
  if (node) node.textContent = retryAt ? `again in ${Math.max(0, Math.ceil((retryAt - Date.now()) / 1000))} s` : "";
}

export function showStale(fleet, last, now) {
  const names = fleet.probes.length === 1 ? `The probe ${fleet.probes[0].name} has` : `None of the ${fleet.probes.length} probes has`;
  banner("stale", [
    el("p", {}, el("b", { text: "Nothing new. " }),
      `${names} delivered ${fleet.probes.length === 1 ? "nothing " : ""}since ${moment(last, now)}. Is the center up, and can the probes reach it? On a probe's host, `,
      el("code", { text: "wakizashi doctor" }), " looks at the whole way."),
    el("a", { class: "button small", href: "#fleet", text: "See the fleet" }),
  ], `stale ${last} ${fleet.probes.length}`);
}

export function clearBanner() {
  banner("", [], "");
}

/** Nothing in this time; `actions`: [[text, run]]. */
export function showEmpty(state, time, { onLonger, onClear, onWhole }) {
  const narrowed = filtered(state);
  at("empty-title").textContent = narrowed ? "Nothing matches these filters" : "No traffic in this time";
  at("empty-text").textContent = narrowed
    ? "No window of this time has a record that fits all of them. Remove one, or choose a longer time."
    : `No window of any probe in ${state.last ? `the last ${length(time.until - time.since)}` : "this time"}. Start a probe (on a Linux host, as root: probe), or choose a longer time.`;
  const actions = [];
  if (narrowed) actions.push(["Remove all filters", onClear]);
  if (state.from !== null) actions.push(["Give up the span", onWhole]);
  if (state.last !== "30d") actions.push(["Look further back", onLonger]);
  const key = actions.map(([text]) => text).join();
  if (at("empty-actions").dataset.key === key) return;
  at("empty-actions").dataset.key = key;
  at("empty-actions").replaceChildren(...actions.map(([text, run], index) => el("button", { class: index ? "button" : "button strong", type: "button", text, on: { click: run } })));
}

