"""Programs that the bench starts: where they run, what they use, how they end."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.capture.lab import environment, wait_for
from bench.capture.results import BenchError

_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 60.0
USUAL_FILES = 1_024
"""The soft limit of descriptors that a service usually starts with."""


@dataclass(frozen=True, slots=True)
class Cpus:
    """Who runs where: the center on one CPU, a database on the others."""

    center: frozenset[int]
    others: frozenset[int]


def share_cpus(available: set[int]) -> Cpus:
    """The first for the center; where there is one only, everybody has it."""
    first, *others = sorted(available)
    return Cpus(frozenset((first,)), frozenset(others or (first,)))


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A program on some CPUs, its output in a file.

    ``files`` is its soft limit of descriptors. With ``pipes`` its standard input and
    output are ours.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        cpus: frozenset[int],
        *,
        files: int | None = None,
        pipes: bool = False,
    ) -> None:
        self._log = log
        self.name = Path(command[0]).name

        def prepare() -> None:
            os.sched_setaffinity(0, cpus)
            if files is not None:
                hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))

        with log.open("ab") as out:
            self.popen = subprocess.Popen(  # noqa: S603 - fixed programs
                command,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else out,
                stderr=out,
                env=environment() | {"GRPC_VERBOSITY": "NONE"},
                start_new_session=True,  # an interrupt from the keyboard is for the bench alone
                preexec_fn=prepare,  # the bench has no threads
                text=pipes,
            )
        self.pid = self.popen.pid

    def said(self) -> str:
        """The end of what it printed."""
        return " | ".join(self._log.read_text(errors="replace").strip().splitlines()[-3:])

    def check(self) -> None:
        """Raise BenchError if it has ended."""
        if self.popen.poll() is not None:
            raise BenchError(f"{self.name} ended with {self.popen.returncode}: {self.said()}")

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Poll until ``condition`` holds.

        Raises:
            BenchError: it has ended, or does not within ``seconds``.
        """

        def holds() -> bool:
            self.check()
            return condition()

        wait_for(what, holds, seconds)

    def cpu_seconds(self) -> float:
        """User and system time of all its threads, also of those that ended (proc_pid_stat(5))."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> tuple[int, int]:
        """Resident bytes now and at the peak (VmRSS, VmHWM)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        values = {name: text for name, _, text in (line.partition(":") for line in lines)}
        now, peak = (int(values[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return now, peak

    def stop(self) -> None:
        """SIGTERM, and wait; after a minute SIGKILL."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def running(process: Process) -> Iterator[Process]:
    """It is gone at the end."""
    try:
        yield process
    finally:
        process.stop()


class Center:
    """A center as an operator starts it; with a ``kind`` the one without a database.

    ``settings`` are ``KEY=VALUE`` of its backend.
    """

    def __init__(self, folder: Path, settings: Sequence[str], cpus: Cpus, kind: str = "") -> None:
        self.port, self.health_port = free_port(), free_port()
        keys = [f"port={self.port}", f"healthPort={self.health_port}", 'recoverDir=""', *settings]
        command = [sys.executable, "-m"]
        if kind:
            command += ["bench.center.null_center", kind, *keys]
        else:
            command += ["wakizashi.center", *(word for key in keys for word in ("--set", key))]
        self._command, self._log, self._cpus = command, folder / "center.log", cpus.center

    def start(self) -> Process:
        """Start it; it listens when this returns.

        Raises:
            BenchError: it does not.
        """
        process = Process(self._command, self._log, self._cpus, files=USUAL_FILES)
        try:
            process.wait_for("the center to listen", lambda: listens(self.port))
        except BenchError:
            process.stop()
            raise
        time.sleep(0.5)  # until its first look at the backend is over
        return process
