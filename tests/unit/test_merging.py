"""Which windows are merged at the quota, in what order, and when none is."""

import contextlib
import errno
import os
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.disk import Crash, Disk
from wakizashi import wire
from wakizashi.errors import Retryable
from wakizashi.filesystem import Filesystem
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Tally, Window
from wakizashi.probe import merging
from wakizashi.probe.backlog import Backlog, Taken
from wakizashi.probe.dump import Dump
from wakizashi.probe.merge import merge
from wakizashi.probe.stats import ProbeStats
from wakizashi.shelf import DirectoryFull


def window(number: int, flows: int = 1, *, first: int = 0, start: int | None = None) -> Window:
    """The ``number``-th second of a probe; its flows have the addresses from ``first`` on."""
    found = tuple(
        Flow(0, Direction.OUT, bytes(4), (first + i).to_bytes(4, "big"), 100 + number, 1)
        for i in range(1, flows + 1)
    )
    counted = Tally(flows, sum(flow.size for flow in found))
    device = DeviceLedger("eth0", b"", Ledger(device=counted, counted=counted))
    begin = number * 1000 if start is None else start
    return Window("p", begin, begin + 1000, number, (), (device,), found)


class Side:
    """A dump directory with room for so many windows of one flow."""

    def __init__(
        self,
        path: Path,
        room: float,
        *,
        max_flows: int | None = 1000,
        disk: Filesystem | None = None,
    ) -> None:
        self.path, self.stats = path, ProbeStats()
        (size,) = self.sizes(path.parent / f"{path.name}-size")
        self.dump = Dump(
            path,
            limit_bytes=int(room * size),
            auto_clear=True,
            stats=self.stats,
            max_flows=max_flows,
            filesystem=disk,
        )
        self.dump.open()

    @staticmethod
    def sizes(path: Path) -> list[int]:
        dump = Dump(path, limit_bytes=10**6, auto_clear=True, stats=ProbeStats())
        dump.open()
        entry = dump.save(window(1))
        dump.directory.close()
        return [entry.size]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First and last number of each window that waits."""
        return [(w.number - w.windows + 1, w.number) for w in self.windows]

    @property
    def windows(self) -> list[Window]:
        directory = self.dump.directory
        return [wire.decode(directory.read(e) or []) for e in directory.pending()]


def test_the_shortest_pair_goes_first_and_the_oldest_of_those(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    side = Side(tmp_path / "d", 4.6)
    spans = []
    for number in range(1, 13):
        side.dump.save(window(number))
        spans.append(side.spans)
    assert spans[3] == [(1, 1), (2, 2), (3, 3), (4, 4)] and side.spans[-1][1] == 12
    assert spans[4] == [(1, 2), (3, 3), (4, 4), (5, 5)]
    assert spans[5] == [(1, 2), (3, 4), (5, 5), (6, 6)]
    assert spans[6] == [(1, 2), (3, 4), (5, 6), (7, 7)]
    assert spans[7] == [(1, 2), (3, 4), (5, 6), (7, 8)]  # the one that is closed is merged as well
    assert spans[8] == [(1, 2), (3, 4), (5, 6), (7, 9)]
    assert spans[9] == [(1, 4), (5, 6), (7, 9), (10, 10)]
    assert sum(w.devices[0].ledger.counted.bytes for w in side.windows) == sum(
        100 + number for number in range(1, 13)
    )
    assert side.dump.directory.used_bytes <= side.dump.directory.limit_bytes
    assert side.stats.windows_closed == 12
    assert side.stats.windows_merged == 12 - len(side.spans)
    (told,) = [record.message for record in caplog.records]
    assert told.startswith(f"dumpLimit: {side.path} holds ")
    assert "windows are merged: time resolution is lost, bytes are not; raise dumpLimit" in told


def test_what_was_offered_is_not_merged(tmp_path: Path) -> None:
    side = Side(tmp_path / "d", 3.2)
    for number in (1, 2, 3):
        side.dump.save(window(number))
    assert side.dump.directory.offer(side.dump.directory.pending()[1])
    with pytest.raises(DirectoryFull) as told:  # 3 and 4 as one have room
        for number in range(4, 10):
            side.dump.save(window(number, flows=2 * number))
    assert "dumpLimit" in str(told.value)
    assert side.spans[:2] == [(1, 1), (2, 2)]


def test_what_was_there_at_the_start_is_not_merged(tmp_path: Path) -> None:
    side = Side(tmp_path / "d", 3.2)
    for number in (1, 2, 3):
        side.dump.save(window(number))
    side.dump.directory.close()
    again = Side(tmp_path / "d", 3.2)
    with pytest.raises(DirectoryFull):
        again.dump.save(window(4))
    assert again.spans == [(1, 1), (2, 2), (3, 3)]


def test_a_capture_file_is_sent_as_it_is(tmp_path: Path) -> None:
    side = Side(tmp_path / "d", 3.2, max_flows=None)
    for number in (1, 2, 3):
        side.dump.save(window(number))
    with pytest.raises(DirectoryFull):
        side.dump.save(window(4))
    assert side.spans == [(1, 1), (2, 2), (3, 3)]


def test_windows_of_a_clock_that_went_back_are_merged(tmp_path: Path) -> None:
    """Each begins a millisecond after the one before, until the clock has caught up."""
    side = Side(tmp_path / "d", 3.2)
    for number in range(1, 9):
        side.dump.save(window(number, start=10**6 + number))
    assert side.spans == [(1, 2), (3, 8)]  # their times take more bytes than those of the others
    assert [(w.start_ms - 10**6, w.end_ms - w.start_ms) for w in side.windows] == [
        (1, 2000),
        (3, 6000),
    ]


def test_windows_with_a_gap_between_them_stay_two(tmp_path: Path) -> None:
    side = Side(tmp_path / "d", 2.2)
    for number in (1, 3):
        side.dump.save(window(number))
    with pytest.raises(DirectoryFull):
        side.dump.save(window(5))


def test_windows_with_more_flows_together_than_may_be_stay_two(tmp_path: Path) -> None:
    side = Side(tmp_path / "d", 2.2, max_flows=1)
    for number in (1, 2):
        side.dump.save(window(number, first=number))
    with pytest.raises(DirectoryFull):
        side.dump.save(window(3, first=3))
    assert [w.devices[0].ledger.other for w in side.windows] == [Tally(), Tally()]


def test_what_a_limit_of_flows_forbade_is_looked_at_again_when_it_is_raised(tmp_path: Path) -> None:
    side = Side(tmp_path / "d", 2.2, max_flows=1)
    side.dump.save(window(1, flows=2))
    with pytest.raises(DirectoryFull):
        side.dump.save(window(2, flows=2))
    side.dump.change(limit_bytes=side.dump.directory.limit_bytes, auto_clear=True, max_flows=1_000)
    side.dump.save(window(2, flows=2))
    assert side.spans == [(1, 2)]


def test_windows_without_a_flow_in_common_are_no_shorter_as_one(tmp_path: Path) -> None:
    side = Side(tmp_path / "d", 500, max_flows=1000)
    few = merging.FEW_FLOWS
    side.dump.save(window(1, few))
    side.dump.save(window(2, few, first=few))
    side.dump.directory.limit_bytes = side.dump.directory.used_bytes
    with pytest.raises(DirectoryFull):
        side.dump.save(window(3, few, first=2 * few))
    assert side.spans == [(1, 1), (2, 2)]


def test_only_so_much_is_looked_at_for_one_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Capture waits meanwhile. The window stays open, and the next attempt goes on from there."""
    side = Side(tmp_path / "d", 8.2)
    for number in range(1, 9):
        side.dump.save(window(number))
    side.dump.directory.limit_bytes //= 4
    monkeypatch.setattr(merging, "MOST_FLOWS", 4)  # two pairs of one flow each
    attempts = 0
    while True:
        attempts += 1
        before = side.stats.windows_merged
        try:
            side.dump.save(window(9))
            break
        except DirectoryFull:
            assert side.stats.windows_merged == before + 2
    assert attempts > 2
    before = side.stats.windows_merged
    monkeypatch.setattr(merging, "MOST_PAIRS", 0)
    with pytest.raises(DirectoryFull):
        side.dump.save(window(10))
    assert side.stats.windows_merged == before


def test_disk_that_is_full_loses_nothing(tmp_path: Path) -> None:
    class Full(Filesystem):
        full = False

        def write_new(self, path: Path, data: bytes) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().write_new(path, data)

    disk = Full()
    side = Side(tmp_path / "d", 3.2, disk=disk)
    for number in (1, 2, 3):
        side.dump.save(window(number))
    disk.full = True
    with pytest.raises(Retryable, match="No space left on device"):
        side.dump.save(window(4))
    assert side.spans == [(1, 1), (2, 2), (3, 3)] and side.stats.windows_merged == 0
    disk.full = False
    side.dump.save(window(4))
    assert side.spans == [(1, 2), (3, 3), (4, 4)]


def test_what_the_disk_leaves_in_doubt_is_held_back_until_it_works(tmp_path: Path) -> None:
    disk = Deaf()
    side = Side(tmp_path / "d", 3.2, disk=disk)
    for number in (1, 2, 3):
        side.dump.save(window(number))
    disk.deaf = True
    with pytest.raises(DirectoryFull):  # 1 and 2 are one, and there as well
        side.dump.save(window(4))
    directory = side.dump.directory
    assert side.spans == [(1, 2), (3, 3)]
    assert [entry.number for entry in directory.deliverable()] == [3]
    assert not directory.offer(directory.pending()[0])
    assert directory.used_bytes == sum(f.stat().st_size for f in side.path.glob("*.window"))
    disk.deaf = False
    assert [entry.number for entry in directory.deliverable()] == [2, 3]
    assert directory.offer(directory.pending()[0])
    assert len(list(side.path.glob("*.window"))) == 2
    side.dump.save(window(4))
    assert side.spans == [(1, 2), (3, 3), (4, 4)]


def test_nothing_is_merged_for_a_window_that_is_longer_than_the_quota(tmp_path: Path) -> None:
    """Time resolution would be lost for nothing."""
    side = Side(tmp_path / "d", 4.2)
    for number in (1, 2, 3, 4):
        side.dump.save(window(number))
    with pytest.raises(Retryable, match="dumpLimit: .* of 2061 bytes is longer than the limit"):
        side.dump.save(window(5, flows=merging.FEW_FLOWS))
    assert side.spans == [(1, 1), (2, 2), (3, 3), (4, 4)]
    side.dump.save(window(5))
    assert side.spans == [(1, 2), (3, 3), (4, 4), (5, 5)]


def test_window_that_a_center_would_refuse_is_not_merged(tmp_path: Path) -> None:
    """Reading it is not the capture loop's end."""
    side = Side(tmp_path / "d", 2.2)
    refused = window(1)
    side.dump.save(replace(refused, devices=(replace(refused.devices[0], name="a\\b"),)))
    side.dump.save(window(2))
    side.dump.save(window(3))  # 2 and 3 are one
    assert [entry.number for entry in side.dump.directory.pending()] == [1, 3]


def test_damage_that_merging_finds_is_counted_though_a_window_is_refused_then(
    tmp_path: Path,
) -> None:
    side = Side(tmp_path / "d", 3.2)
    for number in (1, 2, 3):
        side.dump.save(window(number))
    first, _, third = side.dump.directory.pending()
    (side.path / first.name).write_bytes(bytes(first.size))
    side.dump.save(window(4))  # in the room of the damaged one
    side.dump.rejected(third, "why")
    side.dump.tell_bad()
    assert (side.stats.windows_damaged, side.stats.windows_rejected) == (1, 1)


class Deaf(Filesystem):
    """What is written is there, but does not become durable, nor does it go away."""

    deaf = broken = False

    def remove(self, path: Path) -> None:
        if self.deaf and path.name.endswith(".window"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().remove(path)

    def sync_directory(self, path: Path) -> None:
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync_directory(path)


def with_a_shorter_form_in_a_merged_one(path: Path) -> tuple[Side, Deaf]:
    """Window 4 was merged with 3, and that was not durable; then 4 stayed open."""
    disk = Deaf()
    side = Side(path, 3.2, disk=disk)
    for number in (1, 2, 3):
        side.dump.save(window(number))
    for entry in side.dump.directory.pending()[:2]:
        assert side.dump.directory.offer(entry)
    disk.deaf = disk.broken = True
    with pytest.raises(Retryable, match="Input/output error"):
        side.dump.save(window(4))
    assert len(list(side.path.glob("*.window"))) == 4
    disk.broken = False
    side.dump.directory.limit_bytes *= 2
    return side, disk


def test_window_stays_open_as_long_as_a_merged_one_with_a_shorter_form_of_it_is_there(
    tmp_path: Path,
) -> None:
    """The next start would take it for one of those in the merged one, and remove it."""
    side, disk = with_a_shorter_form_in_a_merged_one(tmp_path / "d")
    with pytest.raises(Retryable, match="can't remove .*-0000000004-"):
        side.dump.save(window(4, flows=2))
    assert [entry.number for entry in side.dump.directory.deliverable()] == [1, 2]
    disk.deaf = False
    side.dump.save(window(4, flows=3))
    side.dump.directory.close()
    again = Side(side.path, 9)
    assert again.spans == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert len(again.windows[-1].flows) == 3


def test_last_window_is_not_withdrawn_as_long_as_a_merged_one_with_a_form_of_it_is_there(
    tmp_path: Path,
) -> None:
    side, disk = with_a_shorter_form_in_a_merged_one(tmp_path / "d")
    with pytest.raises(Retryable, match="can't remove .*-0000000004-"):
        side.dump.directory.withdraw(window(4, flows=2))
    disk.deaf = False
    side.dump.directory.withdraw(window(4, flows=2))
    side.dump.directory.close()
    again = Side(side.path, 3.2)
    assert again.spans == [(1, 1), (2, 2), (3, 3)]


def test_what_a_crash_left_beside_the_merged_window_goes_at_the_start(tmp_path: Path) -> None:
    side = Side(tmp_path / "d", 9)
    for number in (1, 2, 3):
        side.dump.save(window(number))
    copies = {path: path.read_bytes() for path in side.path.glob("*.window")}
    first, second, _ = side.windows
    both = merge(first, second, 10)
    assert both is not None
    side.dump.directory.replace(side.dump.directory.pending()[:2], both)
    # Another number, or another time, is another window: of a probe whose directory was lost.
    later = window(2, start=50_000)
    later = Window("p", 50_000, 51_000, 2, (), later.devices, later.flows)
    side.dump.directory.replace([], later)
    for path, content in copies.items():
        path.write_bytes(content)
    side.dump.directory.close()
    again = Side(tmp_path / "d", 9)
    assert again.spans == [(1, 2), (3, 3), (2, 2)]
    assert again.dump.directory.moved_to_bad == []
    assert len(list(side.path.glob("*.window"))) == 3


def on_a_forgetful_disk() -> tuple[Dump, Disk]:
    """A directory that two windows of a probe wait in."""
    disk = Disk()
    dump = opened(disk)
    for number in (1, 2):
        dump.save(window(number))
    return dump, disk


def opened(disk: Disk) -> Dump:
    dump = Dump(
        Path("/dump"),
        limit_bytes=10**6,
        auto_clear=True,
        stats=ProbeStats(),
        max_flows=9,
        filesystem=disk,
    )
    dump.open()
    return dump


def deliver(dump: Dump) -> list[int]:
    """As the delivery thread does; the numbers of what went."""
    went = []
    for entry in dump.directory.deliverable():
        assert dump.directory.offer(entry)
        dump.delivered(entry)
        went.append(entry.number)
    return went


def after_the_crash(disk: Disk, seed: int) -> list[tuple[int, int]]:
    """Number and windows of what waits then."""
    disk.chance = Random(seed)
    disk.crash()
    dump = opened(disk)
    found = [wire.decode(dump.directory.read(e) or []) for e in dump.directory.pending()]
    return [(w.number, w.windows) for w in found]


BOTH = merge(window(1), window(2), 9)


@pytest.mark.parametrize("seed", range(20))
def test_a_merged_window_is_offered_when_those_in_it_are_gone_for_good(seed: int) -> None:
    assert BOTH is not None
    dump, disk = on_a_forgetful_disk()
    dump.directory.replace(dump.directory.pending(), BOTH)
    assert deliver(dump) == [2]
    assert set(after_the_crash(disk, seed)) <= {(2, 2)}  # it may come again: it stores the same


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("failures", [1, 2])
def test_windows_are_offered_when_what_they_were_not_merged_into_is_gone_for_good(
    seed: int, failures: int
) -> None:
    assert BOTH is not None
    dump, disk = on_a_forgetful_disk()
    disk.calm()
    disk.chance = Random(seed)
    disk.fail_at, disk.fail_for = 6, failures  # the fsync of the directory, and the removal
    with pytest.raises(Retryable):
        dump.directory.replace(dump.directory.pending(), BOTH)
    disk.calm()
    assert deliver(dump) == [1, 2]
    assert set(after_the_crash(disk, seed)) <= {(1, 1), (2, 1)}


@pytest.mark.parametrize("step", range(1, 25))
@pytest.mark.parametrize("seed", range(5))
def test_killed_before_the_merged_window_is_durable_and_again_at_any_step_of_the_start(
    step: int, seed: int
) -> None:
    """Those in it are removed when it is durable, no sooner."""
    assert BOTH is not None
    dump, disk = on_a_forgetful_disk()
    disk.calm()
    disk.crash_at = 6  # the fsync of the directory
    with pytest.raises(Crash):
        dump.directory.replace(dump.directory.pending(), BOTH)
    disk.kill()
    disk.calm()
    disk.crash_at = step
    with contextlib.suppress(Crash):  # with a late step it gets through
        Backlog(Path("/dump"), limit_bytes=10**6, filesystem=disk).open()
    disk.calm()
    assert after_the_crash(disk, seed) in ([(1, 1), (2, 1)], [(2, 2)])


def test_what_was_offered_between_reading_and_replacing_is_not_replaced(tmp_path: Path) -> None:
    side = Side(tmp_path / "d", 9)
    for number in (1, 2):
        side.dump.save(window(number))
    both = side.dump.directory.pending()
    assert BOTH is not None
    assert side.dump.directory.offer(both[1])
    with pytest.raises(Taken):
        side.dump.directory.replace(both, BOTH)
    assert side.spans == [(1, 1), (2, 2)]
    assert len(list(side.path.glob("*.window"))) == 2
