"""``wakizashi demo``: center, probe, traffic and dashboard, started and judged.

A center with SQLite in a folder of its own, a probe on all devices that are up,
a little real HTTP between local addresses. At the end it recounts, from the
window files the probe kept, what the probe counted, and compares it with what
the center stored.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import click

from wakizashi import wire
from wakizashi.demo import traffic
from wakizashi.errors import WakizashiError
from wakizashi.files import WindowDirectory
from wakizashi.lifecycle import STOP_SIGNALS, StopSignal
from wakizashi.privileges import end_with_parent
from wakizashi.query import Row, query, table

REFRESH_SECONDS = 2.0
TOP = 8
STOP_SECONDS = 20.0
COLUMNS = ("srcIP", "dstIP", "size", "packets")


class DemoError(WakizashiError):
    """The demo can't run, or its sums do not agree."""


def run(seconds: float | None, backend: str) -> None:
    """Run until interrupted or told to end, or for ``seconds``; then the sums have to agree.

    Raises:
        DemoError: a program ended early, or stored and counted bytes differ.
    """
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as nohup leaves it
    signals = STOP_SIGNALS if ignored else (*STOP_SIGNALS, signal.SIGHUP)
    with (
        # No exception out of nowhere: one that is raised in a callback of a library is lost.
        StopSignal(signals=signals, force=_interrupt) as stop,
        tempfile.TemporaryDirectory(prefix="wakizashi-demo-") as name,
    ):
        folder = Path(name)
        ports = _free_ports(4)
        center_file = _write(folder / "center-config.yaml", _center(folder, ports, backend))
        probe_file = _write(folder / "probe-config.yaml", _probe(folder, ports))
        click.echo(f"demo: center, probe and some HTTP traffic on this machine, in {folder}")
        with _program("wakizashi.center", center_file, folder) as center:
            _wait(lambda: _answers(ports[1], "/readyz"), center, stop, "the center to be ready")
            with (
                _dashboard(center_file, folder, ports[3], stop) as (pages, shown),
                _program("wakizashi.probe", probe_file, folder) as probe,
                traffic.running(),
            ):
                _wait(lambda: b": engine " in probe.log(), probe, stop, "the probe to capture")
                started = time.monotonic()
                while seconds is None or time.monotonic() - started < seconds:
                    left = REFRESH_SECONDS
                    if seconds is not None:
                        left = min(left, seconds - (time.monotonic() - started))
                    if stop.wait(max(0.0, left)):
                        break
                    _check(center, probe, *pages)
                    _show(center_file, shown)
            _settle(folder)
        _compare(folder, center_file)


class _Child:
    """A daemon as a child process, its messages in a file."""

    def __init__(self, name: str, config: Path, folder: Path, *more: str) -> None:
        self.name = re.split(r"[. ]", name)[-1]
        self._path = folder / f"{self.name}.log"
        with self._path.open("wb") as out:
            self.process = subprocess.Popen(  # noqa: S603 - our own programs
                [sys.executable, "-m", *name.split(), "-c", str(config), *more],
                stdout=out,
                stderr=out,
                cwd=folder,
                env={k: v for k, v in os.environ.items() if not k.startswith("WAKIZASHI_")},
                start_new_session=True,  # an interrupt from the keyboard is for the demo alone
                # Killed without a word, the demo can't stop it.
                preexec_fn=partial(end_with_parent, os.getpid()),
            )

    def log(self) -> bytes:
        """What it has said."""
        return self._path.read_bytes()

    def said(self) -> list[str]:
        """The last lines of it, for who asks why."""
        return self.log().decode(errors="replace").strip().splitlines()[-10:]


@contextlib.contextmanager
def _program(name: str, config: Path, folder: Path, *more: str) -> Iterator[_Child]:
    child = _Child(name, config, folder, *more)
    try:
        yield child
    finally:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGTERM)
            try:
                child.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


@contextlib.contextmanager
def _dashboard(
    center_file: Path, folder: Path, port: int, stop: StopSignal
) -> Iterator[tuple[list[_Child], str]]:
    """The page, where what it needs is installed; and what to tell of it."""
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        click.echo("demo: no dashboard, for that needs: pip install 'wakizashi[dashboard]'")
        yield [], ""
        return
    names = folder / "names"
    names.write_text(traffic.names())
    address = f"127.0.0.1:{port}"
    more = ("--listen", address, "--names", str(names), "--no-dns")
    with _program("wakizashi dashboard", center_file, folder, *more) as dashboard:
        _wait(lambda: _answers(port, "/healthz"), dashboard, stop, "the dashboard to answer")
        click.echo(f"demo: look at it on http://{address}/?last=1m")
        yield [dashboard], f", also on http://{address}/?last=1m"


def _check(*children: _Child) -> None:
    for child in children:
        if child.process.poll() is not None:
            raise DemoError(
                "\n".join([f"{child.name} ended with {child.process.returncode}:", *child.said()])
            )


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _wait(condition: Callable[[], bool], child: _Child, stop: StopSignal, what: str) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while not condition():
        _check(child)
        if time.monotonic() > deadline:
            told = f"waited {STOP_SECONDS:.0f} s in vain for {what}; is this machine very busy?"
            raise DemoError("\n".join([f"{told} {child.name} said:", *child.said()]))
        if stop.wait(0.05):
            _interrupt()


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _write(path: Path, content: dict[str, object]) -> Path:
    path.write_text(json.dumps(content, indent=1))  # JSON is YAML
    return path


def _center(folder: Path, ports: list[int], backend: str) -> dict[str, object]:
    return {
        "host": "127.0.0.1",
        "port": ports[0],
        "healthPort": ports[1],
        "recoverDir": str(folder / "recovery"),
        "recoverInterval": 1,
        "backendConfig": {
            "type": backend,
            "database": "wakizashi_demo",
            "table": f"demo_{os.getpid()}",
            "sqliteConfig": {"path": str(folder / "wakizashi.db")},
        },
    }


def _probe(folder: Path, ports: list[int]) -> dict[str, object]:
    return {
        "centerAddr": f"127.0.0.1:{ports[0]}",
        "name": "demo",
        "capInterval": 1,
        "autoClear": False,
        "dumpDir": str(folder / "dump"),
    }


def _talkers(center_file: Path) -> list[Row]:
    return query(center_file, last="7d", by=("srcIP", "dstIP"))


def _show(center_file: Path, shown: str) -> None:
    rows = _talkers(center_file)
    click.echo(f"\n{time.strftime('%H:%M:%S')}  top talkers, bytes since the start{shown}")
    click.echo(table(rows[:TOP], COLUMNS), nl=False)
    if len(rows) > TOP:
        click.echo(f"and {len(rows) - TOP} more pairs")


def _settle(folder: Path) -> None:
    """Wait until nothing waits any more."""
    deadline = time.monotonic() + STOP_SECONDS
    while any((folder / "recovery").glob("*.window")) and time.monotonic() < deadline:
        time.sleep(0.1)


def _compare(folder: Path, center_file: Path) -> None:
    """Stored bytes against what the probe counted, recounted from its window files."""
    directory = WindowDirectory(
        folder / "dump", key="dumpDir", limit_bytes=2**40, limit_key="dumpLimit"
    )
    directory.open()
    waiting = len(directory.pending())
    windows = [wire.decode(chunks) for _, chunks in directory.sent()]
    directory.close()
    counted = sum(flow.size for window in windows for flow in window.flows)
    rows = _talkers(center_file)
    stored = sum(int(row["size"]) for row in rows)
    click.echo("\nall pairs")
    click.echo(table(rows, COLUMNS), nl=False)
    click.echo(f"\ncounted by the probe: {counted:,} bytes in {len(windows)} windows")
    click.echo(f"stored by the center: {stored:,} bytes in {len(rows)} pairs")
    if waiting:
        raise DemoError(f"{waiting} windows were not delivered")
    if counted != stored or not rows:
        raise DemoError(f"counted {counted} and stored {stored} bytes do not agree")
    click.echo("they agree to the byte")
