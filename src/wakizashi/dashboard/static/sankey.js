// The flows of the span: sources left, destinations right, width is bytes. Hovering isolates what an
// end or a flow touches, a click filters by it. Order is the server's (largest first, `other` last) and
// kept while live: an order that saves crossings would make the picture jump with each refresh.

import { chartIn, fit, fontOf, hideTip, savePng, showTip } from "./chart.js";
import { at, el, idly, put } from "./dom.js";
import { between, bytes, count, percent } from "./format.js";
import { pairKey, serviceKey, variable } from "./palette.js";
import { exact, fillTable } from "./tables.js";
import { colour, onTheme } from "./theme.js";

const LINE = 12; // pixels from one name to the next: even ends of a hairline can be read
const BANDS = 150; // pixels that the widths of the flows have at least, all together
// A side with more ends makes the picture taller, and one with fewer lower again: apart, so that it does
// not change its height with every refresh.
const CROWDED = 24;
const SPARSE = 20;

// The sort is stable: all but `other` stay as the server has them.
const otherLast = (one, two) => (one.address === null) - (two.address === null);

/** onFilter({name: value}) */
export function createSankey({ onFilter }) {
  const node = at("flows-chart");
  let chart = null;
  let data = null;
  let by = "pairs";
  const pen = document.createElement("canvas").getContext("2d"); // measures names
  let ends = new Map(); // id -> node of the API

  chartIn(node, () => draw()).then((made) => {
    chart = made;
    chart.on("click", (event) => {
      const wanted = event.dataType === "edge" ? linkFilter(event.data) : endFilter(ends.get(event.name));
      if (wanted) onFilter(wanted);
    });
    chart.on("mousemove", tip);
    chart.on("mouseout", hideTip);
    chart.on("globalout", hideTip);
    draw();
  });
  onTheme(() => draw());

  function endFilter(end) {
    if (!end || end.address === null) return null;
    return end.side === "source" ? { src: end.address } : { dst: end.address };
  }

  function linkFilter(link) {
    const wanted = { ...endFilter(ends.get(link.source)), ...endFilter(ends.get(link.target)) };
    return Object.keys(wanted).length ? wanted : null;
  }

  function endColour(end) {
    return by === "services" ? variable(serviceKey(end.label)) : null;
  }

  function linkColour(link) {
    const [source, target] = [ends.get(link.source), ends.get(link.target)];
    if (source.address === null && target.address === null) return null;
    if (by === "pairs") return variable(pairKey(source.address, target.address));
    return endColour(source) ?? endColour(target);
  }

  /** The number of ends on the side that has more. */
  function fuller() {
    const sources = data.flows.nodes.filter((end) => end.side === "source").length;
    return Math.max(sources, data.flows.nodes.length - sources);
  }

  function draw() {
    if (!chart || !data || node.clientWidth === 0) return;
    const margin = Math.round(Math.min(170, node.clientWidth * 0.27));
    const font = fontOf();
    pen.font = `11.5px ${font}`;
    const gap = Math.max(2, Math.min(LINE, (node.clientHeight - BANDS) / Math.max(1, fuller() - 1)));
    const grey = colour("--other");
    const neutral = by === "probes" ? colour("--accent") : grey;
    chart.setOption({
      animation: false,
      series: [{
        id: "flows", type: "sankey", left: margin, right: margin, top: 6, bottom: 6, nodeWidth: 9, nodeGap: gap,
        layoutIterations: 0, draggable: false, nodeAlign: "justify", emphasis: { focus: "adjacency", lineStyle: { opacity: 0.75 } },
        blur: { lineStyle: { opacity: 0.05 }, itemStyle: { opacity: 0.2 }, label: { opacity: 0.25 } },
        labelLayout: { hideOverlap: true },
        data: [...data.flows.nodes].sort(otherLast).map((end) => {
          const fill = colour(endColour(end) ?? "--ink-3");
          const left = end.side === "source";
          return {
            name: end.id, depth: left ? 0 : 1, itemStyle: { color: end.address === null ? grey : fill, borderWidth: 0 },
            label: {
              show: true, position: left ? "left" : "right", distance: 7, formatter: () => fit(pen, end.label, margin - 14),
              color: end.address === null ? colour("--ink-3") : colour("--ink"), fontSize: 11.5, fontFamily: font,
              align: left ? "right" : "left",
            },
          };
        }),
        links: data.flows.links.map((link) => {
          const name = linkColour(link);
          return {
            source: link.source, target: link.target, value: link.bytes, packets: link.packets,
            lineStyle: { color: name ? colour(name) : neutral, opacity: name ? 0.55 : 0.3, curveness: 0.5 },
          };
        }),
      }],
    }, { lazyUpdate: true });
  }

  function tip(event) {
    const mouse = event.event?.event;
    if (!mouse) return;
    const link = event.dataType === "edge";
    const whole = data.total.bytes || 1;
    const title = link ? `${ends.get(event.data.source).label} → ${ends.get(event.data.target).label}` : ends.get(event.name)?.label;
    const end = link ? null : ends.get(event.name);
    const parts = [el("h3", { text: title ?? "" })];
    if (end?.address && end.address !== end.label) parts.push(el("p", { class: "late", text: end.address }));
    // A node's value is the chart's own: the width that it drew.
    const size = link ? event.data.value : event.value;
    parts.push(el("p", { text: `${bytes(size)}, ${percent(size / whole)}${link ? `, ${count(event.data.packets)} packets` : ""}` }));
    showTip(mouse.clientX, mouse.clientY, ...parts);
  }

  function table() {
    const name = (id, side) => {
      const end = ends.get(id);
      const text = end.label === end.address || end.address === null ? end.label : `${end.label} (${end.address})`;
      return end.address === null ? text : { text, label: `Filter: ${side} ${text}`, go: () => onFilter(endFilter(end)) };
    };
    fillTable(at("flows-table"), {
      caption: `Flows, ${between(data.since, data.until, data.now)}`,
      head: [{ text: "Source" }, { text: "Destination" }, { text: "Bytes", number: true }, { text: "Packets", number: true }],
      rows: data.flows.links.map((link) => ({
        key: `${link.source} ${link.target} ${ends.get(link.source).address === null} ${ends.get(link.target).address === null}`,
        cells: [name(link.source, "source"), name(link.target, "destination"), exact(link.bytes, bytes(link.bytes)), exact(link.packets, count(link.packets))],
      })),
    });
  }

  return {
    show(answer, state) {
      data = answer;
      by = state.by;
      if (fuller() > CROWDED) node.dataset.crowded = "";
      else if (fuller() <= SPARSE) delete node.dataset.crowded;
      ends = new Map(data.flows.nodes.map((end) => [end.id, end]));
      put(node, "aria-label", `Flows from sources to destinations, ${bytes(data.total.bytes)} in all; the same as a table follows`);
      draw();
      idly("flows table", table);
    },
    save(line) {
      if (!chart || !data) return;
      savePng({
        name: "wakizashi-flows", title: "Flows", line: `${between(data.since, data.until, 0)}${line}`,
        canvas: chart.renderToCanvas({ backgroundColor: colour("--surface"), pixelRatio: window.devicePixelRatio || 1 }),
      });
    },
  };
}
