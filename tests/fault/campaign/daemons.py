"""The programs of a run: started, killed, paused and started again, each with its log."""

import json
import re
import signal
import sys
import threading
import time
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.lab import Process, wait_for
from tests.fault.campaign.ground import HUB, HUB_ADDRESS, MANAGEMENT, TO_CENTER, TRAFFIC, Ground
from tests.fault.campaign.packets import Control

CENTER_PORT, HEALTH_PORT, INFLUX_PORT = 10080, 10081, 8086
CAP_INTERVAL = 1
REPOSITORY = Path(__file__).parents[3]
PYTHONPATH = f"PYTHONPATH={REPOSITORY}/src:{REPOSITORY}"
"""The product of this tree, wherever another one is installed."""
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


class Daemon(ABC):
    """One program, through its lives."""

    def __init__(self, name: str, node: str, ground: Ground, folder: Path) -> None:
        self.name, self.node, self.ground, self.folder = name, node, ground, folder
        self.process: Process | None = None
        self.lock = threading.Lock()
        """Held by a fault, so that the next one finds the daemon healed."""
        self.output = ""
        """What the lives that ended have printed."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it is ready."""

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.popen.poll() is None

    def start(self) -> None:
        """Start, and return when it is ready."""
        name = self.ground.name(self.node)
        self.process = Process(self.name, name, self.folder, *self.command())

        def ready() -> bool:
            assert self.running, f"{self.name} ended at start:\n{self.said[-2000:]}"
            return self.answers()

        wait_for(f"{self.name} to answer", ready, 60)

    def send(self, number: signal.Signals) -> None:
        """A signal to the program."""
        assert self.process is not None
        self.process.popen.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL, seconds: float = 60.0) -> int:
        """End it by a signal; the exit code."""
        assert self.process is not None
        code = self.process.stop(number, seconds)
        self.output += self.process.output
        self.process = None
        return code

    @property
    def said(self) -> str:
        """All it has printed in all its lives."""
        return self.output + (self.process.output if self.process is not None else "")


@dataclass(slots=True)
class Life:
    """From one start of a probe to its end."""

    numbers_after: int
    """The windows of this life have higher numbers."""
    began: dict[str, int]
    """Packets that each direction had sent before it captured; nothing was on its way."""
    least: dict[str, int] = field(default_factory=dict)
    """Packets that each direction had sent when all of them were in a closed window."""
    most: dict[str, int] = field(default_factory=dict)
    """Packets that each direction had sent when it was over."""
    killed: bool = False
    stepped: bool = False
    """Whether its clock was set meanwhile."""


class Probe(Daemon):
    """A probe and the account of what it may have missed."""

    def __init__(
        self,
        host: str,
        ground: Ground,
        folder: Path,
        controls: dict[str, Control],
        quiet: Callable[[], Any],
        config: dict[str, Any],
        *,
        fake_clock: bool,
    ) -> None:
        super().__init__(f"probe-{host}", host, ground, folder)
        self.disk = folder / f"disk-{host}"
        self.dump = self.disk / "dump"
        self.faults = folder / f"faults-{host}"
        self.clock = folder / f"clock-{host}"
        self.clock.write_text("+0s\n")
        self.lives: list[Life] = []
        self._controls, self._quiet, self._fake_clock = controls, quiet, fake_clock
        self.config = folder / f"probe-{host}.yaml"
        defaults = {
            "centerAddr": f"{HUB_ADDRESS}:{CENTER_PORT}",
            "dumpDir": str(self.dump),
            "networkDevs": [TRAFFIC, TO_CENTER],
            "capInterval": CAP_INTERVAL,
            "name": host,
        }
        self.config.write_text(json.dumps(defaults | config))
        self._positions: list[tuple[float, dict[str, int]]] = []
        self._dump_trouble = float("inf")
        self._small_dump = "dumpLimit" in config
        self._open_since = float("inf")
        """Since when its open window is one that a small dump directory had no room for: what lay
        there at its start can't be merged, so its word is taken for that."""

    def command(self) -> list[str]:
        environment = [PYTHONPATH, f"CAMPAIGN_FAULTS={self.faults}"]
        if self._fake_clock:
            environment += [
                f"LD_PRELOAD={FAKETIME}",
                f"FAKETIME_TIMESTAMP_FILE={self.clock}",
                "FAKETIME_NO_CACHE=1",
                "FAKETIME_DONT_FAKE_MONOTONIC=1",
                "DONT_FAKE_MONOTONIC=1",
            ]
        faulty = [sys.executable, "-m", "tests.fault.campaign.faulty", "probe"]
        return ["env", *environment, *faulty, "-c", str(self.config)]

    def answers(self) -> bool:
        assert self.process is not None
        return ": engine " in self.process.output and f"capturing {TRAFFIC}" in self.process.output

    def sent(self) -> dict[str, int]:
        """Packets that each direction has sent by now."""
        return {host: control.sent for host, control in self._controls.items()}

    def highest_number(self) -> int:
        """Of all windows in the dump directory, sent and bad ones too."""
        names = [path.name for path in self.dump.rglob("*.window*")]  # a bad one may end in .1
        numbers = [int(m[1]) for name in names if (m := re.match(r"\d{13}-(\d+)-", name))]
        return max(numbers, default=0)

    def start(self) -> None:
        """Begin a life while nothing is on the wire."""
        with self._quiet():
            life = Life(self.highest_number(), self.sent())
            super().start()
            self.lives.append(life)
        self._dump_trouble = self._open_since = float("inf")

    def sample(self) -> None:
        """Remember how far the traffic is now, and whether its directory is full for good."""
        self._positions.append((time.monotonic(), self.sent()))
        process = self.process
        if process is None or not self._small_dump:
            return
        said = process.output
        open_ = said.rfind("the window stays open") > said.rfind("dumpDir takes windows again")
        self._open_since = min(self._open_since, time.monotonic()) if open_ else float("inf")

    def dump_fails(self, *, now: bool) -> None:
        """From now on the dump directory takes no windows, or takes them again."""
        self._dump_trouble = time.monotonic() if now else float("inf")

    def sent_at(self, moment: float) -> dict[str, int]:
        """Packets that each direction had sent at a monotonic time, or a little earlier."""
        earlier = [position for time_, position in self._positions if time_ <= moment]
        return earlier[-1] if earlier else self.lives[-1].began

    def end(self, number: signal.Signals = signal.SIGKILL, seconds: float = 60.0) -> int:
        """End a life. Killed, it may lose what was sent since the last window closed, no more."""
        life = self.lives[-1]
        life.killed = number is signal.SIGKILL
        if life.killed:
            closed = min(time.monotonic(), self._dump_trouble, self._open_since)
            closed -= CAP_INTERVAL + CLOSING_SECONDS
            life.least = {
                host: max(count, life.began[host]) for host, count in self.sent_at(closed).items()
            }
        else:
            life.least = self.sent()
        code = super().end(number, seconds)
        time.sleep(0.02)  # what is on its way in the veth pair, by the kernel's own pace
        life.most = self.sent()
        return code


CLOSING_SECONDS = 2.5
"""So late may a window be durable after its time is over, on a machine with much to do."""


class Center(Daemon):
    """A center; its counters are sampled, for it may be killed at any time."""

    def __init__(self, name: str, ground: Ground, folder: Path) -> None:
        super().__init__(name, name, ground, folder)
        self.address = f"{MANAGEMENT[name]}:{CENTER_PORT}"
        self.disk = folder / f"disk-{name}"
        self.recovery = self.disk / "recovery"
        self.faults = folder / f"faults-{name}"
        self.config = folder / f"{name}.yaml"
        login = {"user": "wakizashi", "password": "right"}
        self.config.write_text(
            json.dumps(
                {
                    "port": CENTER_PORT,
                    "healthPort": HEALTH_PORT,
                    "recoverDir": str(self.recovery),
                    "recoverInterval": 1,
                    "backendConfig": {
                        "type": "influxdb",
                        "timeout": 1,
                        "influxConfig": {"host": f"http://{HUB_ADDRESS}:{INFLUX_PORT}", **login},
                    },
                }
            )
        )
        self._ended: dict[str, float] = {}
        self._now: dict[str, float] = {}

    def command(self) -> list[str]:
        environment = [PYTHONPATH, f"CAMPAIGN_FAULTS={self.faults}"]
        faulty = [sys.executable, "-m", "tests.fault.campaign.faulty", "center"]
        return ["env", *environment, *faulty, "-c", str(self.config)]

    def answers(self) -> bool:
        return bool(self.sample())

    def start(self) -> None:
        for name, value in self._now.items():
            self._ended[name] = self._ended.get(name, 0) + value
        self._now = {}
        super().start()

    def sample(self) -> dict[str, float]:
        """Read its counters; empty if it does not answer."""
        try:
            url = f"http://{MANAGEMENT[self.name]}:{HEALTH_PORT}/metrics"
            text = self.ground.get(self.node, url, seconds=1.0).decode()
        except OSError:
            return {}
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        self._now = {name: float(value) for name, value in lines if "_total" in name}
        return self._now

    def counted(self, name: str) -> float:
        """A counter, summed over all lives: at least so many."""
        return self._ended.get(name, 0) + self._now.get(name, 0)

    def windows(self, status: str) -> float:
        """Windows that it said so of."""
        return self.counted(f'wakizashi_center_windows_total{{status="{status}"}}')


class Influx(Daemon):
    """InfluxDB with users, its data on a disk of its own."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        super().__init__("influxd", HUB, ground, folder)
        self.disk = folder / "disk-influxd"

    def command(self) -> list[str]:
        config = self.folder / "influxdb.conf"
        config.write_text(
            f"reporting-disabled = true\nbind-address = '127.0.0.1:8088'\n"
            f"[meta]\ndir = '{self.disk}/meta'\n"
            f"[data]\ndir = '{self.disk}/data'\nwal-dir = '{self.disk}/wal'\n"
            "query-log-enabled = false\n"
            f"[http]\nbind-address = ':{INFLUX_PORT}'\nlog-enabled = false\nauth-enabled = true\n"
            "[monitor]\nstore-enabled = false\n[logging]\nlevel = 'warn'\n"
        )
        return ["influxd", "-config", str(config)]

    def answers(self) -> bool:
        try:
            self.ground.get(HUB, f"http://127.0.0.1:{INFLUX_PORT}/ping", seconds=2.0)
        except OSError:
            return False
        return True

    def query(self, statement: str, database: str = "") -> list[dict[str, Any]]:
        """The rows of all series, tags included. Raises OSError where it does not answer."""
        how = urllib.parse.urlencode({"u": "admin", "p": "secret", "epoch": "ms", "db": database})
        url = f"http://127.0.0.1:{INFLUX_PORT}/query?{how}"
        data = urllib.parse.urlencode({"q": statement}).encode()
        answer = json.loads(self.ground.get(HUB, url, data))
        for result in answer["results"]:
            assert "error" not in result, f"{statement}: {result['error']}"
        return [
            dict(zip(series["columns"], row, strict=True)) | series.get("tags", {})
            for result in answer["results"]
            for series in result.get("series", [])
            for row in series["values"]
        ]

    def set_password(self, password: str) -> None:
        """Of the user that the centers are."""
        self.query(f"SET PASSWORD FOR wakizashi = '{password}'")


class Balancer(Daemon):
    """haproxy before the centers. TCP alone: it knows nothing of HTTP/2."""

    def __init__(self, ground: Ground, folder: Path, centers: list[str]) -> None:
        super().__init__("haproxy", HUB, ground, folder)
        self._config = folder / "haproxy.cfg"
        servers = "".join(
            f"  server {name} {MANAGEMENT[name]}:{CENTER_PORT} check inter 200 fall 2 rise 1\n"
            for name in centers
        )
        self._config.write_text(
            "global\n  maxconn 200\n"
            "defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 300s\n"
            "  timeout server 300s\n  timeout check 500ms\n  retries 1\n"
            f"listen centers\n  bind {HUB_ADDRESS}:{CENTER_PORT}\n  balance roundrobin\n"
            + "  option redispatch\n"
            + servers
        )

    def command(self) -> list[str]:
        return ["haproxy", "-db", "-f", str(self._config)]

    def answers(self) -> bool:
        time.sleep(0.2)  # it says nothing when it is ready; nobody depends on this
        return True
