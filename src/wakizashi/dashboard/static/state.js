// What the page shows, as one value, and its text in the URL. Pure. The way back is address.js.
// A view is: a time (`last`, or `since` and `until`), filters, what the river stacks, the brushed span,
// and how the tables are sorted. All of it is in the URL, so that a copied address shows the same; the
// theme is not, being the reader's and not the view's.

export const LASTS = ["1m", "15m", "1h", "6h", "24h", "7d", "30d"];
export const BYS = ["pairs", "services", "probes"];
export const FILTERS = ["probe", "service", "host", "src", "dst"];
export const SORTS = ["bytes", "packets", "src", "dst"];
export const ORDERS = ["desc", "asc"];
export const TABLES = ["river", "flows", "matrix"];
export const ROWS = 25;
export const MOST_ROWS = 1000;
export const MOST_SPAN_MS = 3653 * 86_400_000; // ten years: no more may be asked for at once
const MOST_TEXT = 300;
const UNITS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** The ms of `15m`, `1h30m`: what the server takes; null if it is none. */
export function lengthOf(last) {
  if (last.length > MOST_TEXT || !/^(\d+[smhdw])+$/.test(last)) return null;
  return last.match(/\d+[smhdw]/g).reduce((sum, part) => sum + Number(part.slice(0, -1)) * UNITS[part.at(-1)], 0);
}

export function initial() {
  return {
    last: "15m", // null: since and until are fixed
    since: null,
    until: null,
    by: "pairs",
    filters: { probe: [], service: [], host: [], src: [], dst: [] },
    from: null, // the brushed span, ms; null: all of the time
    to: null,
    sort: "bytes",
    order: "desc",
    find: "",
    rows: ROWS,
    tables: [],
  };
}

function selection(state, query) {
  for (const name of FILTERS) for (const value of state.filters[name]) query.append(name, value);
  return query;
}

/** The query string of a view, without what is as by default. */
export function search(state) {
  const usual = initial();
  const query = new URLSearchParams();
  if (state.last === null) {
    query.set("since", state.since);
    query.set("until", state.until);
  } else query.set("last", state.last);
  if (state.by !== usual.by) query.set("by", state.by);
  selection(state, query);
  if (state.from !== null) {
    query.set("from", state.from);
    query.set("to", state.to);
  }
  for (const name of ["sort", "order", "find", "rows"]) if (state[name] !== usual[name]) query.set(name, state[name]);
  if (state.tables.length) query.set("tables", state.tables.join(","));
  return `?${query}`;
}

/** The API's parameters for the whole time of the view. */
export function forTime(state, more = {}) {
  const query = new URLSearchParams();
  if (state.last === null) {
    query.set("since", state.since);
    query.set("until", state.until);
  } else query.set("last", state.last);
  selection(state, query);
  for (const [name, value] of Object.entries(more)) query.set(name, value);
  return query;
}

/** The time of a river, {since, until}: it begins up to a bucket earlier than was asked, which may be too much. */
export function timeOf({ since, until }) {
  return { since: Math.max(since, until - MOST_SPAN_MS), until };
}

/** The API's parameters for the brushed span; without one, for `time`, what the river showed. */
export function forSpan(state, time, more = {}) {
  const query = new URLSearchParams();
  const { since, until } = state.from === null ? time : timeOf({ since: state.from, until: state.to });
  query.set("since", since);
  query.set("until", until);
  selection(state, query);
  for (const [name, value] of Object.entries(more)) if (value !== "") query.set(name, value);
  return query;
}

export function talkersOf(state) {
  return { rows: state.rows, sort: state.sort, order: state.order, find: state.find };
}

export function filtered(state) {
  return FILTERS.some((name) => state.filters[name].length > 0);
}

/** The filters with one more value of `name`, or without it if it is there. */
export function toggled(filters, name, value) {
  const values = filters[name];
  const next = values.includes(value) ? values.filter((other) => other !== value) : [...values, value];
  return { ...filters, [name]: next };
}

/** The filters with each of `wanted` ({name: value}) there. */
export function narrowed(filters, wanted) {
  const next = { ...filters };
  for (const [name, value] of Object.entries(wanted)) if (!next[name].includes(value)) next[name] = [...next[name], value];
  return next;
}
