"""The signals that stop a daemon."""

import signal

import pytest

from wakizashi import lifecycle
from wakizashi.lifecycle import ECHO_SECONDS, StopSignal


class Left(Exception):
    """Instead of the exit."""


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave() -> None:
        raise Left

    monkeypatch.setattr(lifecycle, "leave_at_once", leave)


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_echo_of_a_signal_forces_no_exit(number: int) -> None:
    """As the child of a single-file program hears Ctrl-C: from the terminal and from its parent."""
    now = 100.0
    with StopSignal(lambda: now) as stop:
        signal.raise_signal(number)
        assert stop.requested
        now += ECHO_SECONDS / 2
        signal.raise_signal(number)
        now += ECHO_SECONDS
        with pytest.raises(Left):
            signal.raise_signal(number)


@pytest.mark.usefixtures("forced")
def test_another_signal_is_no_echo() -> None:
    with StopSignal(lambda: 100.0):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Left):
            signal.raise_signal(signal.SIGINT)
