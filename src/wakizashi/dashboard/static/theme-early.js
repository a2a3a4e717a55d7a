// Sets the theme before the first paint, so that a dark page never flashes white. A classic script
// on purpose: a module would run after the paint. Everything else about themes is in theme.js.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("wakizashi.theme");
  } catch {
    // Storage may be forbidden; the system's preference is left then.
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = chosen || (dark ? "dark" : "light");
})();
