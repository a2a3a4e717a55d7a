"""The databases: how each is started, what the center is told, what it occupies at the end.

On loopback, in a folder of their own that is new for every run. ``SETTINGS`` says
what differs from their defaults, and goes into the report.
"""

import shutil
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.capture.lab import run
from bench.capture.peers import version_in
from bench.capture.results import BenchError
from bench.center.process import Process, free_port
from bench.center.results import INFLUX, REDIS, SQLITE, VICTORIA

_SETTLE_SECONDS = 120.0
_INFLUX = """\
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{root}/meta"
[data]
dir = "{root}/data"
wal-dir = "{root}/wal"
index-version = "tsi1"
max-values-per-tag = 0
max-series-per-database = 0
query-log-enabled = false
{more}
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
"""
_COLD = 'cache-snapshot-write-cold-duration = "1s"\ncompact-full-write-cold-duration = "1s"'

SETTINGS = {
    INFLUX: "index-version tsi1, max-values-per-tag 0, max-series-per-database 0, query and access "
    "log off, own statistics off; wal-fsync-delay is 0, its default: each write is fsynced",
    VICTORIA: "defaults but for the paths; it answers before its data is on the disk",
    REDIS: "appendonly yes, appendfsync always, no RDB snapshots",
    SQLITE: "as the backend opens it: WAL, synchronous=FULL",
}


class Database(ABC):
    """One database of one run. ``start`` is called once, before the center's."""

    name: str
    process: Process | None = None

    def __init__(self, folder: Path, cpus: frozenset[int]) -> None:
        self.folder, self.port = folder / self.name, free_port()
        self._log, self._cpus = folder / f"{self.name}.log", cpus
        self.folder.mkdir()

    @abstractmethod
    def start(self) -> None:
        """Start it; it answers when this returns."""

    @abstractmethod
    def center_settings(self) -> list[str]:
        """``KEY=VALUE`` for the center."""

    @abstractmethod
    def settle(self) -> int:
        """Have everything written out and merged; the bytes on the disk. Ends it."""

    def memory_bytes(self) -> int:
        """What it needs to hold all in memory; 0 for what it does not."""
        return 0

    def write_url(self) -> str:
        """Where lines are posted to, host left out."""
        return "/write?db=wakizashi&precision=ms"

    def cpu_seconds(self) -> float:
        """Of its process so far."""
        return self.process.cpu_seconds() if self.process else 0.0

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def _run(self, *command: str, answers: Callable[[], bool]) -> None:
        self.process = Process(command, self._log, self._cpus)
        self.process.wait_for(f"{self.name} to answer", answers)

    def _get(self, path: str, data: bytes | None = None) -> str:
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, data, timeout=30) as answer:
            return str(answer.read().decode())

    def _answers(self, path: str) -> bool:
        try:
            self._get(path)
        except OSError:
            return False
        return True


class Influx(Database):
    """influxd 1.x."""

    name = INFLUX

    def start(self, more: str = "") -> None:
        """With one more setting perhaps."""
        config = self.folder / "influxdb.conf"
        config.write_text(
            _INFLUX.format(root=self.folder, rpc=free_port(), port=self.port, more=more)
        )
        self._run("influxd", "-config", str(config), answers=lambda: self._answers("/ping"))
        self._get("/query", b"q=CREATE+DATABASE+wakizashi")

    def center_settings(self) -> list[str]:
        """The URL."""
        return [
            "backendConfig.type=influxdb",
            f"backendConfig.influxConfig.host=http://127.0.0.1:{self.port}",
            "backendConfig.timeout=60",
        ]

    def settle(self) -> int:
        """Start it again so that it writes its cache out and compacts at once.

        The log that it read its cache from stays until it is full; it is left out.
        """
        self.stop()
        self.start(_COLD)
        data = self.folder / "data"
        shards = [path.parent for path in data.rglob("fields.idx")]
        _still(
            lambda: disk_bytes(data),
            lambda: all(any(shard.glob("*.tsm")) for shard in shards),
        )
        self.stop()
        return disk_bytes(data)


class Victoria(Database):
    """VictoriaMetrics, which takes InfluxDB's lines."""

    name = VICTORIA

    def start(self) -> None:
        """On one port for all."""
        self._run(
            "victoria-metrics",
            f"-storageDataPath={self.folder / 'storage'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            answers=lambda: self._answers("/health"),
        )

    def center_settings(self) -> list[str]:
        """As InfluxDB."""
        return [
            "backendConfig.type=influxdb",
            f"backendConfig.influxConfig.host=http://127.0.0.1:{self.port}",
            "backendConfig.timeout=60",
        ]

    def settle(self) -> int:
        """Flush, merge, end; its caches are left out."""
        self._get("/internal/force_flush")
        self._get("/internal/force_merge")
        _still(lambda: disk_bytes(self.folder / "storage" / "data"), self._merged)
        self.stop()
        return sum(disk_bytes(self.folder / "storage" / part) for part in ("data", "indexdb"))

    def _merged(self) -> bool:
        busy = [
            line
            for line in self._get("/metrics").splitlines()
            if line.startswith(("vm_active_force_merges", "vm_active_merges"))
        ]
        return all(line.split()[-1] == "0" for line in busy)


class Redis(Database):
    """redis-server."""

    name = REDIS

    def start(self) -> None:
        """With an append-only file."""
        self._run(
            "redis-server",
            *f"--port {self.port} --bind 127.0.0.1 --dir {self.folder}".split(),
            *["--save", "", "--appendonly", "yes", "--appendfsync", "always"],
            answers=lambda: self._ask("PING") == "PONG",
        )

    def center_settings(self) -> list[str]:
        """The URL."""
        return [
            "backendConfig.type=redis",
            f"backendConfig.redisConfig.url=redis://127.0.0.1:{self.port}",
            "backendConfig.timeout=60",
        ]

    def _ask(self, *words: str) -> str:
        return run("redis-cli", "-p", str(self.port), *words, any_exit=True).strip()

    def _info(self, section: str, name: str) -> str:
        for line in self._ask("INFO", section).splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return value.strip()
        raise BenchError(f"redis-server tells no {name}")

    def memory_bytes(self) -> int:
        """What it says it uses."""
        return int(self._info("memory", "used_memory"))

    def settle(self) -> int:
        """Write the append-only file anew."""
        self._ask("BGREWRITEAOF")
        names = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
        _still(
            lambda: disk_bytes(self.folder),
            lambda: all(self._info("persistence", name) == "0" for name in names),
        )
        self.stop()
        return disk_bytes(self.folder)


class Sqlite(Database):
    """A file of the center's; there is no server."""

    name = SQLITE

    def start(self) -> None:
        """Nothing to start."""

    def center_settings(self) -> list[str]:
        """The file."""
        path = self.folder / "wakizashi.db"
        return ["backendConfig.type=sqlite", f"backendConfig.sqliteConfig.path={path}"]

    def settle(self) -> int:
        """The center has ended, and so has checkpointed."""
        return disk_bytes(self.folder)


KINDS: dict[str, type[Database]] = {k.name: k for k in (Sqlite, Influx, Victoria, Redis)}
_PROGRAMS = {
    INFLUX: (("influxd", "version"), "InfluxDB v"),
    VICTORIA: (("victoria-metrics", "--version"), "victoria-metrics-"),
    REDIS: (("redis-server", "--version"), "v="),
}


def obstacle(name: str) -> str | None:
    """Why a database can't be measured on this host; None if it can."""
    program = _PROGRAMS[name][0][0] if name in _PROGRAMS else None
    if program and shutil.which(program) is None:
        return f"not available: {program} is not installed"
    return None


def versions(names: Sequence[str]) -> dict[str, str]:
    """What each database is, as far as it says so."""
    import sqlite3

    made = {}
    for name in names:
        if name == SQLITE:
            made[name] = sqlite3.sqlite_version
        elif name in _PROGRAMS and obstacle(name) is None:
            command, before = _PROGRAMS[name]
            text = run(*command, any_exit=True)
            found = version_in(text, before)
            made[name] = found if found != "unknown" else _first_number(text)
    return made


def _first_number(text: str) -> str:
    words = [w.strip("(),") for w in text.replace("-", " ").split()]
    return next((w for w in words if w[:1].isdigit() and "." in w), "unknown")


def disk_bytes(folder: Path) -> int:
    """What the files below a folder occupy: blocks, since some are sparse."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                total += path.stat().st_blocks * 512
        except FileNotFoundError:  # merged away meanwhile
            continue
    return total


def _still(size: Callable[[], int], done: Callable[[], bool]) -> None:
    """Until it is done and the size has been the same for three looks, a second apart.

    Raises:
        BenchError: not within two minutes.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    seen: list[int] = []
    while time.monotonic() < deadline:
        seen = [*seen[-2:], size()]
        if len(seen) == 3 and len(set(seen)) == 1 and done():
            return
        time.sleep(1.0)
    raise BenchError(f"not written out within {_SETTLE_SECONDS:.0f} s")
