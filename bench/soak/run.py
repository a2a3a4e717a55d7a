"""The programs, what is done to them, and the samples."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.capture.lab import TAPPED, Lab, run, wait_for
from bench.capture.results import BenchError
from bench.center.process import Process
from bench.soak.judge import DESCRIPTORS, FILES, MEMORY, THREADS, Series

SAMPLE_SECONDS = 3.0
UP_SECONDS, DOWN_SECONDS = 30, 10
"""Of the second center."""
DEVICE_SECONDS = 7
"""A device comes, and goes when the next one does."""
LATEST_SECONDS = 30.0
"""At the end a probe must have delivered a window that is no older."""


@dataclass(slots=True)
class Soak:
    """The samples of a run: a column for each series, and how often was done what."""

    seconds: list[float] = field(default_factory=list)
    columns: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)

    def add(self, process: str, measure: str, kind: str, value: int) -> None:
        """One value of the sample that was begun last."""
        self.columns.setdefault((process, measure, kind), []).append(value)

    def series(self) -> Iterator[Series]:
        """What is to be judged."""
        for (process, measure, kind), values in self.columns.items():
            yield Series(process, measure, kind, self.seconds, values)

    def rows(self) -> list[dict[str, float]]:
        """A row for each sample."""
        names = [f"{process}, {measure}" for process, measure, _ in self.columns]
        return [
            {"seconds": round(second, 1), **dict(zip(names, values, strict=True))}
            for second, *values in zip(self.seconds, *self.columns.values(), strict=True)
        ]


def sample_process(pid: int) -> dict[str, tuple[str, int]]:
    """Resident memory, open descriptors and threads of a process (proc_pid_status(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        "resident": (MEMORY, int(fields["VmRSS"].split()[0]) * 1024),
        "descriptors": (DESCRIPTORS, len(os.listdir(f"/proc/{pid}/fd"))),
        "threads": (THREADS, int(fields["Threads"])),
    }


class _Everything:
    """All that runs, each in the namespace of the tapped device but for the sender."""

    def __init__(self, stack: ExitStack, lab: Lab, folder: Path) -> None:
        self._stack, self._lab, self._folder = stack, lab, folder
        self._cpus = frozenset(os.sched_getaffinity(0))
        self.steady_center = self._start("center", *self._center("center", 10_080))
        self.other_center = self._start("center-2", *self._center("center-2", 10_180))
        self.probes = {
            name: self._start(name, *self._probe(name, port))
            for name, port in (("probe", 10_080), ("probe-2", 10_180))
        }
        for module, where, more in (
            ("traffic", lab.sender, ()),
            ("hostile", lab.tapped, ("10080",)),
        ):
            self._start(module, "-m", f"bench.soak.{module}", *more, where=where)
        self._device = -1

    def _start(self, name: str, *words: str, where: Path | None = None) -> Process:
        enter = ["nsenter", f"--net={where or self._lab.tapped}"]
        process = Process(
            [*enter, sys.executable, *words], self._folder / f"{name}.log", self._cpus
        )
        process.name = name
        self._stack.callback(process.stop)
        return process

    def _file(self, name: str, keys: dict[str, object]) -> str:
        path = self._folder / f"{name}.yaml"
        path.write_text(json.dumps(keys))
        return str(path)

    def _center(self, name: str, port: int) -> Sequence[str]:
        database = {"path": str(self._folder / f"{name}.db"), "ttl": 60}
        keys = {
            "port": port,
            "healthPort": port + 1,
            "recoverDir": str(self._folder / f"{name}-recovery"),
            "backendConfig": {"type": "sqlite", "sqliteConfig": database},
        }
        return "-m", "wakizashi.center", "-c", self._file(name, keys)

    def _probe(self, name: str, port: int) -> Sequence[str]:
        keys = {
            "name": name,
            "centerAddr": f"127.0.0.1:{port}",
            "dumpDir": str(self._folder / f"{name}-dump"),
            "networkDevs": [TAPPED, "soak.*"],
            "capInterval": 1,
            "healthPort": port + 2,
            "channelLifetime": 10,
        }
        return "-m", "wakizashi.probe", "-c", self._file(name, keys)

    def check(self) -> None:
        """Raise BenchError if what is to stay up has ended."""
        for process in (self.steady_center, *self.probes.values()):
            process.check()

    def sample(self, soak: Soak, seconds: float) -> None:
        """Look at everything that stays up."""
        soak.seconds.append(seconds)
        for name, process in (("center", self.steady_center), *self.probes.items()):
            for measure, (kind, value) in sample_process(process.pid).items():
                soak.add(name, measure, kind, value)
        for process_name, folder in (
            ("center", "center-recovery"),
            ("probe", "probe-dump"),
            ("probe-2", "probe-2-dump"),
        ):
            files = sum(1 for path in (self._folder / folder).rglob("*") if path.is_file())
            soak.add(process_name, f"files in {folder.rpartition('-')[2]}", FILES, files)

    def restart_center(self) -> None:
        """The second center goes, or comes again."""
        if self.other_center.popen.poll() is None:
            self.other_center.stop()
        else:
            self.other_center = self._start("center-2", *self._center("center-2", 10_180))

    def change_device(self) -> None:
        """Another device comes, the one before goes."""
        name = self._lab.tapped.name
        if self._device >= 0:
            run("ip", "-n", name, "link", "del", f"soak{self._device}")
        self._device += 1
        pair = f"soak{self._device} type veth peer name other{self._device}"
        run("ip", "-n", name, "link", "add", *pair.split())
        for device in (f"soak{self._device}", f"other{self._device}"):
            run("ip", "-n", name, "link", "set", device, "up")

    def check_delivered(self) -> None:
        """Raise BenchError where a probe's newest acknowledged window is old: nothing was soaked."""
        for name in self.probes:
            sent = sorted((self._folder / f"{name}-dump" / "sent").glob("*.window"))
            age = time.time() - int(sent[-1].name[:13]) / 1000 if sent else float("inf")
            if age > LATEST_SECONDS:
                raise BenchError(f"{name} has delivered nothing for {age:.0f} s")


def soak(minutes: float, say: Callable[[str], None]) -> Soak:
    """Run everything for ``minutes``; the samples.

    Raises:
        BenchError: a program ended, or nothing was delivered.
    """
    made = Soak()
    with tempfile.TemporaryDirectory(prefix="wakizashi-soak-") as name, ExitStack() as stack:
        folder = Path(name)
        everything = _Everything(stack, stack.enter_context(Lab(folder)), folder)
        for probe in everything.probes:
            sent = folder / f"{probe}-dump" / "sent"
            wait_for(f"{probe} to deliver", lambda sent=sent: any(sent.glob("*.window")))  # type: ignore[misc]  # a default binds it now
        begun = time.monotonic()
        due = {
            "sample": (0.0, SAMPLE_SECONDS),
            "device": (2.0, float(DEVICE_SECONDS)),
            "center": (float(UP_SECONDS), float(DOWN_SECONDS)),
        }
        while (now := time.monotonic() - begun) < 60 * minutes:
            for what, (at, every) in due.items():
                if now < at:
                    continue
                made.done[what] = made.done.get(what, 0) + 1
                due[what] = (at + every, every)
                if what == "sample":
                    everything.check()
                    everything.sample(made, now)
                elif what == "device":
                    everything.change_device()
                else:
                    everything.restart_center()
                    due[what] = (at + every, UP_SECONDS + DOWN_SECONDS - every)
            time.sleep(0.2)
        if everything.other_center.popen.poll() is not None:
            everything.restart_center()
        wait_for("all to be delivered", lambda: _delivered(everything), 60.0)
        say(f"{made.done}")
    return made


def _delivered(everything: _Everything) -> bool:
    try:
        everything.check_delivered()
    except BenchError:
        return False
    return True
