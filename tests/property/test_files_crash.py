"""The directory of window files against a model, on a disk that crashes or fails at any system call.

What is held, after whatever came together:

- a window that :meth:`write` called durable waits, whole, until it was let go of;
- a window is in a state that was asked for, the old one or the new one;
- what is refused for good, or damaged, is in ``bad/`` or still waits;
- the identities of later windows lie above all that were ever durable;
- the bytes that count against the quota are those of the files.
"""

import errno
from dataclasses import dataclass
from pathlib import Path
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.disk import Crash, Disk
from wakizashi import wire
from wakizashi.errors import Retryable, WakizashiError
from wakizashi.files import BAD, SENT, WindowDirectory
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Window
from wakizashi.window_file import Entry, WindowFile, seal, unseal, window_file

PATH = Path("/var/lib/dump")
PROBE = "p"
LIMIT = 900
"""Room for about eight of the windows here."""


@dataclass(frozen=True)
class Trouble:
    """What goes wrong in one operation, and at which of its steps."""

    crash_at: int = 0
    power: bool = False
    """Whether the crash takes the power away, or the process alone."""
    fail_at: int = 0
    fail_for: int = 1
    error: int = errno.EIO


CALM = Trouble()


def troubles(steps: int) -> st.SearchStrategy[Trouble]:
    """Of an operation that takes about so many steps."""
    at = st.integers(1, steps)
    return st.one_of(
        st.just(Trouble()),
        st.just(Trouble()),
        st.builds(Trouble, crash_at=at, power=st.sampled_from([True, True, False])),
        st.builds(
            Trouble,
            fail_at=at,
            fail_for=st.sampled_from([1, 1, 2, 99]),
            error=st.sampled_from([errno.EIO, errno.ENOSPC]),
        ),
        st.builds(Trouble, crash_at=at, power=st.just(True), fail_at=at),
    )


chances = st.randoms(use_true_random=True)
picks = st.lists(
    st.tuples(st.sampled_from(["new", "new", "failed", "again"]), st.integers(0, 9)),
    min_size=1,
    max_size=3,
)


def file_of(start_ms: int, number: int, flows: int) -> WindowFile:
    flow = Flow(0, Direction.OUT, bytes(4), bytes([1, 2, 3, 4]), 100, 1)
    device = DeviceLedger("e", b"", Ledger())
    window = Window(PROBE, start_ms, start_ms + 9, number, (), (device,), (flow,) * flows)
    return window_file(PROBE, start_ms, number, wire.encode(window))


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.shown: dict[str, bytes] = {}
        """The windows that wait, and the contents of their files."""
        self.possible: dict[str, set[bytes | None]] = {}
        """What each window may be after a crash; None: it may be gone."""
        self.bad: list[bytes] = []
        """What has to be in ``bad/``."""
        self.either: list[tuple[str, bytes]] = []
        """What has to be there or in ``bad/``."""
        self.written: set[bytes] = set()
        self.damaged: set[str] = set()
        self.failed: dict[str, tuple[int, int, int]] = {}
        """Start, number and length of the windows that were not written, while we live."""
        self.identity = (-1, 0)
        self.number = 0
        self.undisturbed = True
        """No failure since the directory was opened."""
        self.start()

    # -- the end of a process, and the next ------------------------------------------------------

    def start(self, trouble: Trouble = CALM) -> None:
        self.failed = {}
        while True:
            self.directory = WindowDirectory(
                PATH, key="dumpDir", limit_bytes=LIMIT, limit_key="dumpLimit", filesystem=self.disk
            )
            self.arm(trouble)
            try:
                self.directory.open(keeps_sent=True)
            except Crash:
                self.end(power=trouble.power)
            except WakizashiError:
                assert not self.disk.locked  # else nobody can try again
            else:
                break
            trouble = Trouble()
        self.disk.calm()
        self.undisturbed = True
        self.look()

    def end(self, *, power: bool) -> None:
        self.disk.calm()
        if power:
            self.disk.crash()
        else:
            self.disk.kill()

    def arm(self, trouble: Trouble) -> None:
        self.disk.calm()
        self.disk.crash_at = trouble.crash_at
        self.disk.fail_at, self.disk.fail_for = trouble.fail_at, trouble.fail_for
        self.disk.error = trouble.error
        if trouble.fail_at:
            self.undisturbed = False

    def look(self) -> None:
        """A new process finds what was promised, and nothing else."""
        found = {
            entry.name: self.disk.file(PATH / entry.name).content
            for entry in self.directory.pending()
        }
        for name, content in found.items():
            assert content in self.possible.get(name, {None}), f"{name} was never so"
        for name, options in self.possible.items():
            assert name in found or None in options, f"{name} is lost"
        bad = list(self.disk.contents(PATH / BAD).values())
        for name, content in self.either:
            assert found.get(name) == content or content in bad, f"{name} is in neither"
        self.bad += [content for name, content in self.either if name not in found]
        self.either = []
        for name, _ in self.directory.moved_to_bad:
            assert name in self.damaged
        identity = self.directory.last_identity(PROBE)
        assert identity[0] >= self.identity[0] and identity[1] >= self.identity[1]
        self.identity = identity
        # What is seen at the start is durable from then on.
        self.shown = found
        self.possible = {name: {content} for name, content in found.items()}
        for name, content in found.items():
            self.saw(name, content)

    def saw(self, name: str, content: bytes) -> None:
        start, number, _ = name.split("-")
        self.identity = max(self.identity[0], int(start)), max(self.identity[1], int(number))
        (entry,) = (e for e in self.directory.pending() if e.name == name)
        assert entry.size == len(content)
        chunks = self.directory.read(entry)
        assert chunks is not None and seal(wire.pack(chunks)) == content

    @rule(power=st.booleans(), trouble=troubles(24), chance=chances)
    def restart(self, power: bool, trouble: Trouble, chance: Random) -> None:
        self.disk.chance = chance
        self.end(power=power)
        self.start(trouble)

    @rule()
    def close_and_open(self) -> None:
        self.directory.close()
        self.start()

    # -- what a probe and a center do ------------------------------------------------------------

    def files_of(self, wanted: list[tuple[str, int]]) -> list[WindowFile]:
        files = []
        for kind, which in wanted:
            if kind == "failed" and self.failed:
                start, number, flows = sorted(self.failed.values())[which % len(self.failed)]
                files.append(file_of(start, number, flows + 1))  # it went on counting
            elif kind == "again" and self.shown:
                name = sorted(self.shown)[which % len(self.shown)]
                window = wire.decode(wire.unpack(unseal(self.shown[name])))
                files.append(file_of(window.start_ms, window.number, len(window.flows)))
            else:
                self.number = max(self.number, self.identity[1]) + 1
                files.append(file_of(self.number * 10, self.number, which % 3))
        return files

    @rule(wanted=picks, trouble=troubles(14), chance=chances)
    def write(self, wanted: list[tuple[str, int]], trouble: Trouble, chance: Random) -> None:
        self.disk.chance = chance
        files = list({entry.name: (entry, data) for entry, data in self.files_of(wanted)}.values())
        self.written |= {data for _, data in files}
        before = {e.name: self.possible.get(e.name, {None}) for e, _ in files}
        self.arm(trouble)
        try:
            results = self.directory.write_all(files)
        except Crash:
            for entry, data in files:
                self.possible[entry.name] = before[entry.name] | {data}
            self.end(power=trouble.power)
            self.start()
            return
        self.disk.calm()
        waiting = {entry.name for entry in self.directory.pending()}
        for (entry, data), result in zip(files, results, strict=True):
            if isinstance(result, Entry):
                self.possible[entry.name] = {data}
                self.shown[entry.name] = data
                self.failed.pop(entry.name, None)
                self.saw(entry.name, data)
                continue
            assert (entry.name in waiting) == (entry.name in self.shown)
            if str(result).startswith("dumpLimit"):
                assert trouble.fail_at or self.directory.used_bytes + len(data) > LIMIT - 300
            else:
                self.possible[entry.name] = before[entry.name] | {data}
            if entry.name in self.shown:  # an earlier one: now it is that or this
                now = self.disk.file(PATH / entry.name).content
                assert now in (self.shown[entry.name], data)
                self.shown[entry.name] = now
            else:
                window = wire.decode(wire.unpack(unseal(data)))
                self.failed[entry.name] = (window.start_ms, window.number, len(window.flows))

    def entry(self, which: int) -> Entry:
        pending = self.directory.pending()
        return pending[which % len(pending)]

    @precondition(lambda self: self.shown)
    @rule(which=st.integers(0, 9), trouble=troubles(2), chance=chances)
    def remove(self, which: int, trouble: Trouble, chance: Random) -> None:
        """The center's way: what was removed may come back, and is written again over itself."""
        self.disk.chance = chance
        pending = self.directory.pending()
        if len(pending) < 2:  # the last identity is the probe's to keep: see keep_sent
            return
        entry = pending[which % (len(pending) - 1)]
        self.arm(trouble)
        try:
            self.directory.remove(entry)
        except Crash:
            self.possible[entry.name].add(None)
            self.end(power=trouble.power)
            self.start()
        except Retryable:
            self.disk.calm()
        else:
            self.disk.calm()
            self.possible[entry.name].add(None)
            del self.shown[entry.name]

    @precondition(lambda self: self.shown)
    @rule(which=st.integers(0, 9), newest_only=st.booleans(), trouble=troubles(9), chance=chances)
    def keep_sent(self, which: int, newest_only: bool, trouble: Trouble, chance: Random) -> None:
        self.disk.chance = chance
        entry = self.entry(which)
        self.arm(trouble)
        try:
            self.directory.keep_sent(entry, newest_only=newest_only)
        except Crash:
            self.possible[entry.name].add(None)
            self.end(power=trouble.power)
            self.start()
            return
        except Retryable:
            self.disk.calm()
        else:
            self.disk.calm()
            assert entry not in self.directory.pending()
            kept = self.disk.contents(PATH / SENT)
            if newest_only and self.undisturbed:
                assert len(kept) <= 1
            if entry.number == self.identity[1]:
                assert kept[entry.name] == self.shown[entry.name]
        if entry not in self.directory.pending():
            self.possible[entry.name].add(None)
            del self.shown[entry.name]
        assert self.directory.last_identity(PROBE)[1] >= self.identity[1]

    @precondition(lambda self: self.shown)
    @rule(which=st.integers(0, 9), trouble=troubles(9), chance=chances)
    def quarantine(self, which: int, trouble: Trouble, chance: Random) -> None:
        self.disk.chance = chance
        entry = self.entry(which)
        content = self.shown[entry.name]
        self.arm(trouble)
        try:
            self.directory.quarantine(entry, "refused")
        except Crash:
            self.possible[entry.name].add(None)
            self.either.append((entry.name, content))
            self.end(power=trouble.power)
            self.start()
        except Retryable:
            self.disk.calm()
            assert entry in self.directory.pending()
        else:
            self.disk.calm()
            self.possible[entry.name].add(None)
            self.bad.append(content)
            del self.shown[entry.name]
            self.directory.moved_to_bad.clear()

    @precondition(lambda self: self.shown)
    @rule(which=st.integers(0, 9), at_start=st.booleans(), trouble=troubles(12), chance=chances)
    def damage(self, which: int, at_start: bool, trouble: Trouble, chance: Random) -> None:
        """A bit of a file flips."""
        self.disk.chance = chance
        entry = self.entry(which)
        content = self.disk.flip(PATH / entry.name)
        self.written.add(content)
        self.damaged.add(entry.name)
        del self.shown[entry.name]
        self.possible[entry.name].add(None)
        self.either.append((entry.name, content))
        if at_start:
            self.end(power=trouble.power)
            self.start(trouble)
            return
        self.arm(trouble)
        try:
            assert self.directory.read(entry) is None
        except Crash:
            self.end(power=trouble.power)
            self.start()
        except Retryable:
            self.end(power=False)
            self.start()
        else:
            self.disk.calm()
            self.bad.append(content)
            self.either = []
            self.directory.moved_to_bad.clear()

    @precondition(lambda self: self.shown)
    @rule(which=st.integers(0, 9))
    def unreadable(self, which: int) -> None:
        """A disk that does not read is no damage."""
        entry = self.entry(which)
        self.arm(Trouble(fail_at=1))
        try:
            self.directory.read(entry)
        except Retryable:
            self.disk.calm()
        else:
            raise AssertionError("it was read")

    # -- what holds all the time -----------------------------------------------------------------

    @invariant()
    def what_waits_is_what_is_shown(self) -> None:
        assert {entry.name for entry in self.directory.pending()} == set(self.shown)
        for name, content in self.shown.items():
            assert self.disk.file(PATH / name).content == content

    @invariant()
    def the_bytes_are_those_of_the_files(self) -> None:
        files = self.disk.contents(PATH)
        assert self.directory.used_bytes == sum(
            len(content) for name, content in files.items() if name.endswith(".window")
        )

    @invariant()
    def nothing_is_moved_to_bad_but_what_belongs_there(self) -> None:
        contents = list(self.disk.contents(PATH / BAD).values())
        assert all(content in contents for content in self.bad)
        assert all(content in self.written for content in contents)


def test_any_sequence_of_operations_crashes_and_failures() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=500, stateful_step_count=25))
