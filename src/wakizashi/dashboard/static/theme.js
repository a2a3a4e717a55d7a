// Light and dark: the system's preference until the reader chooses; and the colours as values, which
// pictures drawn on a canvas need. The choice is kept in this browser, not in the URL.

const KEY = "wakizashi.theme";
const listeners = new Set();
let values = new Map();

export function theme() {
  return document.documentElement.dataset.theme;
}

export function colour(name) {
  if (!values.has(name)) values.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return values.get(name);
}

export function onTheme(run) {
  listeners.add(run);
}

function set(next) {
  document.documentElement.dataset.theme = next;
  values = new Map();
  for (const run of listeners) run(next);
}

export function toggleTheme() {
  const next = theme() === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // Forbidden storage: the choice holds for this visit.
  }
  set(next);
  return next;
}

export function followSystem() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
    let chosen = null;
    try {
      chosen = localStorage.getItem(KEY);
    } catch {
      // As above.
    }
    if (!chosen) set(event.matches ? "dark" : "light");
  });
}
