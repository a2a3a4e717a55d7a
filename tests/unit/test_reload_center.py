"""Each key of a center that may change while it runs, and that it does.

A key's proof is the function ``effect_of_KEY`` here, dots as underscores; a key that
may change and has none fails.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from tests.center_windows import window
from tests.unit.test_store import FakeBackend, down, submit, until
from wakizashi.center.admission import Admission
from wakizashi.center.config import CenterConfig
from wakizashi.center.heart import Heart
from wakizashi.center.metrics import Metrics
from wakizashi.center.recovery import Recovery
from wakizashi.center.reload import apply
from wakizashi.center.store import Status, Store
from wakizashi.lifecycle import HangUp
from wakizashi.model import StoredWindow
from wakizashi.notify import Supervisor
from wakizashi.pulse import STUCK_SECONDS
from wakizashi.reload import Reload, Source, Takes, keys


class Side:
    """The parts of a center that a reload reaches, with a backend that is down at first."""

    def __init__(self, folder: Path, hangup: HangUp) -> None:
        self.new = self.old = CenterConfig(recoverInterval=3_600)
        self.backend = FakeBackend()
        self.backend.script = down
        self.recovery = Recovery(folder, limit_bytes=self.old.recoverLimit)
        self.recovery.open()
        metrics = Metrics(self.recovery)
        self.admission = Admission(self.old.limits, metrics, wait_seconds=30.0)
        self.store = Store(
            self.backend,
            self.recovery,
            metrics,
            interval_seconds=self.old.recoverInterval,
            group_seconds=0.01,
        )
        self.store.start()
        self._reload = Reload(
            self.old,
            Source("FILE", lambda: self.new, hangup),
            Supervisor({}),
            lambda config: apply(config, self.store, self.admission, self.recovery),
        )

    def change(self, **values: object) -> None:
        """Reload with these keys (levels joined by two underscores) over those of the start."""
        self.new = self.old
        for key, value in values.items():
            section, _, name = key.rpartition("__")
            if section:
                value = getattr(self.new, section).model_copy(update={name: value})
            self.new = self.new.model_copy(update={section or name: value})
        signal.raise_signal(signal.SIGHUP)
        self._reload.answer()

    @property
    def holds(self) -> CenterConfig:
        return self._reload.config


@pytest_asyncio.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    handler, level = signal.getsignal(signal.SIGHUP), logging.root.level
    with HangUp() as hangup:
        side = Side(tmp_path / "recovery", hangup)
        yield side
        await side.store.close(5)
        side.recovery.close()
    signal.signal(signal.SIGHUP, handler)
    logging.root.setLevel(level)


# -- what takes effect -----------------------------------------------------------------------


async def effect_of_logLev(side: Side) -> None:
    side.change(logLev=3)
    assert logging.root.level == logging.ERROR
    side.change()
    assert logging.root.level == logging.INFO


async def effect_of_recoverInterval(side: Side) -> None:
    side.store._writer._failures = 20  # so the backoff is as long as it gets
    assert [outcome.status for outcome in await submit(side.store, window(0))] == [Status.STORED]
    assert len(side.recovery.waiting()) == 1 and side.backend.kept == {}
    side.backend.script = lambda windows: None
    assert side.store._writer.pause_seconds > 1_000
    side.change(recoverInterval=1)  # in the middle of a pause of an hour
    await until(lambda: side.recovery.waiting() == [])
    assert len(side.backend.kept) == 1


async def effect_of_recoverLimit(side: Side) -> None:
    side.change(recoverLimit=1)
    assert [outcome.status for outcome in await submit(side.store, window(0))] == [Status.RETRY]
    side.change()
    assert [outcome.status for outcome in await submit(side.store, window(0))] == [Status.STORED]


async def effect_of_limits_bytesInFlight(side: Side) -> None:
    room = side.admission
    assert await room.enter("a", 6 * 2**20) is None
    waiting = asyncio.create_task(room.enter("b", 6 * 2**20))
    await asyncio.sleep(0)
    assert not waiting.done()
    side.change(limits__bytesInFlight=2**24)  # there is room for who waits
    assert await waiting is None
    side.change(limits__bytesInFlight=2**20)
    assert not room.has_room("c", 1)


async def effect_of_limits_calls(side: Side) -> None:
    side.change(limits__calls=1)
    assert side.admission.begin_call() is None
    assert side.admission.begin_call() == "limits.calls: 1 calls are in progress; it is 1"


async def effect_of_limits_windowsPerProbe(side: Side) -> None:
    side.change(limits__windowsPerProbe=1)
    assert await side.admission.enter("a", 1) is None
    limit = await side.admission.enter("a", 1)
    assert limit is not None and limit.startswith("limits.windowsPerProbe")


async def effect_of_limits_recordsPerWindow(side: Side) -> None:
    assert side.admission.check_records(8) is None
    side.change(limits__recordsPerWindow=7)
    assert side.admission.check_records(8) is not None
    assert side.admission.check_records(7) is None


CHANGEABLE = [key for key, takes in keys(CenterConfig).items() if takes is not Takes.RESTART]


@pytest.mark.parametrize("key", CHANGEABLE)
async def test_a_key_that_may_change_takes_effect(key: str, side: Side) -> None:
    name = f"effect_of_{key.replace('.', '_')}"
    assert name in globals(), f"{key} may change: prove it by {name}, or say RESTART"
    await globals()[name](side)


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("host", {"host": "127.0.0.1"}),
        ("port", {"port": 7}),
        ("healthPort", {"healthPort": 7}),
        ("recoverDir", {"recoverDir": ""}),
        ("backendConfig.timeout", {"backendConfig__timeout": 7}),
    ],
)
async def test_a_key_that_may_not_change_is_named_and_stays(
    key: str, changed: dict[str, object], side: Side, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        side.change(**changed)
    assert caplog.messages[-1] == (
        f"reloaded FILE: nothing changed; {key} can't change while running; restart to change it"
    )
    assert side.holds == side.old


# -- whether it works ------------------------------------------------------------------------


class Fed(Supervisor):
    """Counts how often the watchdog was fed."""

    def __init__(self) -> None:
        super().__init__({})
        self.fed = 0

    def alive(self) -> None:
        self.fed += 1


async def test_a_loop_that_stands_still_fails_healthz_on_a_thread_of_its_own(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Fed()
    heart = Heart(side.store, supervisor, lambda: "well")
    now = 0.0
    monkeypatch.setattr(heart._pulse, "_clock", lambda: now)
    heart.beat()
    assert (heart.trouble(), supervisor.fed) == (None, 1)
    now += STUCK_SECONDS + 2.0
    asked: list[str | None] = []
    thread = threading.Thread(target=lambda: asked.append(heart.trouble()))
    thread.start()
    thread.join()  # and the loop stands still meanwhile
    assert asked == ["the event loop stands still for 31 s"]


async def test_a_store_whose_loop_ended_is_no_center(side: Side) -> None:
    supervisor = Fed()
    heart = Heart(side.store, supervisor, lambda: "well")
    side.store._tasks[0].cancel()
    await asyncio.wait(side.store._tasks[:1])
    heart.beat()
    assert (heart.trouble(), supervisor.fed) == ("the store loop has ended", 0)


async def test_a_backend_that_hangs_is_waited_for_and_not_for_ever(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Fed()
    heart = Heart(side.store, supervisor, lambda: "well")
    began, mended = threading.Event(), threading.Event()

    def hang(windows: Sequence[StoredWindow]) -> None:
        began.set()
        mended.wait(30)

    side.backend.script = hang
    now = 0.0
    monkeypatch.setattr(side.store._writer.pulse, "_clock", lambda: now)
    waiting = asyncio.create_task(submit(side.store, window(0)))
    await until(began.is_set)
    now += 500.0
    heart.beat()
    assert (heart.trouble(), supervisor.fed) == (None, 1)
    now += 200.0
    heart.beat()
    assert (heart.trouble(), supervisor.fed) == (
        "the write to the backend stands still for 100 s",
        1,
    )
    mended.set()
    await waiting
    heart.beat()
    assert (heart.trouble(), supervisor.fed) == (None, 2)
