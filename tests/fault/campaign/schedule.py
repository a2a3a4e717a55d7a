"""Which faults strike when: a pure function of the seed."""

import random
from dataclasses import dataclass

FAULTS: dict[str, tuple[str, ...]] = {
    # of a probe
    "probe_killed": ("a", "b"),
    "probe_stopped": ("a", "b"),
    "probe_paused": ("a", "b"),
    "probe_cut": ("a", "b"),
    "probe_cut_one_way": ("a", "b"),
    "probe_loses_packets": ("a", "b"),
    "dump_full": ("a", "b"),
    "dump_full_and_probe_killed": ("a", "b"),
    "dump_limit_met": ("a", "b"),
    "dump_errors": ("a", "b"),
    "dump_damaged": ("a", "b"),
    "clock_stepped": ("a", "b"),
    "redelivered": ("a", "b"),
    # of a center
    "center_killed": ("c1", "c2"),
    "center_removed": ("c1", "c2"),
    "center_added": ("c3",),
    "center_paused": ("c1", "c2"),
    "center_cut": ("c1", "c2"),
    "center_cut_one_way": ("c1", "c2"),
    "center_loses_packets": ("c1", "c2"),
    "recovery_full": ("c1", "c2"),
    "recovery_errors": ("c1", "c2"),
    "recovery_damaged": ("c1", "c2"),
    # of what stands between and behind them
    "influxd_killed": ("influxd",),
    "influxd_paused": ("influxd",),
    "influxd_disk_full": ("influxd",),
    "password_wrong": ("influxd",),
    "database_dropped": ("influxd",),
    "balancer_killed": ("haproxy",),
    "balancer_restarted": ("haproxy",),
    "balancer_paused": ("haproxy",),
    # of the network that is watched
    "device_recreated": ("traf0",),
}
"""Every fault, and what it may strike."""

LONG = (
    "probe_paused",
    "center_paused",
    "influxd_paused",
    "balancer_paused",
    "probe_cut",
    "probe_cut_one_way",
    "center_cut",
)
"""They may last longer than every timeout: the longest is that of a delivery, 30 s and more."""

OUTAGES = ("influxd_killed", "influxd_paused", "password_wrong", "influxd_disk_full")
"""In each of them a center must keep windows, and post them again later."""

LONG_SECONDS = 45.0
ONE_IN = 10
"""Of so many runs one has a long fault."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: when it begins (seconds of the run), what it strikes, how long it lasts."""

    at: float
    fault: str
    target: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.at:.1f} s {self.fault} {self.target} {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A whole run."""

    seed: int
    engines: tuple[str, str]
    """Of the two probes."""
    small_dump: bool
    """The dump directories' quota holds a few windows only."""
    seconds: float
    strikes: tuple[Strike, ...]

    @property
    def steps_clocks(self) -> bool:
        return any(strike.fault == "clock_stepped" for strike in self.strikes)


def schedule(seed: int) -> Schedule:
    """The run of a seed.

    In each the database is out for a while, so that windows go to a recovery
    directory and are posted again; the balancer dies, so that probes connect
    again; and windows are delivered twice. The rest is chance.
    """
    random_ = random.Random(f"schedule/{seed}")
    long = seed % ONE_IN == 0
    seconds = 14.0
    strikes = [
        _strike(random_, random_.choice(OUTAGES), random_.uniform(0.5, 4.0), 4.0, 5.5),
        _strike(random_, "balancer_killed", random_.uniform(0.5, 9.0), 2.5, 3.5),
        _strike(random_, "redelivered", random_.uniform(5.0, 8.0), 0.0, 0.0),
        _strike(random_, "redelivered", seconds, 0.0, 0.0),
    ]
    small = random_.random() < 0.3
    if small:  # the first long enough for windows to be merged
        strikes.append(_strike(random_, "probe_cut", random_.uniform(1.0, 3.0), 8.0, 10.0))
        strikes.append(_strike(random_, "dump_limit_met", random_.uniform(1.0, 6.0), 1.0, 4.0))
    for fault in random_.sample(sorted(FAULTS), random_.randint(5, 8)):
        strikes.append(_strike(random_, fault, random_.uniform(0.0, seconds - 3.0), 1.0, 4.0))
    if long:
        fault = LONG[seed // ONE_IN % len(LONG)]
        strikes.append(_strike(random_, fault, 2.0, LONG_SECONDS, LONG_SECONDS))
    return Schedule(
        seed=seed,
        engines=(random_.choice(ENGINES), random_.choice(ENGINES)),
        small_dump=small,
        seconds=seconds,
        strikes=tuple(sorted(strikes, key=lambda strike: strike.at)),
    )


ENGINES = ("ebpf", "ring", "scapy")


def _strike(random_: random.Random, fault: str, at: float, least: float, most: float) -> Strike:
    return Strike(at, fault, random_.choice(FAULTS[fault]), random_.uniform(least, most))


def covering() -> list[int]:
    """A few seeds, none of them long, in which every fault strikes."""
    struck = {
        seed: {strike.fault for strike in schedule(seed).strikes}
        for seed in range(1, 400)
        if seed % ONE_IN
    }
    left, seeds = set(FAULTS), []
    while left:
        seed = max(struck, key=lambda seed: len(struck[seed] & left))
        seeds.append(seed)
        left -= struck[seed]
    return seeds
