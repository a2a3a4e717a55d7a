"""The last window when the dump directory is full: kept, delivered, or told of as lost, never two of it."""

import errno
import logging
import os
from pathlib import Path
from typing import cast

import pytest

from wakizashi import wire
from wakizashi.errors import Retryable
from wakizashi.filesystem import Filesystem
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Tally, Window
from wakizashi.probe.dump import Dump
from wakizashi.probe.ending import last_resort, lost
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.transmit import Transmitter, Unsaved

OTHER = Flow(0, Direction.TRANSIT, bytes(4), bytes(4), 50, 1)
FLOW = Flow(0, Direction.OUT, b"\x0a\0\0\1", b"\x0a\0\0\2", 300, 2)
LEDGER = Ledger(
    device=Tally(7, 800),
    counted=Tally(3, 350),
    own=Tally(2, 200),
    non_ip=Tally(1, 100),
    dropped=Tally(1, 150),
    other=Tally(1, 50),
)
LAST = Window("p", 1000, 2000, 7, (), (DeviceLedger("eth7", b"", LEDGER),), (FLOW, OTHER))


class Broken(Filesystem):
    broken = False

    def sync_directory(self, path: Path) -> None:
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync_directory(path)


class Side:
    def __init__(self, path: Path, outcome: Unsaved, *, limit: int = 1) -> None:
        self.path, self.outcome = path, outcome
        self.stats, self.disk = ProbeStats(), Broken()
        self.offered: list[list[bytes]] = []
        self.dump = Dump(
            path,
            limit_bytes=limit,
            auto_clear=True,
            stats=self.stats,
            max_flows=10,
            filesystem=self.disk,
        )
        self.dump.open()

    def deliver_unsaved(self, chunks: list[bytes]) -> Unsaved:
        self.offered.append(chunks)
        return self.outcome

    def end(self) -> None:
        last_resort(LAST, cast(Transmitter, self), self.dump, self.stats)
        self.dump.directory.close()

    def next_start(self) -> list[Window]:
        """What the next process finds; no window's name is used twice by it."""
        dump = Dump(self.path, limit_bytes=1, auto_clear=True, stats=ProbeStats())
        dump.open()
        found = [dump.directory.read(entry) for entry in dump.directory.pending()]
        assert dump.directory.last_identity("p") == (1000, 7)
        dump.directory.close()
        return [wire.decode(chunks or []) for chunks in found]


def test_where_there_is_room_by_now_it_is_saved(tmp_path: Path) -> None:
    side = Side(tmp_path, Unsaved.NOT_OFFERED, limit=10**6)
    side.end()
    assert side.offered == [] and side.next_start() == [LAST]
    assert side.stats.totals.lost.bytes == 0 and side.stats.totals.counted.bytes == 350


def test_what_the_center_has_is_remembered_and_not_sent_again(tmp_path: Path) -> None:
    side = Side(tmp_path, Unsaved.TAKEN)
    side.end()
    assert side.offered == [wire.encode(LAST)]
    assert side.next_start() == []  # though its start and number are known
    assert side.stats.totals.lost.bytes == 0
    assert (side.stats.totals.counted.bytes, side.stats.windows_acked) == (350, 1)


def test_what_nobody_takes_is_stored_as_lost_to_the_byte(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    side = Side(tmp_path, Unsaved.NOT_OFFERED)
    side.end()
    (told,) = side.next_start()
    assert (told.probe, told.start_ms, told.end_ms, told.number) == ("p", 1000, 2000, 7)
    assert told.flows == ()
    (device,) = told.devices
    assert device.ledger.lost == Tally(3, 350)
    assert device.ledger.counted == device.ledger.other == Tally()
    assert device.ledger.device == device.ledger.accounted == LEDGER.device
    assert (side.stats.totals.lost.packets, side.stats.totals.lost.bytes) == (3, 350)
    assert (side.stats.totals.counted.bytes, side.stats.totals.other.bytes) == (0, 0)
    assert "lost: 350 bytes in 3 packets of the last window" in caplog.text


def test_what_a_center_may_have_is_kept_whole_beyond_the_quota_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    side = Side(tmp_path, Unsaved.OFFERED)
    side.end()
    assert side.next_start() == [LAST]  # stored twice it is the same
    assert side.stats.totals.lost.bytes == 0
    # And with every further start one more would wait: so that is the end of it.
    again = Side(tmp_path, Unsaved.OFFERED)
    second = Window("p", 3000, 4000, 8, (), LAST.devices, LAST.flows)
    last_resort(second, cast(Transmitter, again), again.dump, again.stats)
    assert [entry.number for entry in again.dump.directory.pending()] == [7]
    assert again.stats.totals.lost.bytes == 0  # that is not known
    assert "350 bytes in 3 packets of the last window may be lost" in caplog.text


def test_number_of_a_window_that_may_be_lost_is_not_used_again(tmp_path: Path) -> None:
    """A center may have it under that number; and if not, the number that is missing tells."""
    side = Side(tmp_path, Unsaved.OFFERED)
    side.dump.save_past_limit(Window("p", 500, 1000, 6, (), LAST.devices, LAST.flows))
    side.end()
    assert [window.number for window in side.next_start()] == [6]


def test_a_disk_that_takes_nothing_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing is offered: a shorter form of the window may come back and go over it."""
    side = Side(tmp_path, Unsaved.TAKEN, limit=10**6)
    side.disk.broken = True
    with caplog.at_level(logging.CRITICAL):
        side.end()
    assert side.offered == []
    assert (side.stats.totals.lost.packets, side.stats.totals.lost.bytes) == (3, 350)
    assert "not even its ledger: dumpDir: " in caplog.text


class Stubborn(Broken):
    stubborn = False

    def remove(self, path: Path) -> None:
        if self.stubborn and path.name.endswith(".window"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().remove(path)


def with_a_shorter_form(path: Path) -> tuple[Side, Stubborn]:
    side = Side(path, Unsaved.TAKEN, limit=10**6)
    side.dump.directory.close()
    disk = side.disk = Stubborn()
    side.dump = Dump(path, limit_bytes=10**6, auto_clear=True, stats=side.stats, filesystem=disk)
    side.dump.open()
    disk.broken = disk.stubborn = True
    with pytest.raises(Retryable):
        side.dump.save(Window("p", 1000, 1500, 7, (), LAST.devices, (FLOW,)))
    assert len(list(path.glob("*.window"))) == 1
    disk.broken = False
    side.dump.directory.limit_bytes = 1
    return side, disk


def test_shorter_form_of_a_window_never_comes_after_it(tmp_path: Path) -> None:
    """Its write failed at the fsync of the directory, and so did its removal."""
    side, disk = with_a_shorter_form(tmp_path)
    disk.stubborn = False
    side.end()
    assert side.offered == [wire.encode(LAST)]
    assert side.next_start() == []


def test_shorter_form_that_stays_is_replaced_by_what_tells_of_the_loss(tmp_path: Path) -> None:
    side, _ = with_a_shorter_form(tmp_path)
    side.end()
    assert side.offered == []
    assert side.next_start() == [lost(LAST)]
