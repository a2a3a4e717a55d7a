// Top talkers: the pairs of the span, as the server sorted and cut them. Rows are reused by pair, so
// that a refresh moves what moved and leaves a selection or the focus alone.

import { at, el, idly, keyed, put, say, svg } from "./dom.js";
import { bytes, count, countShort, many, percent, rate } from "./format.js";
import { css, pairKey, probeKey, serviceKey, variable } from "./palette.js";
import { MOST_ROWS } from "./state.js";

const SHOWN_PROBES = 2;
const AT_ONCE = 100; // rows made in one go; more would keep the page from answering
const COLUMNS = [
  { name: "mark", text: "" },
  { name: "src", text: "Source", sort: "src" },
  { name: "dst", text: "Destination", sort: "dst" },
  { name: "probes", text: "Probes" },
  { name: "bytes", text: "Bytes", sort: "bytes", number: true },
  { name: "packets", text: "Packets", sort: "packets", number: true },
  // Both are bytes, divided by what is the same for all: one order, which the column of bytes alone tells.
  { name: "rate", text: "Mean rate", sort: "bytes", number: true },
  { name: "share", text: "Share", sort: "bytes", number: true },
  { name: "spark", text: "Over time" },
];

/** onFilter({name: value}); onSort(sort, order); onMore() */
export function createTalkers({ onFilter, onSort, onMore }) {
  const table = at("talkers-table");
  let state = null;

  const head = el("tr", {}, ...COLUMNS.map(heading));
  const foot = el("tfoot", {}, el("tr", { class: "rest" }, ...COLUMNS.map(({ name, number }) => el("td", { class: `w-${name}${number ? " n" : ""}` }))));
  table.append(el("caption", { class: "hush", text: "Pairs of source and destination with the most traffic" }), el("thead", {}, head), el("tbody"), foot);
  foot.hidden = true;
  at("more").addEventListener("click", onMore);

  function heading({ name, text, sort, number }) {
    const kind = `w-${name}${number ? " n" : ""}`;
    if (!text) return el("td", { class: kind });
    if (!sort) return el("th", { scope: "col", class: kind, text });
    const run = () => {
      const natural = sort === "bytes" || sort === "packets" ? "desc" : "asc";
      const other = natural === "desc" ? "asc" : "desc";
      onSort(sort, state?.sort === sort && state.order === natural ? other : natural);
    };
    const own = name === sort;
    return el("th", { scope: "col", class: kind, "data-column": own ? sort : null },
      el("button", { class: "sort", type: "button", "data-sort": sort, title: own ? null : `Sort by ${sort}: the order is the same`, on: { click: run } },
        el("span", { text }), own ? el("i", { "aria-hidden": "true" }) : null));
  }

  function who(side) {
    return el("button", { class: "who", type: "button", "data-testid": side }, el("b"), el("small"));
  }

  function make() {
    const row = el("tr");
    const ends = [who("src"), who("dst")];
    ends[0].addEventListener("click", () => onFilter({ src: row.talker.srcIP }));
    ends[1].addEventListener("click", () => onFilter({ dst: row.talker.dstIP }));
    const spark = svg("svg", { class: "spark", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path"));
    row.append(
      el("td", { class: "w-mark" }, el("i", { class: "swatch" })),
      el("td", { class: "w-src" }, ends[0]), el("td", { class: "w-dst" }, ends[1]), el("td", { class: "w-probes" }),
      el("td", { class: "n w-bytes" }), el("td", { class: "n w-packets" }), el("td", { class: "n w-rate" }),
      el("td", { class: "w-share" }, el("div", { class: "bar" }, el("i", { "aria-hidden": "true" }), el("span"))),
      el("td", { class: "w-spark" }, spark),
    );
    return row;
  }

  function keyOf(talker) {
    if (state.by === "pairs") return pairKey(talker.srcIP, talker.dstIP);
    if (state.by === "probes") return talker.probes.length === 1 ? probeKey(talker.probes[0]) : "";
    const source = serviceKey(talker.src);
    return variable(source) ? source : serviceKey(talker.dst);
  }

  function end(button, label, address, side) {
    say(button.children[0], label);
    say(button.children[1], label === address ? "" : address);
    put(button, "title", `${label === address ? address : `${label} (${address})`}: filter by this ${side}`);
  }

  function update(row, talker) {
    row.talker = talker;
    put(row, "data-src", talker.srcIP);
    put(row, "data-dst", talker.dstIP);
    put(row, "data-bytes", talker.bytes);
    put(row, "data-packets", talker.packets);
    const [mark, src, dst, probes, size, packets, mean, share, spark] = row.cells;
    const tint = css(keyOf(talker));
    if (row.tint !== tint) {
      row.tint = tint;
      mark.firstElementChild.style.background = tint;
      row.style.setProperty("--tint", tint);
    }
    end(src.firstElementChild, talker.src, talker.srcIP, "source");
    end(dst.firstElementChild, talker.dst, talker.dstIP, "destination");
    const more = talker.probes.length - SHOWN_PROBES;
    say(probes, talker.probes.slice(0, SHOWN_PROBES).join(", ") + (more > 0 ? ` +${more}` : ""));
    put(probes, "title", talker.probes.join(", "));
    say(size, bytes(talker.bytes));
    say(packets, countShort(talker.packets));
    put(packets, "title", count(talker.packets));
    say(mean, rate(talker.rate));
    const [bar, words] = share.firstElementChild.children;
    bar.style.setProperty("--part", `${(talker.share * 100).toFixed(2)}%`);
    say(words, percent(talker.share));
    sparkline(spark.firstElementChild, talker.spark);
  }

  function sparkline(picture, values) {
    const most = Math.max(1, ...values);
    const steps = values.map((value, index) => `L${index} ${(24 - (22 * value) / most).toFixed(1)}H${index + 1}`).join("");
    put(picture, "viewBox", `0 0 ${Math.max(1, values.length)} 24`);
    put(picture.firstElementChild, "d", `M0 24${steps}V24Z`);
  }

  function fill(rows) {
    const body = table.tBodies[0];
    const now = rows.slice(0, body.rows.length + AT_ONCE);
    keyed(body, now, (row) => `${row.srcIP} ${row.dstIP}`, make, update);
    idly("talkers", () => { if (now.length < rows.length) fill(rows); });
  }

  return {
    show(talkers, view) {
      state = view;
      for (const cell of head.cells) {
        const on = cell.dataset.column === state.sort;
        put(cell, "aria-sort", on ? (state.order === "desc" ? "descending" : "ascending") : null);
      }
      fill(talkers.rows);
      const rest = talkers.other;
      foot.hidden = rest.count === 0;
      const cells = foot.rows[0].cells;
      say(cells[1], `other (${count(rest.count)})`);
      say(cells[4], bytes(rest.bytes));
      say(cells[5], countShort(rest.packets));
      const matching = count(talkers.matching);
      say(at("talkers-note"), talkers.rows.length === 0
        ? (state.find ? `nothing matches “${state.find}”` : "no pairs")
        : `${count(talkers.rows.length)} of ${state.find ? `${matching} that match` : many(talkers.matching, "pair")}`);
      at("more").hidden = rest.count === 0 || state.rows >= MOST_ROWS;
      say(at("more"), `Show more of ${matching}`);
    },
  };
}
