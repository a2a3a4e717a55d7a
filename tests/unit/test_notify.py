"""What the service manager is told, by a socket that stands for it."""

import logging
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wakizashi import notify
from wakizashi.notify import FEEDS, Supervisor


class Manager:
    """Listens as a service manager does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        self._socket.settimeout(30.0)

    def hears(self) -> list[str]:
        """The lines of the next message."""
        return self._socket.recv(4096).decode().split("\n")

    def hears_nothing(self) -> bool:
        """Whether no message waits."""
        return not select.select([self._socket], [], [], 0)[0]

    def is_full(self) -> bool:
        """Whether one more message would have to wait (net.unix.max_dgram_qlen are kept)."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(self._socket.getsockname())
            return not select.select([], [sender], [], 0)[1]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    names = {"path": str(tmp_path / "notify"), "abstract": f"@wakizashi-test-{os.getpid()}"}
    manager = Manager(names[request.param])
    yield manager
    manager.close()


def test_each_state_is_one_message(manager: Manager) -> None:
    with Supervisor({"NOTIFY_SOCKET": manager.name}) as supervisor:
        supervisor.ready()
        assert manager.hears() == ["READY=1"]
        before = time.monotonic_ns() // 1000
        supervisor.reloading()
        state, since = manager.hears()
        assert state == "RELOADING=1"
        assert before <= int(since.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
        supervisor.stopping()
        assert manager.hears() == ["STOPPING=1"]
        assert manager.hears_nothing()


def test_status_is_one_line_and_told_when_it_changes(manager: Manager) -> None:
    with Supervisor({"NOTIFY_SOCKET": manager.name}) as supervisor:
        supervisor.status("2 devices\nREADY=0")
        assert manager.hears() == ["STATUS=2 devices READY=0"]
        supervisor.status("2 devices\nREADY=0")
        assert manager.hears_nothing()
        supervisor.status("3 devices")
        assert manager.hears() == ["STATUS=3 devices"]


def test_the_watchdog_is_fed_in_time_and_no_more_often_than_that(manager: Manager) -> None:
    now = [1000.0]
    environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "30000000"}
    with Supervisor(environment, lambda: now[0]) as supervisor:
        assert supervisor.feed_seconds == 30 / FEEDS <= 30 / 2
        fed = 0
        for _ in range(60):  # a minute of a loop with a round each second
            supervisor.alive()
            while not manager.hears_nothing():
                assert manager.hears() == ["WATCHDOG=1"]
                fed += 1
            now[0] += 1.0
    assert fed == 60 / 30 * FEEDS


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "4194305"},  # there is none so large
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
    ],
)
def test_a_watchdog_that_is_off_or_anothers_is_not_fed(
    manager: Manager, more: dict[str, str]
) -> None:
    with Supervisor({"NOTIFY_SOCKET": manager.name, **more}) as supervisor:
        assert supervisor.feed_seconds is None
        supervisor.alive()
        assert manager.hears_nothing()


@pytest.mark.parametrize("whose", [os.getpid, os.getppid], ids=["own", "of-what-unpacked-it"])
def test_the_watchdog_of_this_process_is_fed(manager: Manager, whose: Callable[[], int]) -> None:
    mine = {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(whose())}
    with Supervisor({"NOTIFY_SOCKET": manager.name, **mine}) as supervisor:
        supervisor.alive()
        assert manager.hears() == ["WATCHDOG=1"]


class Sender(socket.socket):
    """Remembers how long it was told to wait."""

    def __init__(self, *kind: int) -> None:
        super().__init__(*kind)
        self.waits: list[float | None] = []

    def settimeout(self, value: float | None, /) -> None:
        self.waits.append(value)
        super().settimeout(value)


def test_a_manager_that_no_longer_listens_is_waited_for_once(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "SEND_SECONDS", patience := 0.01)
    with Supervisor({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "3"}) as supervisor:
        assert supervisor._socket is not None
        supervisor._socket.close()
        supervisor._socket = sender = Sender(socket.AF_UNIX, socket.SOCK_DGRAM)
        waits = sender.waits
        while not manager.is_full():
            supervisor.ready()
        assert set(waits) == {patience}
        waits.clear()
        supervisor.alive()
        supervisor.status("busy")
        supervisor.reloading()
        supervisor.ready()
        assert waits == [0.0, 0.0, patience, 0.0]
        while not manager.hears_nothing():
            manager.hears()
        supervisor.status("busy")  # nobody has heard of it
        assert manager.hears() == ["STATUS=busy"]
        supervisor.ready()
        supervisor.stopping()
        assert waits[-2:] == [0.0, patience]
        assert manager.hears() == ["READY=1"]
        assert manager.hears() == ["STOPPING=1"]


@pytest.mark.parametrize("name", ["/no/such/socket", "vsock:2:1", ""])
def test_a_manager_that_does_not_listen_stops_nobody(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), Supervisor({"NOTIFY_SOCKET": name}) as supervisor:
        for _ in range(3):
            supervisor.ready()
            supervisor.stopping()
    assert [record.message.partition(":")[0] for record in caplog.records] == (
        ["NOTIFY_SOCKET"] if name else []
    )
