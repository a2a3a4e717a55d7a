// The river: traffic over time as a stack of the largest series, with exact steps: a bucket is a level,
// never a slope, since nothing is known within it. Rates are a bucket's bytes by its length. The chart
// draws areas and axes; pointing, brushing and the tip are the page's own, being about buckets.

import { createBrush } from "./brush.js";
import { chartIn, fontOf, hideTip, savePng, showTip } from "./chart.js";
import { announce, at, el, idly, keyed, put, say } from "./dom.js";
import { between, bytes, count, moment, percent, rate, length, tick } from "./format.js";
import { css, deal, seriesKey, variable } from "./palette.js";
import { exact, fillTable } from "./tables.js";
import { colour, onTheme } from "./theme.js";

const GRID = { left: 74, right: 10, top: 10, bottom: 26 };
const ARROW = " → ";
const NAMES = { pairs: "pair", services: "service", probes: "probe" };

/** onSpan(from, to); onFilter({name: value}) for a click on a series. */
export function createRiver({ onSpan, onFilter }) {
  const node = at("river-chart");
  let chart = null;
  let data = null;
  let marked = false;
  let lit = null; // the layer that the legend points at: kept through refreshes
  const brush = createBrush({ grid: GRID, onSpan, onPoint: point });

  chartIn(node).then((made) => {
    chart = made;
    chart.on("finished", () => {
      if (marked || !data?.series.length) return;
      marked = true;
      performance.mark("first-picture");
    });
    draw();
  });

  onTheme(() => draw());

  function draw() {
    if (!chart || !data) return;
    chart.setOption(option(), { replaceMerge: ["series"], lazyUpdate: true });
  }

  function option() {
    const first = data.times[0] ?? data.since;
    const end = first + data.times.length * data.step;
    const label = { color: colour("--ink-3"), fontSize: 11, fontFamily: fontOf() };
    return {
      animation: false,
      grid: { ...GRID, containLabel: false },
      xAxis: {
        type: "time", min: first, max: end,
        axisLabel: { ...label, formatter: (ms) => tick(ms, end - first), hideOverlap: true, showMinLabel: false, showMaxLabel: false },
        axisLine: { lineStyle: { color: colour("--ink-3") }, onZero: true },
        axisTick: { lineStyle: { color: colour("--line-2") } }, splitLine: { show: false },
      },
      yAxis: {
        type: "value", min: 0, splitNumber: 4, axisLabel: { ...label, formatter: (value) => (value ? rate(value) : "0") },
        splitLine: { lineStyle: { color: colour("--line") } }, axisLine: { show: false }, axisTick: { show: false },
      },
      series: stacked(end),
    };
  }

  /**
   * One item for each series, that draws all of its steps. The chart's own stepped areas leave out
   * points that are less than a pixel from the one before, which turns small steps into slopes.
   * Edges lie on whole pixels, so that neighbours share them and nothing shines through.
   */
  function stacked(end) {
    const perSecond = 1000 / data.step;
    const ratio = window.devicePixelRatio || 1;
    const whole = (pixels) => Math.round(pixels * ratio) / ratio;
    const edges = [...data.times, end];
    let below = data.times.map(() => 0);
    const drawn = layers().map((layer) => {
      const base = below;
      const tops = layer.values.map((value, index) => base[index] + value * perSecond);
      below = tops;
      return { ...layer, base, tops };
    });
    const most = below.reduce((one, two) => Math.max(one, two), 0);
    return drawn.map(({ id, fill, base, tops }) => ({
      id, name: id, type: "custom", silent: true, clip: true, color: fill,
      encode: { x: 0, y: [1, 2] }, data: [[data.times[0], 0, most]],
      renderItem: (_, api) => {
        const x = edges.map((time) => whole(api.coord([time, 0])[0]));
        const line = (values) => values.flatMap((value, index) => {
          const y = whole(api.coord([data.times[index], value])[1]);
          return [[x[index], y], [x[index + 1], y]];
        });
        const top = line(tops);
        return {
          type: "group",
          children: [
            { type: "polygon", shape: { points: [...top, ...line(base).reverse()] }, style: { fill, opacity: lit === null || lit === id ? 1 : 0.14 } },
            // A hairline of the surface keeps neighbours apart whatever their colours.
            { type: "polyline", shape: { points: top }, style: { stroke: colour("--surface"), lineWidth: 0.7, opacity: 0.5, fill: null } },
          ],
        };
      },
    }));
  }

  /** What is stacked, from below: the series, largest first, then all the rest. */
  function layers() {
    const all = data.series.map((series) => ({
      id: `s ${series.id}`, label: series.label, values: series.bytes, total: series.total, key: seriesKey(series.key),
      fill: colour(variable(seriesKey(series.key)) ?? "--other"), series,
    }));
    if (data.other.count > 0) {
      all.push({
        id: "other", label: `other (${count(data.other.count)})`, values: data.other.bytes,
        total: data.other.total, key: null, fill: colour("--other"), series: null,
      });
    }
    return all;
  }

  function legend() {
    keyed(at("river-legend"), layers(), (layer) => layer.id, (layer) => {
      const row = el(layer.series ? "button" : "div", { class: "row", type: layer.series ? "button" : null },
        el("i", { class: "swatch" }), el("span", { class: "name" }, el("span"), el("i"), el("span")), el("span", { class: "bytes" }), el("span", { class: "share" }));
      const item = el("li", { "data-testid": "series" }, row);
      const light = (on) => () => {
        lit = on ? layer.id : null;
        draw();
      };
      for (const event of ["pointerenter", "focusin"]) item.addEventListener(event, light(true));
      for (const event of ["pointerleave", "focusout"]) item.addEventListener(event, light(false));
      if (layer.series) row.addEventListener("click", () => onFilter(filterOf(item.layer.series.key)));
      return item;
    }, (item, layer) => {
      item.layer = layer;
      const [swatch, name, size, share] = item.firstElementChild.children;
      swatch.style.background = layer.key ? css(layer.key) : "";
      // Both ends of a pair are cut where they have no room, not the second one alone.
      const [first, second = ""] = layer.series?.key.srcIP === undefined ? [layer.label] : layer.label.split(ARROW);
      [first, second && ARROW, second].forEach((text, index) => say(name.children[index], text));
      say(size, bytes(layer.total.bytes));
      say(share, percent(layer.total.bytes / (data.total.bytes || 1), 1));
      put(item, "data-id", layer.series?.id ?? "other");
      put(item, "data-bytes", layer.total.bytes);
      if (layer.series) put(item.firstElementChild, "title", `${layer.label}: show only this`);
    });
  }

  function point(index, event) {
    if (index === null || !data) {
      hideTip();
      return;
    }
    const perSecond = 1000 / data.step;
    const here = layers().map((layer) => ({ ...layer, value: layer.values[index] }));
    const largest = here.filter((layer) => layer.value > 0).sort((one, two) => two.value - one.value);
    const start = data.times[index];
    const list = el("dl");
    for (const layer of largest) {
      const swatch = el("i", { class: "swatch" });
      swatch.style.background = layer.fill;
      list.append(swatch, el("dt", { text: layer.label }), el("dd", { text: rate(layer.value * perSecond) }));
    }
    const late = data.settled === null || start + data.step > data.settled;
    const parts = [
      el("h3", { text: between(start, start + data.step, data.now) }, el("small", { text: length(data.step) })),
      largest.length ? list : el("p", { text: "nothing passed" }),
      late ? el("p", { class: "late", text: "probes may still deliver for this time" }) : null,
    ].filter(Boolean);
    const box = node.getBoundingClientRect();
    const plot = box.width - GRID.left - GRID.right;
    const x = event?.clientX ?? box.left + GRID.left + (plot * (index + 0.5)) / data.times.length;
    showTip(x, event?.clientY ?? box.top + box.height / 2, ...parts);
    if (!event) announce(`${moment(start, data.now)}: ${largest.slice(0, 3).map((layer) => `${layer.label} ${rate(layer.value * perSecond)}`).join(", ") || "nothing"}`);
  }

  function table() {
    const all = layers();
    fillTable(at("river-table"), {
      caption: `Bytes by ${NAMES[data.by]} in steps of ${length(data.step)}, ${between(data.since, data.until, data.now)}`,
      head: [{ text: "From" }, ...all.map((layer) => ({ text: layer.label, number: true }))],
      rows: data.times.map((start, index) => ({
        key: start,
        cells: [moment(start, data.now), ...all.map((layer) => exact(layer.values[index], bytes(layer.values[index])))],
      })),
    });
  }

  return {
    show(answer, state) {
      data = answer;
      deal(data.series.map((series) => seriesKey(series.key)));
      brush.show(data, state.from, state.to);
      draw();
      legend();
      const arriving = data.settled !== null && data.settled < Math.min(data.until, data.now);
      say(at("river-note"), `by ${NAMES[data.by]}, in steps of ${length(data.step)}${arriving ? "; hatched: still arriving" : ""}`);
      put(node, "aria-label", `Traffic by ${NAMES[data.by]}, ${between(data.since, data.until, data.now)}; ` +
        "arrow keys read it, Shift and arrow keys choose a span, Escape gives it up");
      idly("river table", table);
    },
    /** The span is another one, maybe by other hands than the brush's. */
    mark(state) {
      if (data) brush.show(data, state.from, state.to);
    },
    save(line) {
      if (!chart || !data) return;
      savePng({
        name: "wakizashi-river", title: `Traffic by ${NAMES[data.by]}`, line: `${between(data.since, data.until, 0)}${line}`,
        canvas: chart.renderToCanvas({ backgroundColor: colour("--surface"), pixelRatio: window.devicePixelRatio || 1 }),
        legend: layers().map((layer) => ({ label: layer.label, colour: layer.fill, text: bytes(layer.total.bytes) })),
      });
    },
  };
}

/** The filter that shows only what a series stands for. */
export function filterOf(key) {
  if (key.srcIP !== undefined) return { src: key.srcIP, dst: key.dstIP };
  return key.service === undefined ? { probe: key.probe } : { service: key.service };
}
