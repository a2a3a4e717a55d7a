// Which probe saw which peer: a row for each peer, a column for each probe, ink by the logarithm of the
// bytes. Drawn on a canvas of the size of its window, only what is in sight: hundreds of peers by a
// hundred probes are 30,000 cells, which as elements or as a chart's items take seconds. Names stay at
// the edges while the cells scroll; where cells have room the bytes stand in them.

import { fit, fontOf, hideTip, savePng, showTip } from "./chart.js";
import { announce, at, el, idly, put, say } from "./dom.js";
import { between, bytes, count } from "./format.js";
import { probeKey, variable } from "./palette.js";
import { createRamp } from "./ramp.js";
import { fillTable } from "./tables.js";
import { colour, onTheme } from "./theme.js";

const HEIGHTS = [2, 4, 7, 11, 17, 24]; // pixels of a row; labels from 11 on
const READABLE = 4;
const TABLE_ROWS = 300;
const LARGEST = 6000; // pixels of a saved picture

/** onFilter({name: value}) */
export function createMatrix({ onFilter }) {
  const box = at("matrix-chart");
  const canvas = box.querySelector("canvas");
  const extent = box.querySelector(".extent");
  let data = null;
  let cells = new Map(); // peer index -> Map(probe index -> [bytes, packets])
  let zoom = READABLE;
  let here = null; // {peer, probe}: under the pointer or the keys
  let ramp = createRamp(1, 10);
  let drawing = false;
  let namesWidth = 150;

  const peers = () => data?.matrix.peers ?? [];
  const probes = () => data?.matrix.probes ?? [];
  const rowHeight = () => HEIGHTS[zoom];

  function layout() {
    const width = box.clientWidth;
    const left = Math.round(Math.min(namesWidth, 160, width * 0.36));
    const room = width - left - 12;
    const wide = probes().length ? room / probes().length : room;
    const least = rowHeight() >= 11 ? 15 : Math.max(3, rowHeight());
    const column = Math.max(least, Math.min(wide, 120));
    const upright = column >= 76; // a name fits above its column lying down
    return { width, height: box.clientHeight, left, top: upright ? 24 : 96, column, upright, row: rowHeight() };
  }

  function redraw() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      if (data && box.clientWidth) paint();
    });
  }

  function paint() {
    const plan = layout();
    extent.style.width = `${Math.floor(plan.left + plan.column * probes().length)}px`;
    extent.style.height = `${plan.top + plan.row * peers().length}px`;
    const { width, height } = plan;
    const pen = sized(canvas, width, height);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    pen.clearRect(0, 0, width, height);
    paintOn(pen, plan, { x: plan.left - box.scrollLeft, y: plan.top - box.scrollTop }, width, height);
  }

  /** The pen of a canvas that has this size in the page's pixels. */
  function sized(sheet, width, height) {
    const ratio = window.devicePixelRatio || 1;
    if (sheet.width !== Math.round(width * ratio) || sheet.height !== Math.round(height * ratio)) {
      sheet.width = Math.round(width * ratio);
      sheet.height = Math.round(height * ratio);
    }
    const pen = sheet.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    return pen;
  }

  function paintOn(pen, plan, origin, width, height) {
    pen.save();
    pen.beginPath();
    pen.rect(plan.left, plan.top, width, height);
    pen.clip();
    paintCells(pen, plan, origin, width, height);
    pen.restore();
    paintNames(pen, plan, origin, width, height);
  }

  /** All of it, also what is out of sight, up to what a browser's canvas can hold. */
  function whole() {
    const plan = layout();
    const width = Math.min(LARGEST, Math.ceil(plan.left + plan.column * probes().length));
    const height = Math.min(LARGEST, plan.top + plan.row * peers().length);
    const sheet = document.createElement("canvas");
    paintOn(sized(sheet, width, height), plan, { x: plan.left, y: plan.top }, width, height);
    return sheet;
  }

  function paintCells(pen, plan, origin, width, height) {
    const gap = plan.row >= 7 ? 1 : 0;
    const first = Math.max(0, Math.floor((plan.top - origin.y) / plan.row));
    const last = Math.min(peers().length, Math.ceil((height - origin.y) / plan.row));
    const text = plan.row >= 17 && plan.column >= 58;
    pen.font = `10.5px ${fontOf()}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const empty = colour("--sunk");
    for (let peer = first; peer < last; peer += 1) {
      const y = origin.y + peer * plan.row;
      if (gap) {
        pen.fillStyle = empty;
        pen.globalAlpha = 0.55;
        for (let probe = 0; probe < probes().length; probe += 1) {
          const x = origin.x + probe * plan.column;
          if (x > width || x + plan.column < plan.left) continue;
          pen.fillRect(x, y, plan.column - gap, plan.row - gap);
        }
        pen.globalAlpha = 1;
      }
      for (const [probe, [size]] of cells.get(peer) ?? []) {
        const x = origin.x + probe * plan.column;
        if (x > width || x + plan.column < plan.left) continue;
        const shade = ramp.at(size);
        pen.fillStyle = shade.fill;
        pen.fillRect(x, y, plan.column - gap, plan.row - gap);
        if (!text) continue;
        pen.fillStyle = shade.ink;
        pen.fillText(bytes(size), x + (plan.column - gap) / 2, y + (plan.row - gap) / 2 + 0.5);
      }
    }
    if (here) {
      pen.strokeStyle = colour("--ink");
      pen.lineWidth = 1.5;
      pen.strokeRect(origin.x + here.probe * plan.column - 0.5, origin.y + here.peer * plan.row - 0.5, plan.column - gap + 1, plan.row - gap + 1);
    }
  }

  function paintNames(pen, plan, origin, width, height) {
    pen.fillStyle = colour("--surface");
    const font = fontOf();
    pen.textBaseline = "middle";
    if (plan.row >= 11) {
      pen.font = `${plan.row >= 17 ? 11.5 : 10}px ${font}`;
      pen.textAlign = "right";
      const first = Math.max(0, Math.floor((plan.top - origin.y) / plan.row));
      const last = Math.min(peers().length, Math.ceil((height - origin.y) / plan.row));
      pen.save();
      pen.beginPath();
      pen.rect(0, plan.top, plan.left, height);
      pen.clip();
      for (let peer = first; peer < last; peer += 1) {
        pen.fillStyle = here?.peer === peer ? colour("--accent") : peers()[peer].address === null ? colour("--ink-3") : colour("--ink");
        pen.fillText(fit(pen, peers()[peer].label, plan.left - 10), plan.left - 7, origin.y + peer * plan.row + plan.row / 2);
      }
      pen.restore();
    } else if (here) {
      pen.font = `11.5px ${font}`;
      pen.textAlign = "right";
      pen.fillStyle = colour("--accent");
      pen.fillText(fit(pen, peers()[here.peer].label, plan.left - 10), plan.left - 7, Math.max(plan.top + 6, origin.y + here.peer * plan.row));
    }
    pen.save();
    pen.beginPath();
    pen.rect(plan.left, 0, width, plan.top);
    pen.clip();
    pen.font = `11.5px ${font}`;
    probes().forEach((probe, index) => {
      const x = origin.x + index * plan.column;
      if (x > width || x + plan.column < plan.left - 20) return;
      if (plan.column < 13 && here?.probe !== index) return;
      const key = variable(probeKey(probe.name));
      pen.fillStyle = here?.probe === index ? colour("--accent") : colour("--ink");
      pen.save();
      pen.translate(x + plan.column / 2, plan.top - 6);
      if (plan.upright) {
        pen.textAlign = "center";
        pen.fillText(fit(pen, probe.name, plan.column - 8), 0, -5);
      } else {
        pen.rotate(-Math.PI / 2);
        pen.textAlign = "left";
        pen.fillText(fit(pen, probe.name, plan.top - 12), 0, 0);
      }
      pen.restore();
      if (key) {
        pen.fillStyle = colour(key);
        pen.fillRect(x, plan.top - 3, plan.column - 1, 2);
      }
    });
    pen.restore();
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
  new ResizeObserver(redraw).observe(box);
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
            { text: name, label: `Filter: probe ${name}`, go: () => onFilter({ probe: name }) }, bytes(size), count(packets),
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
      const pen = canvas.getContext("2d");
      pen.font = `11.5px ${fontOf()}`;
      namesWidth = 14 + peers().reduce((most, peer) => Math.max(most, pen.measureText(peer.label).width), 30);
      if (here && (here.peer >= peers().length || here.probe >= probes().length)) here = null;
      at("matrix-scale").toggleAttribute("data-none", !data.matrix.cells.length);
      at("matrix-scale").replaceChildren(el("span", { text: bytes(ramp.least) }), el("i"), el("span", { text: bytes(ramp.most) }), el("span", { text: "log scale" }));
      say(at("matrix-note"), `${count(peers().length)} peers, ${count(probes().length)} probes`);
      put(box, "aria-label", `Bytes of ${count(peers().length)} peers by ${count(probes().length)} probes; arrow keys move between cells, Enter filters`);
      redraw();
      idly("matrix table", table);
    },
    save(line) {
      if (!data) return;
      savePng({ name: "wakizashi-matrix", title: "Peers by probe", line: `${between(data.since, data.until, 0)}${line}`, canvas: whole() });
    },
  };
}
