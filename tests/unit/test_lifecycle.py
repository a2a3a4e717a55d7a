"""The signals that stop a daemon."""

import signal
import subprocess
import sys
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
