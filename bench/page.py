"""How quick the dashboard's page is over a month: ``python -m bench.page [BACKEND …]``.

1,000,000 records of 1,000 pairs of addresses, as ``bench.reading`` writes them, which
end now. What is told: how long each answer takes that the page asks for; the time to
the first picture, from the start of the navigation until the river is drawn, of a
browser with an empty cache; and the long tasks of the page's thread while it is live
and a window of each probe is stored every second. The browser is Chromium, and shares
the machine's cores with dashboard and database.
"""

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from bench.reading import PAIRS, PROBES, SPAN_MS, WINDOWS, start, stored
from wakizashi.center.backend import Backend, open_backend
from wakizashi.center.config import load_center

REPETITIONS = 5
VIEWPORT: ViewportSize = {"width": 1440, "height": 1000}
LIVE_SECONDS = 30
ANSWERS = ("river", "span", "talkers", "fleet")
LONG_TASKS = """
window.longTasks = [];
new PerformanceObserver(list => {
  for (const entry of list.getEntries()) longTasks.push([entry.startTime, entry.duration]);
}).observe({type: "longtask", buffered: true});
"""


def main(names: Iterable[str]) -> None:
    """Measure and print."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        print(f"{'':10} {'':36} {'seconds':>8}")
        for name in names:
            with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
                settings = [*start(name, Path(folder), stack), f"type={name}", "timeout=60"]
                overrides = [f"backendConfig.{setting}" for setting in settings]
                length = SPAN_MS // WINDOWS
                since = time.time_ns() // 1_000_000 - SPAN_MS
                with closing(open_backend(load_center(None, overrides, {}).backendConfig)) as made:
                    for number in range(WINDOWS):
                        made.write(list(stored(number, length, since)))
                    with _dashboard(overrides, Path(folder)) as address:
                        for question, seconds in _answers(address):
                            print(f"{name:10} {question:36} {seconds:8.3f}", flush=True)
                        for what, seconds in _page(browser, address, made):
                            print(f"{name:10} {what:36} {seconds:8.3f}", flush=True)
        print(f"{PROBES * PAIRS:,} pairs, {PROBES * PAIRS * WINDOWS:,} records, 30 days")


@contextmanager
def _dashboard(overrides: Iterable[str], folder: Path) -> Iterator[str]:
    settings = [text for override in overrides for text in ("--set", override)]
    log = folder / "dashboard.log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [
                *(sys.executable, "-m", "wakizashi", "dashboard", "--no-dns"),
                *("--listen", "127.0.0.1:0", *settings),
            ],
            stdout=out,
            stderr=out,
        )
    try:
        while not (found := re.search(r"http://[\d.]+:\d+", log.read_text())):
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.05)
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _answers(address: str) -> Iterator[tuple[str, float]]:
    """The fastest of some, none of them from a cache."""
    for name in ANSWERS:
        took = []
        for number in range(REPETITIONS):
            until = time.time_ns() // 1_000_000 + number
            url = f"{address}/api/v1/{name}?since={until - SPAN_MS}&until={until}"
            before = time.perf_counter()
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own
                json.load(answer)
            took.append(time.perf_counter() - before)
        yield f"/api/v1/{name}", min(took)


def _page(browser: Browser, address: str, backend: Backend) -> Iterator[tuple[str, float]]:
    firsts = []
    for _ in range(REPETITIONS):
        context = browser.new_context(viewport=VIEWPORT, bypass_csp=True)
        page = context.new_page()
        page.goto(f"{address}/?last=30d")
        page.wait_for_function("performance.getEntriesByName('first-picture').length")
        firsts.append(page.evaluate("performance.getEntriesByName('first-picture')[0].startTime"))
        page.wait_for_load_state("networkidle")  # what it still asks must not hold up the next one
        context.close()
    yield "first picture, the fastest", min(firsts) / 1_000
    yield "first picture, the slowest", max(firsts) / 1_000
    for last in ("30d", "15m"):
        context = browser.new_context(viewport=VIEWPORT, bypass_csp=True)
        page = context.new_page()
        page.add_init_script(LONG_TASKS)
        page.goto(f"{address}/?last={last}")
        page.wait_for_function("performance.getEntriesByName('first-picture').length")
        page.wait_for_load_state("networkidle")
        begun = page.evaluate("performance.now()")
        end = time.monotonic() + LIVE_SECONDS
        number = 0
        while time.monotonic() < end:
            backend.write(list(stored(number, 1_000, time.time_ns() // 1_000_000 - 1_000)))
            page.wait_for_timeout(1_000)
            number += 1
        tasks = [took for at, took in page.evaluate("longTasks") if at >= begun]
        yield f"live, {last}: longest of {len(tasks)} long tasks", max(tasks, default=0) / 1_000
        context.close()


if __name__ == "__main__":
    main(sys.argv[1:] or ("sqlite", "influxdb", "redis"))
