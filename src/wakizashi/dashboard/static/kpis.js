// The five numbers at the top. The server's sums, formatted; the exact value is in data-value.

import { at, put, say } from "./dom.js";
import { count, countShort, length, percent, scaled, scaledRate } from "./format.js";

function set(id, value, [number, unit = ""], note) {
  const node = at(id);
  put(node, "data-value", value);
  const [big, small] = [node.querySelector("b"), node.querySelector("small")];
  if (big.textContent !== number + unit) {
    big.replaceChildren(number);
    if (unit) {
      const mark = document.createElement("span");
      mark.textContent = unit;
      big.append(mark);
    }
  }
  say(small, note);
}

export function showSpanNumbers(span) {
  const time = span.until - span.since;
  const perSecond = (span.total.bytes * 1000) / Math.max(1, time);
  set("kpi-bytes", span.total.bytes, scaled(span.total.bytes), `${countShort(span.total.packets)} packets`);
  set("kpi-rate", perSecond < 1 ? perSecond : Math.round(perSecond), scaledRate(perSecond), `over ${length(time)}`);
  set("kpi-pairs", span.pairs, [count(span.pairs)], "source → destination");
}

export function showFleetNumbers(fleet) {
  const of = (status) => fleet.probes.filter((probe) => probe.status === status).length;
  const words = ["late", "silent"].map((status) => [of(status), status]).filter(([n]) => n).map(([n, status]) => `${n} ${status}`);
  const ok = of("ok");
  set("kpi-probes", ok, [count(ok), " ok"], words.length ? words.join(", ") : fleet.probes.length ? "none late, none silent" : "none seen");
  // The fleet's own coverage if the server gives it, else the weakest probe's: an average would hide it.
  const worst = fleet.probes.filter((probe) => probe.coverage !== null).reduce((least, probe) => (least === null || probe.coverage < least.coverage ? probe : least), null);
  const whole = fleet.total?.coverage ?? worst?.coverage ?? null;
  const note = worst === null ? "" : worst.coverage === 1 ? "every byte accounted for" : `lowest: ${worst.name}${fleet.total ? `, ${percent(worst.coverage, 2)}` : ""}`;
  set("kpi-coverage", whole ?? "", [percent(whole, 2)], note);
}
