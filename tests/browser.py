"""A dashboard over a store of known content, and Debian's Chromium to look at it: a pytest plugin."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.center_servers import until
from wakizashi.center.backend import open_backend
from wakizashi.center.config import load_center
from wakizashi.model import StoredWindow


def store(folder: Path, windows: Iterable[StoredWindow]) -> Path:
    """Store windows in a SQLite file; the configuration of a center that would write there."""
    config = folder / "center-config.yaml"
    sqlite = {"type": "sqlite", "sqliteConfig": {"path": str(folder / "wakizashi.db")}}
    config.write_text(json.dumps({"backendConfig": sqlite}))
    add(config, windows)
    return config


def add(config: Path, windows: Iterable[StoredWindow]) -> None:
    """Store more windows where a configuration says."""
    backend = open_backend(load_center(config, environment={}).backendConfig)
    part: list[StoredWindow] = []
    for window in windows:
        part.append(window)
        if len(part) == 500:
            backend.write(part)
            part = []
    backend.write(part)
    backend.close()


@contextmanager
def dashboard(config: Path, *arguments: str) -> Iterator[str]:
    """``wakizashi dashboard`` as a process; its address. It has to end well."""
    log = config.parent / "dashboard.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "wakizashi", "dashboard", "-c", str(config)]
            + ["--listen", "127.0.0.1:0", *arguments],
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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window.

    For a module, not for all: as long as it is there asyncio takes an event loop for running.
    """
    program = shutil.which("chromium")
    if program is None:
        if "CI" in os.environ:
            pytest.fail("needs chromium")
        pytest.skip("needs chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def looker(chromium: Browser) -> Iterator[Page]:
    """A page 1440 wide; in the end nothing may have been told on its console, and nothing thrown."""
    context = chromium.new_context(
        viewport={"width": 1440, "height": 1000}, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(30_000)
    told: list[str] = []
    page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: told.append(f"thrown: {error}"))
    yield page
    context.close()
    assert told == []
