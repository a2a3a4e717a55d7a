"""Prometheus' own programs, for tests: promtool, and a server that scrapes and alerts."""

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.center_servers import free_port, until


def program(name: str) -> str:
    """Its path; without it the test is skipped, in CI it fails."""
    found = shutil.which(name)
    if found is None:
        complain = pytest.fail if "CI" in os.environ else pytest.skip
        complain(f"{name} is missing; apt-get install prometheus")
    return found


def promtool(*arguments: str | Path, given: str = "") -> str:
    """What promtool prints; it has to be content."""
    done = subprocess.run(
        [program("promtool"), *arguments],
        check=False,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


class Prometheus:
    """A running server on loopback."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **params: str) -> Any:
        """The data of an answer; None if it does not answer."""
        url = f"{self._url}/{path}?{urllib.parse.urlencode(params)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def firing(self) -> dict[str, dict[str, str]]:
        """The alerts that fire, by name, with their annotations."""
        alerts = (self.get("alerts") or {"alerts": []})["alerts"]
        return {
            alert["labels"]["alertname"]: alert["annotations"]
            for alert in alerts
            if alert["state"] == "firing"
        }

    def value(self, query: str) -> float | None:
        """Of an instant query with one result; None without."""
        data = self.get("query", query=query)
        return float(data["result"][0]["value"][1]) if data and data["result"] else None


@contextmanager
def prometheus(folder: Path, config: Path) -> Iterator[Prometheus]:
    """A server with this configuration, its data in ``folder``."""
    port = free_port()
    command = [
        program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        server = Prometheus(port)
        until(lambda: server.get("status/buildinfo") is not None, "Prometheus answers", 60)
        yield server
    finally:
        process.terminate()
        process.wait(30)
