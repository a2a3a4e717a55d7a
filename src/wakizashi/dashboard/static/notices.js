// What the page says when it has no traffic to show, cannot get it, or was asked for what makes no sense:
// the cause, and what to do.

import { at, el } from "./dom.js";
import { between, count, length, moment } from "./format.js";
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

const MOST_FAULTS = 5;
const MOST_TEXT = 60; // characters of a name or value that a stranger may have written

function cut(text) {
  const all = [...text];
  return all.length > MOST_TEXT ? `${all.slice(0, MOST_TEXT - 1).join("")}…` : text;
}

/** What the address says wrong, and the view that is shown for it; none: takes it back. A banner of its own, below the errors. */
export function showFaults(faults, view) {
  const node = at("address-faults");
  node.hidden = faults.length === 0;
  if (node.hidden) {
    node.replaceChildren();
    return;
  }
  const words = faults.slice(0, MOST_FAULTS).flatMap(({ name, value, told }) =>
    [el("code", { text: value === null ? cut(name) : `${cut(name)}=${cut(String(value))}` }), ` ${told}${told.endsWith("?") ? "" : "."} `]);
  if (faults.length > MOST_FAULTS) words.push(`And ${count(faults.length - MOST_FAULTS)} more. `);
  const close = () => {
    showFaults([], view);
    at("main").focus({ preventScroll: true }); // the button that had it is gone
  };
  node.replaceChildren(
    el("p", {}, el("b", { text: "This address is not right: " }), ...words, `Shown is ${instead(faults, view)}.`),
    el("button", { id: "address-dismiss", class: "button small", type: "button", text: "Dismiss", on: { click: close } }),
  );
}

function instead(faults, view) {
  const wrong = (...names) => faults.some(({ name }) => names.includes(name));
  return [
    wrong("last", "since", "until") && (view.last === null ? between(view.since, view.until) : `the last ${cut(view.last)}`),
    wrong("from", "to") && (view.from === null ? "no part of it alone" : `of it ${between(view.from, view.to)}`),
    wrong("by") && `stacked by ${view.by}`,
    wrong("sort", "order") && `sorted by ${view.sort}, ${view.order === "desc" ? "descending" : "ascending"}`,
    wrong("rows") && `up to ${count(view.rows)} rows`,
  ].filter(Boolean).join(", ") || "what else it says";
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

