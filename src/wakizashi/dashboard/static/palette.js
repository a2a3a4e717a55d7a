// Which series has which colour. A series keeps its colour for as long as it is shown, in the river,
// the flows and the tables alike, whatever its rank; `other` and what is not in the river is grey.
// The wish of a series is a hash of its key, so that a reload, or a colleague with the same link, sees
// the same colours; where two wish for one, the larger has it and the other takes the next that is free.

export const COLOURS = 12;
const WISHED = 8; // the liveliest come first; the others serve where more are shown
let taken = new Map(); // key -> 1..COLOURS

/** The key of a series by what it stands for; the same pair has the same key wherever it is shown. */
export function pairKey(src, dst) {
  return `p ${src} ${dst}`;
}
export function serviceKey(name) {
  return `s ${name}`;
}
export function probeKey(name) {
  return `b ${name}`;
}
export function seriesKey(key) {
  if (key.srcIP !== undefined) return pairKey(key.srcIP, key.dstIP);
  return key.service === undefined ? probeKey(key.probe) : serviceKey(key.service);
}

function wish(key) {
  let hash = 2166136261; // FNV-1a
  for (let index = 0; index < key.length; index += 1) hash = Math.imul(hash ^ key.charCodeAt(index), 16777619);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 12)) >>> 0) % WISHED;
}

/** Deals colours to the keys now shown, largest first. */
export function deal(keys) {
  const next = new Map();
  const free = new Set(Array.from({ length: COLOURS }, (_, index) => index));
  for (const key of keys) {
    const kept = taken.get(key);
    if (kept !== undefined && free.delete(kept - 1)) next.set(key, kept);
  }
  for (const key of keys) {
    if (next.has(key) || free.size === 0) continue;
    let slot = wish(key);
    while (!free.has(slot)) slot = (slot + 1) % COLOURS;
    free.delete(slot);
    next.set(key, slot + 1);
  }
  taken = next;
}

/** The CSS variable of a key's colour, or null: not in the river. */
export function variable(key) {
  const slot = taken.get(key);
  return slot === undefined ? null : `--c${slot}`;
}

export function css(key) {
  const name = variable(key);
  return name === null ? "var(--other)" : `var(${name})`;
}
