"""A center as a process of its own, for tests that look at it from outside."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.center_servers import free_port, until
from wakizashi.center.backend import open_backend
from wakizashi.center.config import load_center


class Center:
    """A center as a process."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.folder, self.port, self.health = folder, free_port(), free_port()
        config = {
            "host": "127.0.0.1",
            "port": self.port,
            "healthPort": self.health,
            "recoverDir": str(folder / "recovery"),
            "backendConfig": {"sqliteConfig": {"path": str(folder / "stored.db")}},
        }
        self.path = folder / "center-config.yaml"
        self.path.write_text(json.dumps(config | keys))
        with (folder / "center.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wakizashi.center", "-c", self.path], stderr=log
            )
        until(lambda: "listening on" in self.log(), "the center listens", 60)

    def log(self) -> str:
        return (self.folder / "center.log").read_text()

    def until_said(self, pattern: str) -> None:
        until(lambda: re.search(pattern, self.log()) is not None, f"the center says {pattern!r}")

    def refused(self, reason: str) -> float:
        url = f"http://127.0.0.1:{self.health}/metrics"
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        (value,) = re.findall(rf'refused_total{{reason="{reason}"}} (\S+)', text)
        return float(value)

    def stored(self) -> list[tuple[str, int]]:
        """Probe and size of every record."""
        config = load_center(self.path, (), {}, serves=False)
        backend = open_backend(config.backendConfig, read_only=True)
        try:
            return sorted(
                (str(row["probe"]), int(row["size"])) for row in backend.traffic(0, 2**50)
            )
        finally:
            backend.close()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                assert self.process.wait(30) == 0
            finally:
                self.process.kill()
                self.process.wait()
        assert "Traceback" not in self.log()
