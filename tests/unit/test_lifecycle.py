"""The signals that stop a daemon."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from wakizashi.lifecycle import ECHO_SECONDS, StopSignal


class Left(Exception):
    """Instead of the exit."""


def leave() -> NoReturn:
    raise Left


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_echo_of_a_signal_forces_no_exit(number: int) -> None:
    """As the child of a single-file program hears Ctrl-C: from the terminal and from its parent."""
    now = 100.0
    with StopSignal(lambda: now, force=leave) as stop:
        signal.raise_signal(number)
        assert stop.requested
        now += ECHO_SECONDS / 2
        signal.raise_signal(number)
        now += ECHO_SECONDS
        with pytest.raises(Left):
            signal.raise_signal(number)


def test_another_signal_is_no_echo() -> None:
    with StopSignal(lambda: 100.0, force=leave):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Left):
            signal.raise_signal(signal.SIGINT)


def test_what_is_waited_for_comes_by_any_of_its_signals() -> None:
    with StopSignal(signals=(signal.SIGUSR1,), force=leave) as stop:
        assert not stop.wait(0.0)
        signal.raise_signal(signal.SIGUSR1)
        assert stop.wait(60.0) and stop.wait(60.0)


def test_a_child_answers_and_one_that_breaks_is_told() -> None:
    code = (
        "from wakizashi.lifecycle import ask_child\n"
        "import os\n"
        "assert ask_child(lambda: str(os.getppid())) == str(os.getpid())\n"
        "try:\n"
        "    ask_child(lambda: str(1 // 0))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("WakizashiError\n", "", 0)


FULL = Path("/dev/full")
NO_ROOM = (
    f"error: standard output: {os.strerror(errno.ENOSPC)}; make room there, or write elsewhere\n"
)
GUARD = "from wakizashi.lifecycle import guard; guard('it', lambda: {})"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("wakizashi", ["-m", "wakizashi", "--version"]),
        ("wakizashi", ["-m", "wakizashi", "query", "--help"]),
        ("probe", ["-m", "wakizashi.probe", "--version"]),
        ("probe", ["-m", "wakizashi.probe", "--check"]),
        ("center", ["-m", "wakizashi.center", "--version"]),
        ("center", ["-m", "wakizashi.center", "--check"]),
        ("it", ["-c", GUARD.format("print('little')")]),
        ("it", ["-c", GUARD.format("print('much' * 10_000)")]),
    ],
)
def test_output_that_has_no_room_is_told_in_a_line(program: str, words: list[str]) -> None:
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.stderr, done.returncode) == (f"{program}: {NO_ROOM}", 1)


def test_no_room_elsewhere_is_not_blamed_on_the_output() -> None:
    code = GUARD.format("print('x', end='') or (_ for _ in ()).throw(OSError(28, 'elsewhere'))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "standard output" not in done.stderr and "elsewhere" in done.stderr
    assert (done.stdout, done.returncode) == ("x", 1)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_as_good_as_dev_null(closed: str) -> None:
    code = GUARD.format(
        "[print(1), print(2, file=__import__('sys').stderr), __import__('sys').stdin.isatty()]"
    )
    command = f'"$0" -c "$1" {closed}'
    done = subprocess.run(["sh", "-c", command, sys.executable, code], check=False, timeout=60)
    assert done.returncode == 0
