"""Servers that tests of the center need: a pytest plugin, loaded by ``tests/conftest.py``."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Poll until ``condition`` holds; fail with ``what`` at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


@dataclass(frozen=True)
class InfluxServer:
    """A running influxd; with authentication the user is admin, the password secret."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def query(self, statement: str, **more: str) -> bytes:
        """POST a statement, as admin where there are users; the answer's body."""
        data = urllib.parse.urlencode({"q": statement, **more}).encode()
        url = f"{self.url}/query?u=admin&p=secret"
        with urllib.request.urlopen(url, data, timeout=10) as answer:
            body: bytes = answer.read()
            return body

    def write(self, database: str, lines: str) -> None:
        """POST lines."""
        url = f"{self.url}/write?db={database}&precision=ms"
        urllib.request.urlopen(url, lines.encode(), timeout=10).close()

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            urllib.request.urlopen(f"{self.url}/ping", timeout=2).close()
        except OSError:
            return False
        return True


_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{root}/meta"
[data]
dir = "{root}/data"
wal-dir = "{root}/wal"
index-version = "inmem"
max-values-per-tag = 1000
max-series-per-database = 5000
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
auth-enabled = {auth}
log-enabled = false
max-body-size = 300000
"""


def _program(name: str, package: str) -> str:
    program = shutil.which(name)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing; apt-get install {package}")
        pytest.skip(f"{name} is missing; apt-get install {package}")
    return program


def _influxd(root: Path, *, auth: bool) -> Iterator[InfluxServer]:
    program = _program("influxd", "influxdb")
    server = InfluxServer(free_port())
    config = root / "influxdb.conf"
    config.write_text(
        _CONFIG.format(root=root, rpc=free_port(), port=server.port, auth=str(auth).lower())
    )
    with (root / "log").open("wb") as log:
        process = subprocess.Popen([program, "-config", str(config)], stdout=log, stderr=log)
    try:
        until(server.answers, "influxd answers", 60)
        if auth:
            server.query("CREATE USER admin WITH PASSWORD 'secret' WITH ALL PRIVILEGES")
        yield server
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """An InfluxDB without authentication; see ``_CONFIG`` for its limits, which are low."""
    yield from _influxd(tmp_path_factory.mktemp("influxd"), auth=False)


@pytest.fixture(scope="session")
def influxd_with_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """An InfluxDB with authentication."""
    yield from _influxd(tmp_path_factory.mktemp("influxd-auth"), auth=True)


class Victoria:
    """A VictoriaMetrics on loopback, with the same port for its whole life."""

    def __init__(self, root: Path, *flags: str) -> None:
        self.root, self.port = root, free_port()
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            _program("victoria-metrics", "victoria-metrics"),
            f"-storageDataPath={self.root}/data",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-loggerLevel=ERROR",
            *self._flags,
        ]
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers, "VictoriaMetrics answers", 60)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def _answers(self) -> bool:
        try:
            self.get("/health")
        except OSError:
            return False
        return True

    def get(self, path: str, **params: str) -> str:
        url = f"{self.url}{path}?{urllib.parse.urlencode(params)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            body: bytes = answer.read()
            return body.decode()

    def series(self, database: str) -> list[dict[str, Any]]:
        """Everything stored with the label ``db``: metric, values and timestamps of each series."""
        self.get("/internal/force_flush")  # what was written can be read from now on
        lines = self.get("/api/v1/export", **{"match[]": f'{{db="{database}"}}'}).splitlines()
        return [json.loads(line) for line in lines]


@contextmanager
def victoria_at(root: Path, *flags: str) -> Iterator[Victoria]:
    """A VictoriaMetrics of one's own."""
    server = Victoria(root, *flags)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victoria]:
    """A VictoriaMetrics with the flags of docs/backends.md."""
    flags = (
        "-dedup.minScrapeInterval=1ms",
        "-maxLabelsPerTimeseries=40",
        "-retentionPeriod=10y",
    )
    with victoria_at(tmp_path_factory.mktemp("victoria"), *flags) as server:
        yield server
