// Draws the matrix on a canvas of the size of its window, only what is in sight: hundreds of peers by a
// hundred probes are 30,000 cells, which as elements or as a chart's items take seconds. Names stay at
// the edges while the cells scroll; where cells have room the bytes stand in them.

import { fit, fontOf } from "./chart.js";
import { at, say } from "./dom.js";
import { bytes, many } from "./format.js";
import { probeKey, variable } from "./palette.js";
import { colour } from "./theme.js";

const NAMED = 11; // rows of fewer pixels tell their name only when pointed at
const LARGEST = 6000; // pixels of a saved picture

/** box: the window that scrolls; now(): {peers, probes, cells, here, ramp, row}, what is to be drawn. */
export function createPainter(box, now) {
  const canvas = box.querySelector("canvas");
  const extent = box.querySelector(".extent");
  let measured = { peers: null, width: 0 };

  function namesWidth({ peers }) {
    if (measured.peers !== peers) {
      const pen = canvas.getContext("2d");
      pen.font = `11.5px ${fontOf()}`;
      measured = { peers, width: 14 + peers.reduce((most, peer) => Math.max(most, pen.measureText(peer.label).width), 30) };
    }
    return measured.width;
  }

  function layout() {
    const model = now();
    const width = box.clientWidth;
    const left = model.row >= NAMED ? Math.round(Math.min(namesWidth(model), 160, width * 0.36)) : 4;
    const least = model.row >= 11 ? 15 : Math.max(3, model.row);
    const wide = (width - left) / Math.max(1, model.probes.length);
    // Where not all have room beside each other, as many as have it whole.
    const column = wide >= least ? Math.min(wide, 120) : (width - left) / Math.max(1, Math.floor((width - left) / least));
    const upright = column >= 76; // a name fits above its column lying down
    const named = column >= 13; // narrower ones tell their name only when pointed at
    return { width, height: box.clientHeight, left, top: upright || !named ? 24 : 96, column, upright, named, row: model.row, model };
  }

  function paint() {
    const plan = layout();
    const { model } = plan;
    wholeRows(plan);
    extent.style.width = `${Math.floor(plan.left + plan.column * model.probes.length)}px`;
    extent.style.height = `${plan.top + plan.row * model.peers.length}px`;
    const { width, height } = plan;
    const pen = sized(canvas, width, height);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    pen.clearRect(0, 0, width, height);
    paintOn(pen, plan, { x: plan.left - box.scrollLeft, y: plan.top - box.scrollTop }, width, height);
  }

  /** Sizes the window so that it ends with a row, not within one, and says what is out of sight. */
  function wholeRows(plan) {
    const { top, row, column, width, left, model } = plan;
    const bar = box.offsetHeight - box.clientHeight; // where all probes have no room beside each other
    box.parentElement.style.setProperty("--all", `${top + row * Math.max(1, model.peers.length) + bar}px`);
    const room = Math.floor((box.parentElement.clientHeight - bar - top) / row);
    const rows = Math.min(room, Math.max(1, model.peers.length));
    plan.height = top + rows * row;
    box.style.height = `${plan.height + bar}px`;
    const columns = Math.round((width - left) / column);
    const hidden = [[model.peers.length - rows, "more peer"], [model.probes.length - columns, "more probe"]];
    say(at("matrix-more"), hidden.filter(([n]) => n > 0).map(([n, words]) => many(n, words)).join(", "));
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
    const { model } = plan;
    const width = Math.min(LARGEST, Math.ceil(plan.left + plan.column * model.probes.length));
    const height = Math.min(LARGEST, plan.top + plan.row * model.peers.length);
    const sheet = document.createElement("canvas");
    paintOn(sized(sheet, width, height), plan, { x: plan.left, y: plan.top }, width, height);
    return sheet;
  }

  function paintCells(pen, plan, origin, width, height) {
    const { model } = plan;
    const gap = plan.row >= 7 ? 1 : 0;
    const first = Math.max(0, Math.floor((plan.top - origin.y) / plan.row));
    const last = Math.min(model.peers.length, Math.ceil((height - origin.y) / plan.row));
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
        for (let probe = 0; probe < model.probes.length; probe += 1) {
          const x = origin.x + probe * plan.column;
          if (x > width || x + plan.column < plan.left) continue;
          pen.fillRect(x, y, plan.column - gap, plan.row - gap);
        }
        pen.globalAlpha = 1;
      }
      for (const [probe, [size]] of model.cells.get(peer) ?? []) {
        const x = origin.x + probe * plan.column;
        if (x > width || x + plan.column < plan.left) continue;
        const shade = model.ramp.at(size);
        pen.fillStyle = shade.fill;
        pen.fillRect(x, y, plan.column - gap, plan.row - gap);
        if (!text) continue;
        pen.fillStyle = shade.ink;
        pen.fillText(bytes(size), x + (plan.column - gap) / 2, y + (plan.row - gap) / 2 + 0.5);
      }
    }
    if (model.here) {
      pen.strokeStyle = colour("--ink");
      pen.lineWidth = 1.5;
      pen.strokeRect(origin.x + model.here.probe * plan.column - 0.5, origin.y + model.here.peer * plan.row - 0.5, plan.column - gap + 1, plan.row - gap + 1);
    }
  }

  function paintNames(pen, plan, origin, width, height) {
    const { model } = plan;
    pen.fillStyle = colour("--surface");
    const font = fontOf();
    pen.textBaseline = "middle";
    if (plan.row >= NAMED) {
      pen.font = `${plan.row >= 17 ? 11.5 : 10}px ${font}`;
      pen.textAlign = "right";
      const first = Math.max(0, Math.floor((plan.top - origin.y) / plan.row));
      const last = Math.min(model.peers.length, Math.ceil((height - origin.y) / plan.row));
      pen.save();
      pen.beginPath();
      pen.rect(0, plan.top, plan.left, height);
      pen.clip();
      for (let peer = first; peer < last; peer += 1) {
        pen.fillStyle = model.here?.peer === peer ? colour("--accent") : model.peers[peer].address === null ? colour("--ink-3") : colour("--ink");
        pen.fillText(fit(pen, model.peers[peer].label, plan.left - 10), plan.left - 7, origin.y + peer * plan.row + plan.row / 2);
      }
      pen.restore();
    }
    pen.save();
    pen.beginPath();
    pen.rect(plan.left, 0, width, plan.top);
    pen.clip();
    pen.font = `11.5px ${font}`;
    model.probes.forEach((probe, index) => {
      const x = origin.x + index * plan.column;
      if (x > width || x + plan.column < plan.left - 20) return;
      if (!plan.named && model.here?.probe !== index) return;
      const key = variable(probeKey(probe.name));
      pen.fillStyle = model.here?.probe === index ? colour("--accent") : colour("--ink");
      pen.save();
      pen.translate(x + plan.column / 2, plan.top - 6);
      if (!plan.named) {
        const right = x > width / 2;
        pen.textAlign = right ? "right" : "left";
        pen.fillText(fit(pen, probe.name, width / 2), 0, -5);
      } else if (plan.upright) {
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

  return { layout, paint, whole };
}
