// The view that an address asks for, and what in the address makes no sense. Pure.
// A link may be mistyped, or of another version. What it says right is shown; what it says wrong is left
// out, and told with what would be right, as the server tells it.

import { BYS, FILTERS, initial, lengthOf, MOST_ROWS, MOST_SPAN_MS, ORDERS, ROWS, SORTS, TABLES } from "./state.js";

const MOST_TIME_MS = 9_214_646_400_000; // 2262: the last that every backend can store
const KNOWN = ["last", "since", "until", ...FILTERS, "by", "from", "to", "sort", "order", "find", "rows", "tables"];

/** {view, faults: [{name, value, told}]}. value: null if it is not the value that is wrong. */
export function parse(search) {
  const query = new URLSearchParams(search);
  const view = initial();
  const faults = [];

  function fault(name, value, told) {
    faults.push({ name, value, told });
    return null;
  }

  function one(name) {
    const values = query.getAll(name);
    if (values.length > 1) fault(name, null, `is given ${values.length} times, of which the first counts; give it once`);
    return values[0] ?? null;
  }

  function moment(name) {
    const text = one(name);
    if (text === null) return null;
    if (/^\d{1,16}$/.test(text) && Number(text) <= MOST_TIME_MS) return Number(text);
    return fault(name, text, `is no moment; write ms of Unix time, up to ${MOST_TIME_MS}`);
  }

  /** Two moments, [start, end], or null. most: ms between them. */
  function pair(first, second, most) {
    for (const [name, other] of [[first, second], [second, first]]) {
      if (query.has(name) && !query.has(other)) return fault(name, query.get(name), `lacks ${other}: ${first} and ${second} go together, in ms`);
    }
    const [start, end] = [moment(first), moment(second)];
    if (start === null || end === null) return null;
    if (end <= start) return fault(second, end, `is not after ${first}=${start}; swap them`);
    if (end - start > most) return fault(second, end, `is more than ten years after ${first}=${start}; ask for less`);
    return [start, end];
  }

  function readTime() {
    const fixed = pair("since", "until", MOST_SPAN_MS);
    if (fixed) {
      Object.assign(view, { last: null, since: fixed[0], until: fixed[1] });
      if (query.has("last")) fault("last", query.get("last"), "excludes since and until; leave out one of them");
      return;
    }
    const last = one("last");
    if (last === null) return;
    const ms = lengthOf(last);
    if (ms === null) fault("last", last, "is no span of time; write 90s, 10m, 1h30m or 7d");
    else if (ms <= 0 || ms > MOST_SPAN_MS) fault("last", last, "is not from 1s to ten years (3653d)");
    else view.last = last;
  }

  function readChoice(name, choices) {
    const text = one(name);
    if (choices.includes(text)) view[name] = text;
    else if (text !== null) fault(name, text, `is not known; use ${choices.join(", ")}`);
  }

  function readRows() {
    const text = one("rows");
    if (text === null) return;
    const rows = /^\d{1,16}$/.test(text) ? Number(text) : ROWS;
    view.rows = Math.min(MOST_ROWS, Math.max(ROWS, rows));
    if (String(view.rows) !== text) fault("rows", text, `is no whole number from ${ROWS} to ${MOST_ROWS}`);
  }

  function readTables() {
    const asked = (one("tables") ?? "").split(",").filter(Boolean);
    view.tables = TABLES.filter((name) => asked.includes(name));
    const unknown = asked.filter((name) => !TABLES.includes(name));
    if (unknown.length) fault("tables", unknown.join(","), `is not known; use ${TABLES.join(", ")}`);
  }

  readTime();
  readChoice("by", BYS);
  for (const name of FILTERS) {
    const values = query.getAll(name);
    view.filters[name] = [...new Set(values.filter(Boolean))];
    if (values.includes("")) fault(name, "", "is empty; name one, or leave the parameter out");
  }
  // Of any length: the first bucket of ten years begins before them.
  const span = pair("from", "to", Infinity);
  if (span) [view.from, view.to] = span;
  readChoice("sort", SORTS);
  readChoice("order", ORDERS);
  view.find = one("find") ?? "";
  readRows();
  readTables();
  let list = `there are ${KNOWN.join(", ")}`;
  for (const name of new Set(query.keys())) {
    if (KNOWN.includes(name)) continue;
    const near = nearest(name.toLowerCase());
    fault(name, query.get(name), `is no parameter; ${near ? `did you mean ${near}?` : list}`);
    if (!near) list = "see before";
  }
  return { view, faults };
}

function nearest(name) {
  const most = name.length > 3 ? 2 : 1;
  if (name.length > 12) return null;
  const [near] = KNOWN.map((known) => ({ known, edits: edits(name, known) })).sort((one, other) => one.edits - other.edits);
  return near.edits <= most ? near.known : null;
}

/** How many letters have to be added, taken or changed. */
function edits(one, other) {
  let row = [...Array(other.length + 1).keys()];
  for (const [done, letter] of [...one].entries()) {
    const next = [done + 1];
    for (let at = 0; at < other.length; at += 1) next.push(Math.min(next[at] + 1, row[at + 1] + 1, row[at] + (letter === other[at] ? 0 : 1)));
    row = next;
  }
  return row.at(-1);
}
