// The health of the fleet: each probe's word, its last window, and what became of the bytes that its
// devices counted. A state is an icon and a word, never a colour alone.

import { at, el, keyed, put, say, svg } from "./dom.js";
import { ago, bytes, count, length, many, moment, percent } from "./format.js";

const ICONS = {
  ok: "M2.5 7.500l3 3 6-7",
  late: "M7 3.500V7l2.500 1.500M7 1.200a5.800 5.800 0 110 11.600A5.800 5.800 0 017 1.200z",
  silent: "M2.500 2.500l9 9M11.500 2.500l-9 9",
};
const COLUMNS = [
  { text: "Probe" }, { text: "Status" }, { text: "Last window" }, { text: "Lag", number: true, opt: true }, { text: "Windows", number: true, opt: true },
  { text: "Missing", number: true }, { text: "On the wire", number: true, opt: true }, { text: "Dropped", number: true, opt: true },
  { text: "Lost", number: true }, { text: "Coverage", kind: "w-coverage" },
];

const kindOf = ({ number, opt, kind }) => [number ? "n" : "", opt ? "opt" : "", kind ?? ""].filter(Boolean).join(" ") || null;

/** onFilter({probe: name}) */
export function createFleet({ onFilter }) {
  const table = at("fleet-table");
  const open = new Set();
  let last = null;
  table.append(
    el("caption", { class: "hush", text: "Probes: status, last window, and what became of their bytes" }),
    el("thead", {}, el("tr", {}, ...COLUMNS.map((column) => el("th", { scope: "col", class: kindOf(column), text: column.text })))),
    el("tbody"),
  );

  function lines(fleet) {
    return fleet.probes.flatMap((probe) => [
      { key: `p ${probe.name}`, probe, sums: probe },
      ...(open.has(probe.name) ? probe.devices.map((device) => ({ key: `d ${probe.name} ${device.name}`, probe, device, sums: device })) : []),
    ]);
  }

  function make({ device }) {
    const row = el("tr", { class: device ? "device" : null });
    row.append(...COLUMNS.map((column, index) => el(index ? "td" : "th", { scope: index ? null : "row", class: kindOf(column) })));
    row.lastElementChild.append(el("div", { class: "bar" }, el("i", { "aria-hidden": "true" }), el("span")));
    if (device) return row;
    const fold = el("button", { class: "fold", type: "button" }, el("i", { "aria-hidden": "true" }));
    fold.addEventListener("click", () => {
      const { name } = row.line.probe;
      if (!open.delete(name)) open.add(name);
      show(last);
    });
    const name = el("button", { class: "who", type: "button", on: { click: () => onFilter({ probe: row.line.probe.name }) } }, el("b"));
    row.cells[0].append(fold, name);
    row.cells[1].append(el("span", { class: "word" }, svg("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, svg("path")), el("span")));
    row.cells[2].append(el("time", {}, el("span", { class: "opt" }), el("span")));
    return row;
  }

  function hot(cell, value, text) {
    say(cell, text);
    cell.classList.toggle("hot", value > 0);
  }

  function update(row, line) {
    row.line = line;
    const { probe, device, sums } = line;
    const cells = row.cells;
    if (device) say(cells[0], device.name);
    else {
      put(row, "data-probe", probe.name);
      put(row, "data-status", probe.status);
      const [fold, name] = cells[0].children;
      const word = cells[1].firstElementChild;
      say(name.firstElementChild, probe.name);
      put(name, "title", `${probe.name}: show only what it saw`);
      put(fold, "aria-label", `Devices of ${probe.name}`);
      put(fold, "aria-expanded", open.has(probe.name) ? "true" : "false");
      put(fold, "title", many(probe.devices.length, "device"));
      put(word, "data-status", probe.status);
      put(word.querySelector("path"), "d", ICONS[probe.status] ?? ICONS.silent);
      say(word.lastElementChild, probe.status);
      const time = cells[2].firstElementChild;
      say(time.firstElementChild, `${moment(probe.last, last.now)}, `);
      say(time.lastElementChild, ago(last.now - probe.last));
      put(time, "datetime", new Date(probe.last).toISOString());
      say(cells[3], length(probe.lag));
      hot(cells[5], probe.missing, count(probe.missing));
    }
    if (device) hot(cells[5], sums.missing ?? 0, count(sums.missing ?? 0));
    say(cells[4], count(sums.windows));
    say(cells[6], bytes(sums.device.bytes));
    hot(cells[7], amount(sums.dropped), shown(sums.dropped));
    hot(cells[8], amount(sums.lost), shown(sums.lost));
    const share = sums.coverage ?? null;
    const [bar, words] = cells[9].firstElementChild.children;
    bar.style.setProperty("--part", `${((share ?? 0) * 100).toFixed(2)}%`);
    bar.style.setProperty("--tint", share !== null && share < 0.99 ? "var(--bad)" : "var(--good)");
    say(words, percent(share, 2));
  }

  // The kernel's drops are packets whose size nobody knows, where an engine cannot tell.
  function amount(tally) {
    return tally.bytes || tally.packets;
  }
  function shown(tally) {
    if (!tally.bytes && tally.packets) return `${count(tally.packets)} packets`;
    return tally.bytes ? bytes(tally.bytes) : "0";
  }

  function show(fleet) {
    last = fleet;
    keyed(table.tBodies[0], lines(fleet), (line) => line.key, make, update);
    table.hidden = fleet.probes.length === 0;
    say(at("fleet-note"), fleet.probes.length ? many(fleet.probes.length, "probe") : "no probe has delivered in this time");
  }

  return { show };
}
