// The brush on the river: a span chosen by dragging, by two range inputs, or by keys; and the layers
// over the picture that need no chart library: the span, the bucket under the pointer, and the time in
// which some probe may still deliver. Spans snap to buckets, since a bucket is the least the river
// knows; at the ends they stop at what was asked for, so that the numbers below are of the same time.

import { at, put } from "./dom.js";
import { moment } from "./format.js";

const DRAG_PIXELS = 4; // less is a click

/**
 * grid: {left, right, top, bottom} pixels around the plot.
 * onSpan(from, to): chosen, ms, or null, null. onPoint(index, event): the bucket, or null: left.
 */
export function createBrush({ grid, onSpan, onPoint }) {
  const chart = at("river-chart");
  const picture = chart.parentElement;
  const overlay = picture.querySelector(".overlay");
  const [brush, bucket, settled] = [at("brush"), at("bucket"), at("settled")];
  const [fromInput, toInput] = [at("river-from"), at("river-to")];
  const ranges = fromInput.parentElement;
  for (const side of ["left", "right", "top", "bottom"]) overlay.style[side] = `${grid[side]}px`;
  ranges.style.marginLeft = `${grid.left - 7}px`;
  ranges.style.marginRight = `${grid.right - 7}px`;

  let river = null; // the answer of the API that is drawn
  let span = null; // [first, last) bucket
  let drag = null; // {anchor, startX, moved, edge}
  let cursor = null; // the bucket of the keys

  const size = () => river?.times.length ?? 0;
  const part = (index) => `${(100 * index) / Math.max(1, size())}%`;
  const start = () => river.times[0];

  function place(node, first, last) {
    node.hidden = false;
    node.style.left = part(first);
    node.style.right = `${100 - (100 * last) / size()}%`;
  }

  function drawSpan(inputs = true) {
    put(ranges, "data-whole", span === null || null);
    if (span === null) brush.hidden = true;
    else {
      place(brush, ...span);
      ranges.style.setProperty("--wide", part(span[1] - span[0]));
      const rest = size() - (span[1] - span[0]);
      // A background's position is a share of the room that is left, not of the whole.
      ranges.style.setProperty("--at", `${rest ? (100 * span[0]) / rest : 0}%`);
    }
    const [first, last] = span ?? [0, size()];
    if (inputs) {
      fromInput.value = first;
      toInput.value = last;
    }
    if (!river) return;
    put(fromInput, "aria-valuetext", moment(edge(first)));
    put(toInput, "aria-valuetext", moment(edge(last)));
    // The thumb that can still move lies on top when both are at one end.
    fromInput.style.zIndex = first >= size() / 2 ? 2 : 1;
    toInput.style.zIndex = first >= size() / 2 ? 1 : 2;
  }

  function edge(index) {
    return Math.min(river.until, Math.max(river.since, start() + index * river.step));
  }

  function choose(first, last) {
    if (!river || (first <= 0 && last >= size())) {
      span = null;
      drawSpan();
      onSpan(null, null);
      return;
    }
    span = [first, last];
    drawSpan();
    onSpan(edge(first), edge(last));
  }

  function bucketAt(event, limit = true) {
    const box = overlay.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * size();
    return limit ? Math.min(size() - 1, Math.max(0, Math.floor(place))) : place;
  }

  function inside(event) {
    const box = overlay.getBoundingClientRect();
    return event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
  }

  function point(index, event) {
    cursor = index ?? cursor;
    if (index === null) bucket.hidden = true;
    else place(bucket, index, index + 1);
    onPoint(index, event);
  }

  picture.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !size() || !inside(event)) return;
    const grip = event.target.closest?.(".grip");
    const anchor = grip ? (grip.classList.contains("from") ? span[1] - 1 : span[0]) : bucketAt(event);
    drag = { anchor, startX: event.clientX, moved: Boolean(grip), before: span };
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", (event) => {
    if (!drag) {
      if (size() && inside(event)) point(bucketAt(event), event);
      else point(null, event);
      return;
    }
    drag.moved ||= Math.abs(event.clientX - drag.startX) > DRAG_PIXELS;
    if (!drag.moved) return;
    const here = bucketAt(event);
    span = [Math.min(drag.anchor, here), Math.max(drag.anchor, here) + 1];
    point(null, event);
    drawSpan();
  });
  const end = (event) => {
    if (!drag) return;
    const { moved, before } = drag;
    drag = null;
    if (event.type === "pointercancel") {
      span = before;
      drawSpan();
    } else if (moved) choose(...span);
    else if (before) choose(0, size()); // a click beside or in the span gives it up
  };
  picture.addEventListener("pointerup", end);
  picture.addEventListener("pointercancel", end);
  picture.addEventListener("pointerleave", (event) => { if (!drag) point(null, event); });

  for (const input of [fromInput, toInput]) {
    input.addEventListener("input", () => {
      let [first, last] = [Number(fromInput.value), Number(toInput.value)];
      if (first >= last) [first, last] = input === fromInput ? [last - 1, last] : [first, first + 1];
      span = [Math.max(0, first), Math.min(size(), last)];
      drawSpan();
    });
    input.addEventListener("change", () => { if (span) choose(...span); });
  }

  chart.addEventListener("keydown", (event) => {
    if (!size() || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = size() - 1;
    const here = cursor ?? last;
    const next = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last, PageUp: here - 10, PageDown: here + 10 }[event.key];
    if (event.key === "Escape" && span) choose(0, size());
    else if (event.key === "Enter") choose(here, here + 1);
    else if (next === undefined) return;
    else {
      const to = Math.min(last, Math.max(0, next));
      if (event.shiftKey) {
        const [first, end] = span ?? [here, here + 1];
        const anchor = here === first ? end - 1 : first;
        span = [Math.min(anchor, to), Math.max(anchor, to) + 1];
        choose(...span);
      }
      point(to, null);
    }
    event.preventDefault();
    event.stopPropagation();
  });
  chart.addEventListener("blur", () => point(null, null));

  return {
    /** Lays everything out for an answer and the view's span. */
    show(data, from, to) {
      river = data;
      const n = size();
      for (const input of [fromInput, toInput]) {
        put(input, "max", n);
        input.disabled = n === 0;
      }
      const late = n && data.settled !== null ? (data.settled - start()) / data.step : n;
      if (late < n) place(settled, Math.max(0, late), n);
      else settled.hidden = true;
      if (drag) return; // the hand on it has precedence over an answer that comes in
      if (from === null || !n) span = null;
      else {
        const first = Math.floor((from - start()) / data.step);
        const last = Math.ceil((to - start()) / data.step);
        span = last <= 0 || first >= n ? null : [Math.max(0, first), Math.min(n, last)];
      }
      const held = document.activeElement === fromInput || document.activeElement === toInput;
      drawSpan(!held || span !== null || from === null);
    },
  };
}
