"""A dashboard over a store of known content, and Debian's Chromium to look at it: a pytest plugin."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.center_servers import until
from tests.fleet_data import Fleet, names
from wakizashi.center.backend import Row, Where, open_backend
from wakizashi.center.config import load_center
from wakizashi.dashboard.answers import Answers
from wakizashi.dashboard.names import Labels
from wakizashi.dashboard.run import listening, url
from wakizashi.dashboard.static import Static
from wakizashi.model import StoredWindow

if TYPE_CHECKING:  # a plugin is loaded for all tests, and playwright takes a while
    from playwright.sync_api import Browser, BrowserContext, Page

SINCE = 1_700_000_100_000
"""14 November 2023, 22:15 UTC: what has been stored then does not move while it is looked at."""
MINUTE = 60_000
UNTIL = SINCE + 45 * MINUTE
WINDOW = 30_000
EVER = "3650d"
"""How far ``query`` has to look back to see all of it."""


@dataclass(frozen=True)
class Store:
    """What there is to look at.

    Args:
        config: the configuration of the center that would write there.
        sets: keys of it that are set besides.
    """

    config: Path
    sets: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """For any of the commands."""
        return ["-c", str(self.config), *(word for key in self.sets for word in ("--set", key))]

    def add(self, windows: Iterable[StoredWindow]) -> None:
        """Store more windows."""
        backend = open_backend(load_center(self.config, self.sets, {}).backendConfig)
        part: list[StoredWindow] = []
        for window in windows:
            part.append(window)
            if len(part) == 500:
                backend.write(part)
                part = []
        backend.write(part)
        backend.close()

    def traffic(
        self, since: int, until: int, *by: str, step_ms: int = 0, where: Where = ()
    ) -> list[Row]:
        """Sums as the backend gives them."""
        config = load_center(self.config, self.sets, {}, serves=False)
        backend = open_backend(config.backendConfig, read_only=True)
        try:
            return list(backend.traffic(since, until, by, step_ms=step_ms, where=where))
        finally:
            backend.close()

    def total(self, since: int = 0, until: int = 2**42, where: Where = ()) -> int:
        """Bytes."""
        return sum(int(row["size"]) for row in self.traffic(since, until, "probe", where=where))

    def query(self, by: str, form: str = "json") -> str:
        """What ``wakizashi query`` prints of all there is."""
        command = [sys.executable, "-m", "wakizashi", "query", *self.options]
        command += ["--last", EVER, "--by", by, "--format", form]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


def store(folder: Path, windows: Iterable[StoredWindow] = ()) -> Store:
    """A SQLite file with these windows."""
    config = folder / "center-config.yaml"
    sqlite = {"type": "sqlite", "sqliteConfig": {"path": str(folder / "wakizashi.db")}}
    config.write_text(json.dumps({"backendConfig": sqlite}))
    made = Store(config)
    made.add(windows)
    return made


def names_file(folder: Path) -> Path:
    """Who is who in the fleet."""
    path = folder / "names"
    path.write_text(names())
    return path


@contextmanager
def dashboard(shown: Store, *arguments: str) -> Iterator[str]:
    """``wakizashi dashboard`` as a process, without reverse DNS; its address. It has to end well."""
    log = shown.config.parent / "dashboard.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "wakizashi", "dashboard", *shown.options]
            + ["--listen", "127.0.0.1:0", "--no-dns", *arguments],
            stdout=out,
            stderr=out,
        )
    try:

        def address() -> re.Match[str] | None:
            assert process.poll() is None, log.read_text()
            return re.search(r"http://[\d.]+:\d+", log.read_text())

        until(lambda: address() is not None, "the dashboard tells its address", 60)
        found = address()
        assert found is not None
        yield found[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text()


def milliseconds() -> int:
    """Of Unix time."""
    return time.time_ns() // 1_000_000


@contextmanager
def served(
    shown: Store, named: Path | None = None, clock: Callable[[], int] = milliseconds
) -> Iterator[str]:
    """The same on a thread, which is there at once and goes by a clock of its own; its address."""
    import uvicorn

    from wakizashi.dashboard.app import application

    config = load_center(shown.config, shown.sets, {}, serves=False)
    backend = open_backend(config.backendConfig, read_only=True)
    answers = Answers(backend, Labels(named), table=config.backendConfig.table, clock=clock)
    app = application(answers, Static(), "127.0.0.1")
    listener = listening("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, ws="none", lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        until(lambda: server.started, "the dashboard listens")
        yield url("127.0.0.1", listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        backend.close()


@dataclass(frozen=True)
class Shop:
    """A dashboard of the fleet of ``fleet_data``, of 45 minutes in the past."""

    store: Store
    address: str
    _answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def url(self, more: str = "", since: int = SINCE, until: int = UNTIL) -> str:
        """The page of all that time."""
        return f"{self.address}/?since={since}&until={until}{more}"

    def queried(self, by: str) -> list[dict[str, Any]]:
        """What the command says of all of it; asked once."""
        if by not in self._answers:
            self._answers[by] = json.loads(self.store.query(by))
        return self._answers[by]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """For all tests of a module: nothing is stored into it."""
    folder = tmp_path_factory.mktemp("shop")
    made = store(folder, Fleet().windows(SINCE, UNTIL))
    with dashboard(made, "--names", str(names_file(folder))) as address:
        yield Shop(made, address)


@contextmanager
def launched() -> "Iterator[Browser]":
    """Debian's Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    assert program is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """A browser.

    For a module, not for all: as long as it is there asyncio takes an event loop for running.
    """
    if shutil.which("chromium") is None:
        text = "chromium is missing; apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    with launched() as browser:
        yield browser


def eyes(browser: "Browser", **more: Any) -> "BrowserContext":
    """A browser's window 1440 wide, of a reader in UTC who wants no motion, unless told."""
    usual = {
        "viewport": {"width": 1440, "height": 1000},
        "reduced_motion": "reduce",
        "color_scheme": "light",
        "timezone_id": "UTC",
        "locale": "en-GB",
    }
    return browser.new_context(**{**usual, **more})


@dataclass
class Looks:
    """Opens pages, and keeps what they have told on the console or thrown."""

    browser: "Browser"
    told: list[str] = field(default_factory=list)
    contexts: "list[BrowserContext]" = field(default_factory=list)

    def open(self, url: str = "", *, state: str = "ready", **more: Any) -> "Page":
        """A page of a reader of its own; of a URL, once it shows that state."""
        context = eyes(self.browser, **more)
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: self.told.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.told.append(f"thrown: {error}"))
        if url:
            look(page, url, state=state)
        return page

    def failures_are_meant(self) -> None:
        """Forget what the browser itself tells of an answer that is an error."""
        self.told[:] = [line for line in self.told if "Failed to load resource" not in line]


def look(page: "Page", url: str, *, state: str = "ready") -> None:
    """Open a URL, and wait until the page shows that state, with its numbers and pictures."""
    page.goto(url)
    page.locator(f"body[data-state={state}]").wait_for()
    if state == "ready":
        page.locator("#kpi-bytes[data-value]").wait_for()
        for part in ("river", "flows"):
            drawn = page.locator(f"#{part} .picture[hidden], #{part} canvas").first
            drawn.wait_for(state="attached")
        page.locator("#matrix-table tbody tr").first.wait_for(state="attached")
        page.locator("#river-table tbody tr").first.wait_for(state="attached")


@pytest.fixture
def looks(chromium: "Browser") -> Iterator[Looks]:
    """Pages; in the end nothing may have been told on a console, and nothing thrown."""
    made = Looks(chromium)
    yield made
    for context in made.contexts:
        context.close()
    assert made.told == []


@pytest.fixture
def looker(looks: Looks) -> "Page":
    """One page as most readers have it, 1440 wide."""
    return looks.open()
