// A picture's numbers as a real table: what screen readers get always, and anyone with the button
// "Table". The table is there either way; the button only changes which of the two is seen.

import { el, keyed, put, say } from "./dom.js";
import { count } from "./format.js";

/** The cell of a number: `text` as it reads, `value` exactly (its tip, and data-value). */
export const exact = (value, text) => ({ value, text });

/** head: [{text, number}]; rows: [{key, cells: [text, {text, go, label}, or exact()]}]; the first cell names the row. */
export function fillTable(table, { caption, head, rows }) {
  if (!table.tHead) table.append(el("caption"), el("thead", {}, el("tr")), el("tbody"));
  say(table.caption, caption);
  const texts = head.map((column) => column.text).join("\n");
  if (table.columnsNow !== texts) {
    table.columnsNow = texts;
    table.tHead.rows[0].replaceChildren(
      ...head.map((column) => el("th", { scope: "col", class: column.number ? "n" : null, text: column.text })),
    );
    // Other columns are another table: no row of the old one fits.
    table.tBodies[0].replaceChildren();
    table.tBodies[0].keyedChildren = new Map();
  }
  keyed(table.tBodies[0], rows, (row) => row.key,
    (row) => el("tr", {}, ...row.cells.map((_, index) =>
      index === 0 ? el("th", { scope: "row" }) : el("td", { class: head[index].number ? "n" : null }))),
    (node, row) => row.cells.forEach((cell, index) => fillCell(node.cells[index], cell)));
  reach(table.parentElement);
}

function fillCell(node, cell) {
  if (typeof cell === "string") {
    say(node, cell);
    return;
  }
  if (cell.value !== undefined) {
    say(node, cell.text);
    put(node, "data-value", cell.value);
    put(node, "title", count(cell.value));
    return;
  }
  if (!node.firstElementChild) {
    node.append(el("button", { class: "link", type: "button", on: { click: () => node.go() } }));
  }
  node.go = cell.go;
  say(node.firstElementChild, cell.text);
  put(node.firstElementChild, "title", cell.label);
}

// Who hears the page finds the buttons of an unseen table; the focus must not go where nobody sees it.
function reach(box) {
  const unseen = box.classList.contains("hush");
  for (const button of box.querySelectorAll("button")) put(button, "tabindex", unseen ? -1 : null);
}

/** Shows the table or the picture of a part. */
export function showAsTable(part, on) {
  part.classList.toggle("tabled", on);
  part.querySelector(".as-table").classList.toggle("hush", !on);
  put(part.querySelector(".as-table"), "tabindex", on ? 0 : -1);
  reach(part.querySelector(".as-table"));
  for (const picture of part.querySelectorAll(".picture, .ranges, .scale, .zoom")) picture.hidden = on;
  put(part.querySelector("[data-testid=as-table]"), "aria-pressed", on);
}
