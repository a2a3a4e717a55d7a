// ECharts, loaded once and beside everything else: the page is painted, and has asked its questions,
// before the megabyte is parsed. And pictures to keep: a chart as PNG with its title, time and legend.

import { colour } from "./theme.js";
import { at, idly } from "./dom.js";

let loading = null;

export function echarts() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "static/vendor/echarts.min.js";
    script.onload = () => resolve(window.echarts);
    script.onerror = () => reject(new Error("static/vendor/echarts.min.js cannot be loaded; reload the page"));
    document.head.append(script);
  });
  return loading;
}

/** A chart in `node` that follows its size. */
export async function chartIn(node, onResize = () => {}) {
  const lib = await echarts();
  await sizeOf(node);
  const chart = lib.init(node, null, { renderer: "canvas" });
  new ResizeObserver(() => {
    if (node.clientWidth === 0) return; // shown as a table just now
    chart.resize();
    idly(`resize ${node.id}`, onResize);
  }).observe(node);
  return chart;
}

/** Settles once the node has a size: a part that is hidden for now has none, and a chart needs one. */
function sizeOf(node) {
  return new Promise((resolve) => {
    const watch = new ResizeObserver(() => {
      if (node.clientWidth === 0) return;
      watch.disconnect();
      resolve();
    });
    watch.observe(node);
  });
}

export function fontOf() {
  return getComputedStyle(document.body).fontFamily;
}

/**
 * The text, or as much of it as has room, as the pen writes. Cut in the middle: names of hosts differ in
 * their beginnings and in the numbers at their ends.
 */
export function fit(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  const cut = (kept) => `${text.slice(0, Math.ceil(kept * 0.6))}…${text.slice(text.length - Math.floor(kept * 0.4))}`;
  let [low, high] = [0, text.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (pen.measureText(cut(middle)).width <= width) low = middle;
    else high = middle - 1;
  }
  return cut(low);
}

/**
 * Saves a picture: `canvas` under a title and a line of what it shows, over a legend.
 * legend: [{label, colour, text}].
 */
export function savePng({ name, title, line, canvas, legend = [] }) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.width / ratio;
  const pad = 20;
  const columns = Math.max(1, Math.floor(width / 300));
  const legendHeight = legend.length ? Math.ceil(legend.length / columns) * 20 + 12 : 0;
  const height = canvas.height / ratio + 64 + legendHeight + pad;
  const sheet = document.createElement("canvas");
  sheet.width = (width + 2 * pad) * ratio;
  sheet.height = height * ratio;
  const pen = sheet.getContext("2d");
  pen.scale(ratio, ratio);
  pen.fillStyle = colour("--surface");
  pen.fillRect(0, 0, width + 2 * pad, height);
  const font = fontOf();
  pen.fillStyle = colour("--ink");
  pen.font = `600 16px ${font}`;
  pen.fillText(title, pad, 32);
  pen.fillStyle = colour("--ink-2");
  pen.font = `12px ${font}`;
  pen.fillText(line, pad, 52, width);
  pen.drawImage(canvas, pad, 64, width, canvas.height / ratio);
  legend.forEach((entry, index) => {
    const left = pad + (index % columns) * (width / columns);
    const top = 64 + canvas.height / ratio + 18 + Math.floor(index / columns) * 20;
    pen.fillStyle = entry.colour;
    pen.fillRect(left, top - 9, 10, 10);
    pen.fillStyle = colour("--ink-2");
    const room = width / columns - 40 - pen.measureText(entry.text).width;
    pen.fillText(`${fit(pen, entry.label, room)}  ${entry.text}`, left + 16, top);
  });
  sheet.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${name}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}

/** Shows the tip near a point of the window, kept inside it; `fill` puts nodes into it. */
export function showTip(x, y, ...children) {
  const tip = at("tip");
  tip.replaceChildren(...children);
  tip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tip;
  const left = x + 18 + width > innerWidth - 8 ? x - 18 - width : x + 18;
  const top = Math.min(Math.max(8, y - height / 2), innerHeight - height - 8);
  tip.style.transform = `translate(${Math.round(Math.max(8, left))}px, ${Math.round(top)}px)`;
}

export function hideTip() {
  at("tip").hidden = true;
}
