// The wiring: the view (state.js) changes, the URL follows, the loop asks, the parts show.
// A change that a reader would want to go back from is a step in the browser's history; sorting,
// searching and the like only change the address.

import { parse } from "./address.js";
import { address, ask } from "./api.js";
import { createChips } from "./chips.js";
import { announce, at, say } from "./dom.js";
import { createFleet } from "./fleet.js";
import { between, bytes, zone } from "./format.js";
import { createHeader, share, showStatus, showThemeButton } from "./header.js";
import { onKeys } from "./keys.js";
import { showFleetNumbers, showSpanNumbers } from "./kpis.js";
import { createLoop } from "./loop.js";
import { createMatrix } from "./matrix.js";
import { clearBanner, countdown, showEmpty, showError, showFaults, showStale } from "./notices.js";
import { createRiver } from "./river.js";
import { createSankey } from "./sankey.js";
import { BYS, FILTERS, forSpan, initial, LASTS, lengthOf, MOST_ROWS, narrowed, ROWS, search, TABLES, timeOf, toggled } from "./state.js";
import { showAsTable } from "./tables.js";
import { createTalkers } from "./talkers.js";
import { followSystem, onTheme, toggleTheme } from "./theme.js";

const FIND_MS = 250; // a pause in typing
const MOVING_MS = 2000; // between moves of one span
const BUSY_MS = 350; // sooner than this a wait is not worth a line

let view = initial();
let time = null; // {since, until} that the river shows
let step = 1; // ms, of the river's buckets
let fleet = null;
let span = null;
let clock = null; // {server, local}: the server's time, and when it said so
let fault = null; // {error, retryAt}
const names = new Map(); // address -> name, as far as seen

const river = createRiver({ onSpan: (from, to) => change({ from, to }, "span"), onFilter: filter });
const sankey = createSankey({ onFilter: filter });
const matrix = createMatrix({ onFilter: filter });
const talkers = createTalkers({
  onFilter: filter,
  onSort: (sort, order) => change({ sort, order }, "talkers"),
  onMore: () => change({ rows: Math.min(MOST_ROWS, view.rows + 4 * ROWS) }, "talkers"),
});
const fleetTable = createFleet({ onFilter: filter });
const header = createHeader({
  onTime: ({ last = null, since = null, until = null }) => change({ last, since, until, from: null, to: null }, "all"),
  onBy: (by) => change({ by }, "all"),
  onLive: toggleLive,
});
const chips = createChips({
  onRemove: (name, value) => change({ filters: toggled(view.filters, name, value) }, "all"),
  onClearSpan: () => change({ from: null, to: null }, "span"),
  onClearAll: () => change({ filters: initial().filters, from: null, to: null }, "all"),
  nameOf: (value) => names.get(value) ?? value,
});
const loop = createLoop({
  view: () => view,
  points: () => (at("river").clientWidth > 900 ? 180 : 90),
  on: { river: showRiver, span: showSpan, talkers: showTalkers, fleet: showFleet, fault: showFault, fine, busy },
});

// -- changes -----------------------------------------------------------------------------------

let moved = -Infinity; // when the span was moved last

/** Changes the view. what: all | span | talkers | nothing, what has to be asked anew. */
function change(patch, what) {
  const before = search(view);
  view = { ...view, ...patch };
  if (patch.filters || patch.find !== undefined) view.rows = ROWS;
  const url = search(view);
  if (url === before) return;
  // A span that is moved bit by bit, by key or slider, is one step back, not twenty.
  const moving = what === "span" && performance.now() - moved < MOVING_MS;
  if (what === "span") moved = performance.now();
  if ((what === "all" || what === "span") && !moving) history.pushState(null, "", url);
  else history.replaceState(null, "", url);
  showFaults([], view);
  showFrame();
  if (what === "all") loop.now();
  else if (what === "span") loop.span();
  else if (what === "talkers") loop.talkers();
}

/** Takes the view of the address; what it says wrong is told, and put right. */
function read() {
  const { view: next, faults } = parse(location.search);
  // A jump within the page comes here too, and is no other view.
  if (faults.length || search(next) !== search(view)) showFaults(faults, next);
  view = next;
  if (faults.length) history.replaceState(null, "", search(view) + location.hash);
}

addEventListener("popstate", () => {
  read();
  showAll();
});

/** Another view altogether. */
function showAll() {
  if (at("find").value !== view.find) at("find").value = view.find;
  showTables();
  showFrame();
  loop.now();
}

function filter(wanted) {
  const filters = narrowed(view.filters, wanted);
  if (search({ ...view, filters }) === search(view)) return;
  announce(`Filtered by ${Object.entries(wanted).map(([name, value]) => `${name} ${value}`).join(", ")}`);
  change({ filters }, "all");
}

function toggleLive() {
  if (view.last !== null) {
    if (time) change({ last: null, ...time }, "all");
    return;
  }
  const held = view.until - view.since;
  // Paused from a preset, it goes on with that, though a live river begins up to a bucket earlier; a time
  // of one's own with the usual one.
  const last = LASTS.find((one) => held >= lengthOf(one) && held < lengthOf(one) + step) ?? initial().last;
  change({ last, since: null, until: null, from: null, to: null }, "all");
}

/** A longer time: the next preset, or for a fixed time one that begins earlier. */
function lookBack() {
  const held = time.until - time.since;
  const longer = LASTS.find((one) => lengthOf(one) > held + 2000) ?? LASTS.at(-1);
  const earlier = { last: null, since: Math.max(0, view.since - 3 * held), until: view.until };
  change({ ...(view.last === null ? earlier : { last: longer, since: null, until: null }), from: null, to: null }, "all");
}

// -- answers -----------------------------------------------------------------------------------

function showRiver(answer) {
  clock = { server: answer.now, local: Date.now() };
  time = timeOf(answer);
  step = answer.step;
  const empty = answer.series.length === 0 && answer.total.bytes === 0;
  setState(empty ? "empty" : "ready");
  if (empty) {
    showEmpty(view, time, {
      onLonger: lookBack,
      onClear: () => change({ filters: initial().filters }, "all"),
      onWhole: () => change({ from: null, to: null }, "span"),
    });
  }
  river.show(answer, view);
  showFrame();
}

function showSpan(answer, talkersToo) {
  span = answer;
  for (const end of answer.flows.nodes) learn(end.address, end.label);
  showSpanNumbers(answer);
  sankey.show(answer, view);
  matrix.show(answer);
  if (talkersToo) showTalkers(answer);
}

function showTalkers(answer) {
  for (const row of answer.talkers.rows) {
    learn(row.srcIP, row.src);
    learn(row.dstIP, row.dst);
  }
  talkers.show(answer.talkers, view);
  chips.show(view);
}

function showFleet(answer) {
  fleet = answer;
  fleetTable.show(answer);
  showFleetNumbers(answer);
}

function learn(address, name) {
  if (address && name !== address) names.set(address, name);
}

function fine() {
  fault = null;
  document.body.removeAttribute("data-aged");
  showAge();
}

function showFault(error, retryAt) {
  fault = { error, retryAt };
  const hasData = span !== null;
  if (!hasData) setState("error");
  else document.body.dataset.aged = "";
  showError(error, {
    retryAt,
    hasData,
    onRetry: () => loop.now(),
    onReset: () => {
      view = { ...initial() };
      history.pushState(null, "", search(view));
      showFaults([], view);
      showAll();
    },
  });
  showAge();
}

function setState(state) {
  document.body.dataset.state = state;
  at("empty").hidden = state !== "empty";
}

let busyTimer = 0;
function busy(on) {
  clearTimeout(busyTimer);
  if (on) busyTimer = setTimeout(() => { at("progress").hidden = false; }, BUSY_MS);
  else at("progress").hidden = true;
}

// -- what follows from all of it ------------------------------------------------------------------

function showFrame() {
  header.show(view, time);
  chips.show(view);
  document.title = `${view.last ? `last ${view.last}` : between(view.since, view.until)}, ${view.by} – wakizashi`;
  river.mark(view);
  if (time) at("csv").href = address("export.csv", forSpan(view, time));
}

function serverNow() {
  return clock ? clock.server + (Date.now() - clock.local) : Date.now();
}

/** The age of the data: runs each second, so that what stands still is seen to stand still. */
function showAge() {
  const last = fleet?.probes.length ? Math.max(...fleet.probes.map((probe) => probe.last)) : null;
  const stale = view.last !== null && fleet !== null && fleet.probes.length > 0 && fleet.probes.every((probe) => probe.status === "silent");
  if (!fault) {
    if (stale) showStale(fleet, last, serverNow());
    else clearBanner();
  } else countdown(fault.retryAt);
  const kind = fault ? (fault.error.lasting ? "refused" : "error") : time === null ? "wait" : view.last === null ? "fixed" : stale || last === null ? "stale" : "live";
  showStatus({ kind, last, now: serverNow(), time });
}

function showTables() {
  for (const name of TABLES) showAsTable(at(name), view.tables.includes(name));
}

/** What a saved picture says beside its time. */
function filterLine() {
  const parts = FILTERS.flatMap((name) => view.filters[name].map((value) => `${name} ${value}`));
  return (span ? `  ·  ${bytes(span.total.bytes)}` : "") + (parts.length ? `  ·  ${parts.join(", ")}` : "");
}

// -- hands ----------------------------------------------------------------------------------------

for (const [name, part] of Object.entries({ river, flows: sankey, matrix })) {
  at(name).querySelector("[data-testid=png]").addEventListener("click", () => part.save(filterLine()));
  const button = at(name).querySelector("[data-testid=as-table]");
  button.addEventListener("click", () => {
    const tables = view.tables.includes(name) ? view.tables.filter((one) => one !== name) : [...view.tables, name];
    change({ tables }, "nothing");
    showTables();
  });
}

let findTimer = 0;
at("find").addEventListener("input", () => {
  clearTimeout(findTimer);
  findTimer = setTimeout(() => change({ find: at("find").value.trim() }, "talkers"), FIND_MS);
});

at("share").addEventListener("click", () => share(view));
at("theme").addEventListener("click", toggleTheme);
onTheme(showThemeButton);
followSystem();
onKeys({
  last: (index) => change({ last: LASTS[index], since: null, until: null, from: null, to: null }, "all"),
  by: () => change({ by: BYS[(BYS.indexOf(view.by) + 1) % BYS.length] }, "all"),
  live: toggleLive,
  whole: () => change({ from: null, to: null }, "span"),
  find: () => at("find").focus(),
  share: () => share(view),
  theme: toggleTheme,
  help: () => at("help-dialog").showModal(),
});

// -- start ----------------------------------------------------------------------------------------

read();
at("find").value = view.find;
showThemeButton();
showTables();
showFrame();
say(at("zone"), `Times in ${zone()}`);
setInterval(showAge, 1000);
loop.now();
ask("about", "").then((about) => {
  say(at("backend"), about.backend);
  at("backend").title = `${about.backend}, ${about.table}`;
  const from = [about.names.file && "a names file", about.names.dns && "reverse DNS"].filter(Boolean).join(" and ");
  say(at("about"), `wakizashi ${about.version}; ${from ? `names from ${from}` : "names are off"}`);
}, () => {
  // The loop says what is wrong; without these words the page is whole.
});
