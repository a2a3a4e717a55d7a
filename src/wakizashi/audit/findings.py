"""What an audit can find: kinds, whether each is a fault, and where to look then. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

MOST_OF_A_KIND = 50
"""Findings of one kind and probe that are told; the others are only counted."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding."""

    fault: bool
    """Whether it means that something does not add up."""
    look_at: str


KINDS = {
    # -- faults --
    "nothing": Kind(
        True, "is this the backend that the centers write? are probes and centers running?"
    ),
    "missing_windows": Kind(
        True,
        "they wait in the probe's dumpDir or a center's recoverDir, or lie in bad/ of either; "
        "else they are lost",
    ),
    "repeated_windows": Kind(
        True, "the same bytes are stored twice; remove the later window's points, report a defect"
    ),
    "numbers_back": Kind(
        True,
        "two probes with this name, or a dumpDir put back from a copy? give each probe its own "
        "`name` and dumpDir",
    ),
    "mixed_window": Kind(
        True, "two probes with this name write over each other; give each its own `name`"
    ),
    "points_missing": Kind(
        True,
        "the backend lost or refused points: its log, its limits and retention, bad/ of the "
        "centers' recoverDir",
    ),
    "points_spurious": Kind(
        True, "points that no window brought: another writer in this table, or a ledger was deleted"
    ),
    "traffic_without_ledger": Kind(
        True, "the ledger was deleted or refused, or another program writes into this table"
    ),
    "lost": Kind(
        True, "the disk of dumpDir, dumpLimit, and why the center did not take the windows in time"
    ),
    "uncounted": Kind(
        True, "the probe's log of that time; another `capture` engine; report a defect"
    ),
    "overcounted": Kind(
        True,
        "tx_dropped in `ip -s link show`: what a driver drops behind the tap was counted; if it does "
        "not rise, packets were counted twice: report a defect",
    ),
    # -- notes --
    "unwatched": Kind(False, "the probe did not run, was killed, or its clock was set forward"),
    "begins_anew": Kind(
        False, "its dumpDir was new: of windows that waited in the one before nothing is known"
    ),
    "silent": Kind(False, "the probe is down, or its windows wait in its dumpDir"),
    "clock_back": Kind(False, "the host's clock was set back; bytes are right, times overlap"),
    "clock_ahead": Kind(False, "the clocks of the probe's host and of this one"),
    "merged": Kind(False, "dumpLimit was reached: bytes are right, times are coarser"),
    "dropped": Kind(
        False, "the kernel had no room for them: capture: ebpf, or a larger `ringSize`"
    ),
    "folded": Kind(False, "more flows than `maxFlows`: bytes are right, addresses are not known"),
    "counters": Kind(
        False,
        "nothing: such devices count headers otherwise: bridges, VLAN and VXLAN devices none of what "
        "comes in, cards those of each segment, or frame check sequences",
    ),
    "same_packets": Kind(
        False, "both are stored: leave one of the two out of `networkDevs`, or out of your sums"
    ),
    "pair_differs": Kind(
        False,
        "the network lost packets, a card merged them, or one of the two sees them on two devices",
    ),
    "expiring": Kind(False, "what is older is being deleted, and was not looked at"),
}
"""By name, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: what, where, when, how much."""

    kind: str
    probe: str
    device: str
    """Empty where it is about all devices of the probe."""
    since_ms: int
    until_ms: int
    text: str
    """What, for a person; without probe, device and time."""
    bytes: int = 0
    packets: int = 0
    numbers: tuple[int, int] | None = None
    """The first and the last window number it is about."""

    @property
    def fault(self) -> bool:
        """Whether it means that something does not add up."""
        return KINDS[self.kind].fault

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes it the same finding in another reading."""
        return self.kind, self.probe, self.device, self.since_ms


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings, and how many there are of each kind, told or not."""

    told: tuple[Finding, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def faults(self) -> int:
        """How many things do not add up."""
        return sum(number for kind, number in self.counts if KINDS[kind].fault)

    def seen_again(self, before: "Findings") -> "Findings":
        """These, without faults that a reading ``before`` had not: windows come meanwhile."""
        if len(before.told) < sum(number for _, number in before.counts):
            return self  # so many that a few which come meanwhile do not matter
        known = {finding.key for finding in before.told}
        told = tuple(f for f in self.told if not f.fault or f.key in known)
        counts = Counter(dict(self.counts))
        counts.subtract(f.kind for f in self.told if f.fault and f.key not in known)
        return Findings(told, _sorted(counts))


class Collector:
    """Takes findings in any order, in bounded memory."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._of: Counter[tuple[str, str]] = Counter()
        self._told: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Count a finding; keep it if there are few of its kind and probe."""
        self._counts[finding.kind] += 1
        self._of[finding.kind, finding.probe] += 1
        if self._of[finding.kind, finding.probe] <= MOST_OF_A_KIND:
            self._told.append(finding)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Add each."""
        for finding in findings:
            self.add(finding)

    def result(self) -> Findings:
        """All, sorted: by kind, probe, time, device."""
        order = list(KINDS)
        told = sorted(
            self._told, key=lambda f: (order.index(f.kind), f.probe, f.since_ms, f.device)
        )
        return Findings(tuple(told), _sorted(self._counts))


def _sorted(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple((kind, counts[kind]) for kind in KINDS if counts[kind])
