"""What each fault does, and how it is healed. Each runs on a thread of its own.

A fault takes the locks of what it strikes, so that the next one finds that healed;
faults of different things overlap as they like.
"""

import contextlib
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.e2e.lab import wait_for
from tests.fault.campaign.daemons import (
    CENTER_PORT,
    INFLUX_PORT,
    REPOSITORY,
    Center,
    Daemon,
    Probe,
)
from tests.fault.campaign.ground import HUB, TRAFFIC
from tests.fault.campaign.schedule import Strike
from tests.fault.campaign.world import DATABASE, World

ERROR_RATE = 0.4
LOSS_PERCENT = 25
GATHER_SECONDS = 2.5
"""In which some windows come to wait."""

Fault = Callable[[World, Strike, random.Random], None]


def strike(world: World, what: Strike) -> None:
    """Inject one fault, wait, heal. Returns when all is as before."""
    chance = random.Random(f"{world.schedule.seed}/{what}")
    fault: Fault = globals()[f"_{what.fault}"]
    fault(world, what, chance)


@contextlib.contextmanager
def _running(daemon: Daemon) -> Iterator[None]:
    """Take a daemon; it runs now, and does when this ends."""
    with daemon.lock:
        if not daemon.running:
            daemon.start()
        yield
        if not daemon.running:
            daemon.start()


def _killed(daemon: Daemon, world: World, seconds: float, number: signal.Signals) -> None:
    with _running(daemon):
        daemon.end(number)
        world.hold(seconds)


def _paused(daemon: Daemon, world: World, seconds: float) -> None:
    with _running(daemon):
        daemon.send(signal.SIGSTOP)
        world.hold(seconds)
        daemon.send(signal.SIGCONT)


# -- of a probe ------------------------------------------------------------------------------


def _probe_killed(world: World, what: Strike, chance: random.Random) -> None:
    _killed(world.probes[what.target], world, what.seconds, signal.SIGKILL)


def _probe_stopped(world: World, what: Strike, chance: random.Random) -> None:
    _killed(world.probes[what.target], world, what.seconds, signal.SIGTERM)


def _probe_paused(world: World, what: Strike, chance: random.Random) -> None:
    probe = world.probes[what.target]
    with probe.lock:
        probe.dump_fails(now=True)  # what is open stays open for so long
        probe.send(signal.SIGSTOP)
        world.hold(what.seconds)
        probe.send(signal.SIGCONT)
        world.hold(CLOSES_AGAIN_SECONDS)
        probe.dump_fails(now=False)


CLOSES_AGAIN_SECONDS = 2.0


_TO_CENTERS = (("in", f"tcp sport {CENTER_PORT}"), ("out", f"tcp dport {CENTER_PORT}"))
"""What the centers say to a probe, and it to them."""


def _probe_cut(world: World, what: Strike, chance: random.Random) -> None:
    with (
        _running(world.probes[what.target]),
        world.ground.dropping(what.target, *_TO_CENTERS),
    ):
        world.hold(what.seconds)


def _probe_cut_one_way(world: World, what: Strike, chance: random.Random) -> None:
    with (
        _running(world.probes[what.target]),
        world.ground.dropping(what.target, chance.choice(_TO_CENTERS)),
    ):
        world.hold(what.seconds)


def _probe_loses_packets(world: World, what: Strike, chance: random.Random) -> None:
    lost = f"numgen random mod 100 < {LOSS_PERCENT}"
    with (
        _running(world.probes[what.target]),
        world.ground.dropping(
            what.target,
            ("in", f"tcp sport {CENTER_PORT} {lost}"),
            ("out", f"tcp dport {CENTER_PORT} {lost}"),
        ),
    ):
        world.hold(what.seconds)


@contextlib.contextmanager
def _full(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


def _dump_full(world: World, what: Strike, chance: random.Random) -> None:
    probe = world.probes[what.target]
    with _running(probe), _trouble(world, probe), _full(probe.disk):
        world.hold(what.seconds)


def _dump_full_and_probe_killed(world: World, what: Strike, chance: random.Random) -> None:
    probe = world.probes[what.target]
    with _running(probe):
        probe.dump_fails(now=True)
        with _full(probe.disk):
            world.hold(what.seconds)
            probe.end(signal.SIGKILL)


def _dump_limit_met(world: World, what: Strike, chance: random.Random) -> None:
    """A small dump directory fills up; after a restart none of it may be merged; then a stop.

    What was counted in between is lost, and the ledger that is stored later says how much.
    """
    probe = world.probes[what.target]
    with _running(probe):
        with world.ground.dropping(what.target, *_TO_CENTERS):
            world.hold(FILLING_SECONDS)
            probe.end(signal.SIGKILL)
            probe.start()
            probe.dump_fails(now=True)
            world.hold(what.seconds)
            with world.quiet():
                probe.end(signal.SIGTERM)


FILLING_SECONDS = 7.0


def _dump_errors(world: World, what: Strike, chance: random.Random) -> None:
    probe = world.probes[what.target]
    with _running(probe), _trouble(world, probe), _errors(probe.faults):
        world.hold(what.seconds)


@contextlib.contextmanager
def _trouble(world: World, probe: Probe) -> Iterator[None]:
    """While the dump directory does not take windows, and until the open one is closed again."""
    probe.dump_fails(now=True)
    yield
    world.hold(CLOSES_AGAIN_SECONDS)
    probe.dump_fails(now=False)


@contextlib.contextmanager
def _errors(control: Path) -> Iterator[None]:
    control.write_text(str(ERROR_RATE))
    try:
        yield
    finally:
        control.unlink()


def _dump_damaged(world: World, what: Strike, chance: random.Random) -> None:
    probe = world.probes[what.target]
    with _running(probe):
        with world.ground.dropping(what.target, ("out", f"tcp dport {CENTER_PORT}")):
            world.hold(GATHER_SECONDS)
            probe.end(signal.SIGKILL)
        saved = damage(probe.dump, chance)
        probe.start()
        world.hold(what.seconds)
        probe.end(signal.SIGTERM)
        mend(probe.dump, saved)


def _clock_stepped(world: World, what: Strike, chance: random.Random) -> None:
    probe = world.probes[what.target]
    steps = [chance.choice((3600, -3600)), 0]
    with _running(probe):
        for step in steps:
            probe.lives[-1].stepped = True
            probe.clock.write_text(f"{step:+d}s\n")
            world.hold(what.seconds)


def _redelivered(world: World, what: Strike, chance: random.Random) -> None:
    """Windows that a center has acknowledged come again, in any order, to any center."""
    probe = world.probes[what.target]
    with world.influx.lock:
        center = world.centers[chance.choice(("c1", "c2"))]
        with _running(center):
            wait_for(
                f"{center.name} to write windows again",
                lambda: _redeliver(world, what, probe, center, chance),
                120,  # the probe may be cut off for long, and have nothing in sent/ until then
            )


def _copies(folder: Path, target: Path) -> list[Path]:
    """Copies of the window files in a folder, for the probe may tidy them away."""
    target.mkdir(parents=True, exist_ok=True)
    copies = []
    for path in sorted(folder.glob("*.window")):
        with contextlib.suppress(FileNotFoundError):
            copy = target / path.name
            copy.write_bytes(path.read_bytes())
            copies.append(copy)
    return copies


def _redeliver(
    world: World, what: Strike, probe: Probe, center: Center, chance: random.Random
) -> bool:
    """Deliver some once more; whether they were written to the database once more."""
    files = _copies(probe.dump / "sent", world.folder / what.fault / str(what.at))
    files = chance.sample(files, min(len(files), 8))
    before = center.sample().get(STORED, 0)
    command = [sys.executable, "-m", "tests.fault.campaign.redeliver", center.address]
    name = world.ground.name(HUB)
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{name}", *command, *map(str, files)],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    if done.returncode != 0 or not files:
        world.say(f"not redelivered: {done.stderr.strip()}")
        return False
    acknowledged = int(done.stdout)
    written = min(acknowledged, int(center.sample().get(STORED, 0) - before))
    world.redelivered += acknowledged
    world.written_again += written
    world.say(f"redelivered {acknowledged} to {center.name}, {written} of them were written")
    return written > 0


STORED = 'wakizashi_center_windows_total{status="stored"}'


# -- of a center -----------------------------------------------------------------------------


def _center_killed(world: World, what: Strike, chance: random.Random) -> None:
    _killed(world.centers[what.target], world, what.seconds, signal.SIGKILL)


def _center_removed(world: World, what: Strike, chance: random.Random) -> None:
    _killed(world.centers[what.target], world, what.seconds, signal.SIGTERM)


def _center_added(world: World, what: Strike, chance: random.Random) -> None:
    with _running(world.centers[what.target]):
        world.hold(what.seconds)


def _center_paused(world: World, what: Strike, chance: random.Random) -> None:
    _paused(world.centers[what.target], world, what.seconds)


def _center_cut(world: World, what: Strike, chance: random.Random) -> None:
    with (
        _running(world.centers[what.target]),
        world.ground.dropping(
            what.target, ("in", f"tcp sport {INFLUX_PORT}"), ("out", f"tcp dport {INFLUX_PORT}")
        ),
    ):
        world.hold(what.seconds)


def _center_cut_one_way(world: World, what: Strike, chance: random.Random) -> None:
    ways = (
        ("in", f"tcp sport {INFLUX_PORT}"),
        ("out", f"tcp dport {INFLUX_PORT}"),
        ("in", f"tcp dport {CENTER_PORT}"),
        ("out", f"tcp sport {CENTER_PORT}"),
    )
    with (
        _running(world.centers[what.target]),
        world.ground.dropping(what.target, chance.choice(ways)),
    ):
        world.hold(what.seconds)


def _center_loses_packets(world: World, what: Strike, chance: random.Random) -> None:
    lost = f"numgen random mod 100 < {LOSS_PERCENT}"
    with (
        _running(world.centers[what.target]),
        world.ground.dropping(
            what.target, ("in", f"meta l4proto tcp {lost}"), ("out", f"meta l4proto tcp {lost}")
        ),
    ):
        world.hold(what.seconds)


def _recovery_full(world: World, what: Strike, chance: random.Random) -> None:
    center = world.centers[what.target]
    with _running(center), _full(center.disk):
        world.hold(what.seconds)


def _recovery_errors(world: World, what: Strike, chance: random.Random) -> None:
    center = world.centers[what.target]
    with _running(center), _errors(center.faults):
        world.hold(what.seconds)


def _recovery_damaged(world: World, what: Strike, chance: random.Random) -> None:
    center = world.centers[what.target]
    with _running(center):
        with world.ground.dropping(what.target, ("out", f"tcp dport {INFLUX_PORT}")):
            world.hold(GATHER_SECONDS)
            center.end(signal.SIGKILL)
        saved = damage(center.recovery, chance)
        center.start()
        world.hold(what.seconds)
        center.end(signal.SIGTERM)
        mend(center.recovery, saved)


# -- of what stands between and behind them --------------------------------------------------


def _influxd_killed(world: World, what: Strike, chance: random.Random) -> None:
    _killed(world.influx, world, what.seconds, signal.SIGKILL)


def _influxd_paused(world: World, what: Strike, chance: random.Random) -> None:
    _paused(world.influx, world, what.seconds)


_TO_INFLUXD = (
    ("in", f'iifname "bridge0" tcp dport {INFLUX_PORT}'),
    ("out", f'oifname "bridge0" tcp sport {INFLUX_PORT}'),
)
"""What the centers and InfluxDB say to each other."""


def _influxd_disk_full(world: World, what: Strike, chance: random.Random) -> None:
    """Healed as docs/backends.md says: two starts, and no write between them."""
    with _running(world.influx):
        with _full(world.influx.disk):
            world.hold(what.seconds)
        with world.ground.dropping(HUB, *_TO_INFLUXD):
            world.influx.end(signal.SIGTERM)
            world.influx.start()
            world.influx.end(signal.SIGTERM)
            world.influx.start()


def _password_wrong(world: World, what: Strike, chance: random.Random) -> None:
    with _running(world.influx):
        world.influx.set_password("wrong")
        world.hold(what.seconds)
        world.influx.set_password("right")


def _database_dropped(world: World, what: Strike, chance: random.Random) -> None:
    """What was in it is remembered; then it is away for a while, and comes again, empty."""
    with _running(world.influx):
        with world.ground.dropping(HUB, *_TO_INFLUXD):
            world.hold(1.0)  # what has come in is written
            world.remember_stored()
            world.influx.query(f"DROP DATABASE {DATABASE}")
        world.hold(what.seconds)
        world.influx.query(f"CREATE DATABASE {DATABASE}")


def _balancer_killed(world: World, what: Strike, chance: random.Random) -> None:
    _killed(world.balancer, world, what.seconds, signal.SIGKILL)


def _balancer_restarted(world: World, what: Strike, chance: random.Random) -> None:
    _killed(world.balancer, world, 0.0, signal.SIGTERM)


def _balancer_paused(world: World, what: Strike, chance: random.Random) -> None:
    _paused(world.balancer, world, what.seconds)


# -- of the network that is watched ----------------------------------------------------------


def _device_recreated(world: World, what: Strike, chance: random.Random) -> None:
    with contextlib.ExitStack() as stack:
        for probe in world.probes.values():
            stack.enter_context(_running(probe))
        with world.quiet():
            before = {p.name: p.said.count(f"capturing {TRAFFIC}") for p in world.probes.values()}
            world.ground.remove_traffic_pair()
            world.hold(what.seconds)
            world.ground.add_traffic_pair()
            for probe in world.probes.values():
                wait_for(
                    f"{probe.name} to capture the new device",
                    lambda p=probe: p.said.count(f"capturing {TRAFFIC}") > before[p.name],  # type: ignore[misc]  # mypy does not infer a lambda with defaults
                )
        world.recreated = True


# -- files -----------------------------------------------------------------------------------


def damage(folder: Path, chance: random.Random) -> dict[str, bytes]:
    """Damage some waiting windows, and lay foreign files beside them; the damaged ones' content."""
    waiting = sorted(folder.glob("*.window"))
    saved = {}
    for path in chance.sample(waiting, min(len(waiting), 2)):
        content = saved[path.name] = path.read_bytes()
        half = len(content) // 2
        path.write_bytes(
            chance.choice(
                (
                    b"",
                    content[:half],
                    content[:half] + bytes(len(content) - half),
                    content + b"more",
                    content[:half]
                    + bytes([content[half] ^ 1 << chance.randrange(8)])
                    + content[half + 1 :],
                )
            )
        )
    template = (
        chance.choice(waiting).read_bytes() if waiting else chance.randbytes(chance.randrange(400))
    )
    (folder / "0000000000001-0000000000-0123456789ab.window").write_bytes(template)
    (folder / "notes.window").write_bytes(b"not a window at all\n")
    (folder / ".0000000000001-0000000000-0123456789ab.window.tmp").write_bytes(template[:100])
    (folder / "README").write_text("somebody's notes")
    return saved


def mend(folder: Path, saved: dict[str, bytes]) -> None:
    """Check that what was damaged was set aside, and put the good copies back."""
    bad = {path.name for path in (folder / "bad").iterdir()}
    for name in (*saved, "notes.window"):
        assert any(known.startswith(name) for known in bad), f"{name} is not in {folder}/bad"
    assert (folder / "README").exists(), "somebody else's file is gone"
    for name, content in saved.items():
        (folder / name).write_bytes(content)
