// The few ways in which this page makes and changes elements. Names and addresses come from strangers
// (DNS, probes): text goes in as text only, and nothing here takes markup.

export const at = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

/** An element; `props` are attributes, but for class, text, and on (event handlers). */
export function el(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, run] of Object.entries(value)) node.addEventListener(event, run);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Sets text only where it differs: an unchanged text costs no layout. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function put(node, name, value) {
  if (value === null || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** Brings the children of `parent` to `items`, reusing the element of each key, in order. */
export function keyed(parent, items, keyOf, make, update) {
  parent.keyedChildren ??= new Map();
  const before = parent.keyedChildren;
  const after = new Map();
  const held = document.activeElement;
  const wanted = new Set(items.map(keyOf));
  // First what goes, else all that stays would be moved past it.
  for (const [key, node] of before) if (!wanted.has(key)) node.remove();
  let here = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    if (after.has(key)) continue;
    const node = before.get(key) ?? make(item);
    after.set(key, node);
    update(node, item);
    if (node === here) here = here.nextElementSibling;
    else parent.insertBefore(node, here);
  }
  parent.keyedChildren = after;
  // What is moved loses the focus.
  if (held !== document.activeElement && parent.contains(held)) held.focus({ preventScroll: true });
}

/** A callback when the browser has nothing better to do; the newest one of a name only. */
const waiting = new Map();
export function idly(name, run) {
  const first = !waiting.has(name);
  waiting.set(name, run);
  if (!first) return;
  const later = window.requestIdleCallback ?? ((job) => setTimeout(job, 50));
  later(() => {
    const job = waiting.get(name);
    waiting.delete(name);
    job();
  }, { timeout: 1500 });
}

let toastTimer = 0;
export function toast(text) {
  const node = at("toast");
  node.textContent = text;
  node.hidden = false;
  announce(text);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { node.hidden = true; }, 2600);
}

export function announce(text) {
  say(at("announce"), text);
}
