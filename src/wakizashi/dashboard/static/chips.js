// What narrows the view, each with a way out of it.

import { at, el, keyed, put, say } from "./dom.js";
import { between } from "./format.js";
import { FILTERS } from "./state.js";

const WORDS = { probe: "probe", service: "service", host: "host", src: "source", dst: "destination" };

/** onRemove(name, value); onClearSpan(); onClearAll(); nameOf(address): a name if one is known. */
export function createChips({ onRemove, onClearSpan, onClearAll, nameOf }) {
  const box = at("chips");
  const list = el("span", { style: "display: contents" });
  const all = el("button", { id: "clear-all", class: "link", type: "button", text: "Clear all", on: { click: onClearAll } });
  box.append(list, all);

  function make(chip) {
    const remove = el("button", { type: "button", "data-testid": "chip-remove", on: { click: () => chip.remove() } }, el("span", { "aria-hidden": "true", text: "×" }));
    return el("span", { class: chip.kind === "span" ? "chip span" : "chip", "data-testid": "chip", "data-kind": chip.kind, "data-value": chip.value, id: chip.kind === "span" ? "chip-span" : null },
      el("em"), el("b"), remove);
  }

  return {
    show(state) {
      const chips = FILTERS.flatMap((name) => state.filters[name].map((value) => {
        const label = nameOf(value);
        return { kind: name, value, word: WORDS[name], text: label === value ? value : `${label} (${value})`, remove: () => onRemove(name, value) };
      }));
      if (state.from !== null) {
        chips.unshift({ kind: "span", value: "", word: "span", text: between(state.from, state.to), remove: onClearSpan });
      }
      box.hidden = chips.length === 0;
      all.hidden = chips.length < 2;
      keyed(list, chips, (chip) => `${chip.kind} ${chip.value}`, make, (node, chip) => {
        say(node.children[0], chip.word);
        say(node.children[1], chip.text);
        put(node.children[2], "aria-label", `Remove ${chip.word} ${chip.text}`);
      });
    },
  };
}
