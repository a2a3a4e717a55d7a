// Shortcuts: single letters, never while something is typed or a dialog is open.

import { LASTS } from "./state.js";

const TYPED = "input:not([type=range]), textarea, select, [contenteditable]";

/** do: what each key means. */
export function onKeys(run) {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.target.closest?.(TYPED)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const last = event.key.length === 1 ? "123456789".slice(0, LASTS.length).indexOf(event.key) : -1;
    const action = { b: run.by, p: run.live, "/": run.find, c: run.share, t: run.theme, "?": run.help, Escape: run.whole }[event.key];
    if (last >= 0) run.last(last);
    else if (action) action();
    else return;
    event.preventDefault();
  });
}
