// Which probe saw which peer: a row for each peer, a column for each probe, ink by the logarithm of the
// bytes. This is what it holds and how hands move in it; painter.js draws it.

import { hideTip, savePng, showTip } from "./chart.js";
import { announce, at, el, idly, put, say } from "./dom.js";
import { between, bytes, count, many } from "./format.js";
import { createPainter } from "./painter.js";
import { createRamp } from "./ramp.js";
import { exact, fillTable } from "./tables.js";
import { onTheme } from "./theme.js";

const HEIGHTS = [2, 4, 7, 11, 17, 24]; // pixels of a row; labels from 11 on
const READABLE = 4;
const TABLE_ROWS = 300;

/** onFilter({name: value}) */
export function createMatrix({ onFilter }) {
  const box = at("matrix-chart");
  let data = null;
  let cells = new Map(); // peer index -> Map(probe index -> [bytes, packets])
  let zoom = READABLE;
  let here = null; // {peer, probe}: under the pointer or the keys
  let ramp = createRamp(1, 10);
  let drawing = false;
  const painter = createPainter(box, () => ({ peers: peers(), probes: probes(), cells, here, ramp, row: HEIGHTS[zoom] }));
  const { layout } = painter;

  const peers = () => data?.matrix.peers ?? [];
  const probes = () => data?.matrix.probes ?? [];

  function redraw() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      if (data && box.clientWidth) painter.paint();
    });
  }

  function cellAt(event) {
    const plan = layout();
    const edge = box.getBoundingClientRect();
    const x = event.clientX - edge.left - plan.left;
    const y = event.clientY - edge.top - plan.top;
    const probe = Math.floor((x + box.scrollLeft) / plan.column);
    const peer = Math.floor((y + box.scrollTop) / plan.row);
    const onCells = x >= 0 && y >= 0 && probe < probes().length && peer < peers().length;
    return onCells ? { peer, probe } : null;
  }

  function words(cell) {
    const [size, packets] = cells.get(cell.peer)?.get(cell.probe) ?? [0, 0];
    return size ? `${bytes(size)}, ${count(packets)} packets` : "nothing";
  }

  function tip(cell, x, y) {
    const peer = peers()[cell.peer];
    showTip(x, y, ...[
      el("h3", { text: peer.label }),
      peer.address && peer.address !== peer.label ? el("p", { class: "late", text: peer.address }) : null,
      el("p", { class: "late", text: `seen by ${probes()[cell.probe].name}` }),
      el("p", { text: words(cell) }),
    ].filter(Boolean));
  }

  function filter(cell) {
    const peer = peers()[cell.peer];
    const wanted = { probe: probes()[cell.probe].name };
    if (peer.address !== null) wanted.host = peer.address;
    onFilter(wanted);
  }

  box.addEventListener("pointermove", (event) => {
    here = cellAt(event);
    box.style.cursor = here ? "pointer" : "";
    if (here) tip(here, event.clientX, event.clientY);
    else hideTip();
    redraw();
  });
  const leave = () => {
    here = null;
    hideTip();
    redraw();
  };
  box.addEventListener("pointerleave", leave);
  box.addEventListener("blur", leave);
  box.addEventListener("click", (event) => {
    const cell = cellAt(event);
    if (cell) filter(cell);
  });
  box.addEventListener("scroll", redraw, { passive: true });
  box.addEventListener("keydown", (event) => {
    if (!peers().length || !probes().length || event.ctrlKey || event.metaKey) return;
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-20, 0], PageDown: [20, 0] }[event.key];
    if (event.key === "Enter" && here) filter(here);
    else if (move) {
      const from = here ?? { peer: -Math.max(0, move[0]), probe: -Math.max(0, move[1]) };
      here = {
        peer: Math.min(peers().length - 1, Math.max(0, from.peer + move[0])),
        probe: Math.min(probes().length - 1, Math.max(0, from.probe + move[1])),
      };
      reveal();
    } else return;
    event.preventDefault();
  });

  function reveal() {
    const plan = layout();
    const [x, y] = [here.probe * plan.column, here.peer * plan.row];
    const [seenX, seenY] = [box.clientWidth - plan.left - plan.column, box.clientHeight - plan.top - plan.row];
    box.scrollLeft = Math.min(x, Math.max(box.scrollLeft, x - seenX));
    box.scrollTop = Math.min(y, Math.max(box.scrollTop, y - seenY));
    const edge = box.getBoundingClientRect();
    tip(here, edge.left + plan.left + x - box.scrollLeft + plan.column / 2, edge.top + plan.top + y - box.scrollTop);
    announce(`${peers()[here.peer].label}, probe ${probes()[here.probe].name}: ${words(here)}`);
    redraw();
  }

  function resize(by) {
    zoom = Math.min(HEIGHTS.length - 1, Math.max(0, zoom + by));
    at("matrix-out").disabled = zoom === 0;
    at("matrix-in").disabled = zoom === HEIGHTS.length - 1;
    redraw();
  }
  at("matrix-in").addEventListener("click", () => resize(1));
  at("matrix-out").addEventListener("click", () => resize(-1));
  const watch = new ResizeObserver(redraw);
  for (const node of [box, box.parentElement]) watch.observe(node);
  onTheme(() => {
    if (data) ramp = createRamp(ramp.least, ramp.most);
    redraw();
  });

  function table() {
    const all = data.matrix.cells;
    const seen = all.slice(0, TABLE_ROWS);
    const more = all.length - seen.length;
    fillTable(at("matrix-table"), {
      caption: `What each probe saw of each peer, ${between(data.since, data.until, data.now)}` +
        (more > 0 ? `; the first ${count(seen.length)} of ${count(all.length)}: filter for others` : ""),
      head: [{ text: "Peer" }, { text: "Probe" }, { text: "Bytes", number: true }, { text: "Packets", number: true }],
      rows: seen.map(([probe, peer, size, packets]) => {
        const { address, label } = peers()[peer];
        const { name } = probes()[probe];
        return {
          key: `${address} ${name}`,
          cells: [
            address === null ? label : { text: label, label: `Filter: host ${address}`, go: () => onFilter({ host: address }) },
            { text: name, label: `Filter: probe ${name}`, go: () => onFilter({ probe: name }) }, exact(size, bytes(size)), exact(packets, count(packets)),
          ],
        };
      }),
    });
  }

  return {
    show(answer) {
      data = answer;
      cells = new Map();
      let [least, most] = [Infinity, 0];
      for (const [probe, peer, size, packets] of data.matrix.cells) {
        if (!cells.has(peer)) cells.set(peer, new Map());
        cells.get(peer).set(probe, [size, packets]);
        if (size > 0) least = Math.min(least, size);
        most = Math.max(most, size);
      }
      ramp = createRamp(Number.isFinite(least) ? least : 1, most || 10);
      if (here && (here.peer >= peers().length || here.probe >= probes().length)) here = null;
      at("matrix-scale").toggleAttribute("data-none", !data.matrix.cells.length);
      at("matrix-ramp").replaceChildren(el("span", { text: bytes(ramp.least) }), el("i"), el("span", { text: bytes(ramp.most) }), el("span", { text: "log scale" }));
      say(at("matrix-note"), `${many(peers().length, "peer")}, ${many(probes().length, "probe")}`);
      put(box, "aria-label", `Bytes of ${many(peers().length, "peer")} by ${many(probes().length, "probe")}; arrow keys move between cells, Enter filters`);
      redraw();
      idly("matrix table", table);
    },
    save(line) {
      if (!data) return;
      savePng({ name: "wakizashi-matrix", title: "Peers by probe", line: `${between(data.since, data.until, 0)}${line}`, canvas: painter.whole() });
    },
  };
}
