"""Merging at the quota against a model: whatever crashes or fails, no byte is missing or there twice.

Each window has a flow of its own, by its number, so every byte can be told from every
other. What a center has is what it was sent, the later over the earlier of the same
start. What it has together with what waits is what was counted, at any time.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.disk import Crash, Disk
from tests.property.test_files_crash import Trouble, chances, troubles
from wakizashi import wire
from wakizashi.errors import Retryable, WakizashiError
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Tally, Window
from wakizashi.probe.dump import Dump
from wakizashi.probe.stats import ProbeStats
from wakizashi.window_file import Entry

PATH = Path("/dump")
LIMIT = 250
"""Room for three windows or so."""
CALM = Trouble()


@dataclass
class Stored:
    """What a center has of one start: records go over those of the same flow, a ledger over a ledger."""

    flows: dict[bytes, int] = field(default_factory=dict)
    counted: int = 0
    """By the ledger."""

    def take(self, window: Window) -> None:
        self.flows.update({flow.destination: flow.size for flow in window.flows})
        self.counted = sum(device.ledger.counted.bytes for device in window.devices)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.center: dict[int, Stored] = {}
        self.counted: dict[int, set[int]] = {}
        """Number of a window, to the bytes that may be in its flow; 0: it was lost in memory."""
        self.read: tuple[Entry, list[bytes]] | None = None
        self.clock = 0
        self.start()

    # -- the end of a process, and the next ------------------------------------------------------

    def start(self, trouble: Trouble = CALM) -> None:
        self.read = None
        while True:
            self.stats = ProbeStats()
            self.dump = Dump(
                PATH,
                limit_bytes=LIMIT,
                auto_clear=True,
                stats=self.stats,
                max_flows=6,
                filesystem=self.disk,
            )
            self.arm(trouble)
            try:
                self.dump.open()
                break
            except Crash:
                self.end(power=trouble.power)
            except WakizashiError:
                pass
            trouble = CALM
        self.disk.calm()
        start, number = self.dump.directory.last_identity("p")
        self.clock = self.begin = max(self.clock, start + 1)
        self.number, self.size = number + 1, 100

    def end(self, *, power: bool) -> None:
        self.disk.calm()
        if power:
            self.disk.crash()
        else:
            self.disk.kill()
        # The window that was open may be there in any form that was tried, or not at all.

    def arm(self, trouble: Trouble) -> None:
        self.disk.calm()
        self.disk.crash_at = trouble.crash_at
        self.disk.fail_at, self.disk.fail_for = trouble.fail_at, trouble.fail_for
        self.disk.error = trouble.error

    @rule(power=st.booleans(), trouble=troubles(20), chance=chances)
    def restart(self, power: bool, trouble: Trouble, chance: Random) -> None:
        self.disk.chance = chance
        self.end(power=power)
        self.start(trouble)

    # -- what a probe does -----------------------------------------------------------------------

    @rule(length=st.integers(1, 9), trouble=troubles(20), chance=chances)
    def close(self, length: int, trouble: Trouble, chance: Random) -> None:
        self.disk.chance = chance
        self.close_one(length, trouble)

    def close_one(self, length: int, trouble: Trouble) -> None:
        self.clock += length
        own = Flow(0, Direction.OUT, bytes(4), self.number.to_bytes(4, "big"), self.size, 1)
        device = DeviceLedger("e", b"", Ledger(counted=Tally(1, self.size)))
        window = Window("p", self.begin, self.clock, self.number, (), (device,), (own,))
        tried = self.counted.setdefault(self.number, {0})
        self.arm(trouble)
        try:
            self.dump.save(window)
        except Crash:
            tried.add(self.size)
            self.end(power=trouble.power)
            self.start()
        except Retryable:
            self.disk.calm()
            tried.add(self.size)
            self.size += 100
        else:
            self.disk.calm()
            self.counted[self.number] = {self.size}
            self.begin, self.number, self.size = self.clock, self.number + 1, 100

    @rule(number=st.integers(1, 4))
    def close_several(self, number: int) -> None:
        for _ in range(number):
            self.close_one(3, CALM)

    @rule(which=st.integers(0, 3))
    def read_long_before(self, which: int) -> None:
        self.read_one(which)

    def read_one(self, which: int) -> None:
        """Long before it is offered: it may be merged meanwhile."""
        waiting = self.dump.directory.deliverable()
        if waiting:
            entry = waiting[which % len(waiting)]
            chunks = self.dump.directory.read(entry)
            assert chunks is not None
            self.read = entry, chunks

    @rule(
        fate=st.sampled_from(["lost", "stored", "acknowledged"]),
        trouble=troubles(10),
        chance=chances,
    )
    def deliver_it(self, fate: str, trouble: Trouble, chance: Random) -> None:
        self.disk.chance = chance
        self.deliver_one(fate, trouble)

    @rule(which=st.integers(0, 3), fate=st.sampled_from(["lost", "stored", "acknowledged"]))
    def deliver_at_once(self, which: int, fate: str) -> None:
        self.read_one(which)
        self.deliver_one(fate, CALM)

    def deliver_one(self, fate: str, trouble: Trouble) -> None:
        if self.read is None:
            return
        (entry, chunks), self.read = self.read, None
        if not self.dump.directory.offer(entry) or fate == "lost":
            return
        self.store(chunks)
        if fate == "acknowledged":
            self.arm(trouble)
            try:
                self.dump.delivered(entry)
            except Crash:
                self.end(power=trouble.power)
                self.start()
            except Retryable:
                pass
            self.disk.calm()

    def store(self, chunks: list[bytes]) -> None:
        window = wire.decode(chunks)
        self.center.setdefault(window.start_ms, Stored()).take(window)

    # -- what holds all the time -----------------------------------------------------------------

    @invariant()
    def every_byte_is_there_once(self) -> None:
        stored = deepcopy(self.center)
        for entry in self.dump.directory.pending():
            chunks = self.dump.directory.read(entry)
            assert chunks is not None, f"{entry.name} is gone"
            window = wire.decode(chunks)
            stored.setdefault(window.start_ms, Stored()).take(window)
        for start, one in stored.items():
            assert one.counted == sum(one.flows.values()), (
                f"the ledger of {start} is not its records"
            )
        for number, possible in self.counted.items():
            flow = number.to_bytes(4, "big")
            found = sum(one.flows.get(flow, 0) for one in stored.values())
            assert found in possible, f"{found} bytes of window {number}"
            if number < self.number:  # it is closed: that does not change any more
                self.counted[number] = {found}

    @invariant()
    def nothing_is_taken_for_damaged(self) -> None:
        assert self.dump.directory.moved_to_bad == []

    @invariant()
    def the_bytes_are_those_of_the_files(self) -> None:
        files = self.disk.contents(PATH)
        assert self.dump.directory.used_bytes == sum(
            len(content) for name, content in files.items() if name.endswith(".window")
        )

    def teardown(self) -> None:
        """When the disk works again everything can be delivered."""
        self.disk.calm()
        self.dump.directory.deliverable()
        assert self.dump.directory.deliverable() == self.dump.directory.pending()


def test_any_sequence_of_merges_deliveries_crashes_and_failures() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=250, stateful_step_count=40))
