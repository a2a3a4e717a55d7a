"""Servers that tests of the center need: a pytest plugin, loaded by ``tests/conftest.py``."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
        """POST a statement; the answer's body."""
        data = urllib.parse.urlencode({"q": statement, **more}).encode()
        with urllib.request.urlopen(f"{self.url}/query", data, timeout=10) as answer:
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
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
auth-enabled = {auth}
log-enabled = false
"""


def _influxd(root: Path, *, auth: bool) -> Iterator[InfluxServer]:
    program = shutil.which("influxd")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("influxd is missing; apt-get install influxdb")
        pytest.skip("influxd is missing; apt-get install influxdb")
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
    """An InfluxDB without authentication; at most 1,000 values a tag."""
    yield from _influxd(tmp_path_factory.mktemp("influxd"), auth=False)


@pytest.fixture(scope="session")
def influxd_with_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """An InfluxDB with authentication."""
    yield from _influxd(tmp_path_factory.mktemp("influxd-auth"), auth=True)
