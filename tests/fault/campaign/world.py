"""Everything that takes part in a run, and its course: set up, let happen, heal, drain, tell."""

import contextlib
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.lab import Process, wait_for
from tests.fault.campaign.daemons import PYTHONPATH, Balancer, Center, Daemon, Influx, Probe
from tests.fault.campaign.ground import CENTERS, HOSTS, Ground, mount, unmount
from tests.fault.campaign.oracle import Account, Stored
from tests.fault.campaign.packets import Control
from tests.fault.campaign.schedule import Schedule

DATABASE = "wakizashi"
TABLE = "traffic"
SAMPLE_SECONDS = 0.2
DRAIN_SECONDS = 90.0
SMALL_DUMP = "6KiB"
DISKS = {"influxd": "64m", **dict.fromkeys((*HOSTS, *CENTERS), "4m")}


class World:
    """One run's network, programs and what is known of them."""

    def __init__(self, schedule: Schedule, folder: Path, prefix: str) -> None:
        self.schedule, self.folder = schedule, folder
        self.ground = Ground(prefix)
        self.log: list[str] = []
        self.stored = Stored()
        """What was in the database before it was dropped."""
        self.redelivered = 0
        """Windows that were acknowledged once more."""
        self.written_again = 0
        """Those of them that were written to the database."""
        self.recreated = False
        self._began = time.monotonic()
        self._over = threading.Event()
        self._quiet_lock = threading.Lock()
        self._quiet = 0
        self._senders: list[Process] = []
        self.controls = {host: Control(folder / f"control-{host}") for host in HOSTS}
        self.influx = Influx(self.ground, folder)
        self.balancer = Balancer(self.ground, folder, list(CENTERS))
        self.centers = {name: Center(name, self.ground, folder) for name in CENTERS}
        small = {"dumpLimit": SMALL_DUMP} if schedule.small_dump else {}
        self.probes = {
            host: Probe(
                host,
                self.ground,
                folder,
                self.controls,
                self.quiet,
                # What was sent is kept, to be delivered again.
                {"capture": engine, "autoClear": False, **small},
                fake_clock=schedule.steps_clocks,
            )
            for host, engine in zip(HOSTS, schedule.engines, strict=True)
        }

    def say(self, text: str) -> None:
        """Note what happens, and when."""
        self.log.append(f"{time.monotonic() - self._began:6.1f} {text}")

    def hold(self, seconds: float) -> None:
        """Let a fault last."""
        time.sleep(seconds)

    @property
    def daemons(self) -> list[Daemon]:
        return [self.influx, *self.centers.values(), self.balancer, *self.probes.values()]

    # -- set up ------------------------------------------------------------------------------

    def up(self) -> None:
        """Start everything but the traffic and the spare center."""
        self.ground.up()
        for name, size in DISKS.items():
            mount(self.folder / f"disk-{name}", size)
        self.influx.start()
        self.influx.query("CREATE USER admin WITH PASSWORD 'secret' WITH ALL PRIVILEGES")
        self.influx.query("CREATE USER wakizashi WITH PASSWORD 'right' WITH ALL PRIVILEGES")
        self.influx.query(f"CREATE DATABASE {DATABASE}")
        self.balancer.start()
        self.centers["c1"].start()
        self.centers["c2"].start()
        for host in HOSTS:
            name = self.ground.name(host)
            arguments = (str(self.schedule.seed), host, str(self.folder / f"control-{host}"))
            command = (sys.executable, "-m", "tests.fault.campaign.packets", *arguments)
            environment = ("env", PYTHONPATH)
            sender = Process(f"sender-{host}", name, self.folder, *environment, *command)
            self._senders.append(sender)
        for probe in self.probes.values():
            probe.start()
        threading.Thread(target=self._sample, name="sample", daemon=True).start()

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            for probe in self.probes.values():
                probe.sample()
            for center in self.centers.values():
                if center.running:
                    center.sample()

    def down(self) -> None:
        """Stop everything; leave the folder."""
        self._over.set()
        for daemon in reversed(self.daemons):
            if daemon.running:
                daemon.send(signal.SIGCONT)
                daemon.end(signal.SIGKILL)
        for sender in self._senders:
            sender.stop(signal.SIGKILL)
        self.ground.down()
        for name in DISKS:
            disk = self.folder / f"disk-{name}"
            if name != "influxd" and disk.is_mount():
                shutil.copytree(disk, self.folder / f"was-{disk.name}")  # for a look, if need be
            unmount(disk)

    # -- traffic -----------------------------------------------------------------------------

    def go(self) -> None:
        """Let the traffic begin."""
        with self._quiet_lock:
            self._set(True)

    def _set(self, wanted: bool) -> None:
        for control in self.controls.values():
            control.wanted = wanted
        for control in self.controls.values():
            wait_for("the sender", lambda c=control: c.going == wanted)  # type: ignore[misc]  # mypy does not infer a lambda with defaults

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """No packet is sent, and none is on its way. Several may want it at once."""
        with self._quiet_lock:
            self._quiet += 1
            if self._quiet == 1:
                self._resume = any(control.wanted for control in self.controls.values())
                self._set(False)
                time.sleep(0.03)  # a veth pair hands a packet over at the next softirq
        try:
            yield
        finally:
            with self._quiet_lock:
                self._quiet -= 1
                if self._quiet == 0 and self._resume:
                    self._set(True)

    # -- the end -----------------------------------------------------------------------------

    def revive(self) -> None:
        """Start whatever does not run; the spare center only if it has kept something."""
        for daemon in self.daemons:
            if not daemon.running and daemon is not self.centers["c3"]:
                daemon.start()
        if self.centers["c3"].recovery.exists() and not self.centers["c3"].running:
            self.centers["c3"].start()

    def settle(self) -> None:
        """All faults are over: let everything drain, and end it, source first."""
        self.wait_drained()
        with self._quiet_lock:
            self._set(False)
        time.sleep(0.03)
        for probe in self.probes.values():
            code = probe.end(signal.SIGTERM)
            assert code == 0, f"{probe.name} ended with {code}:\n{probe.said[-2000:]}"
        self.wait_drained()
        for center in self.centers.values():
            if center.running:
                center.sample()
                code = center.end(signal.SIGTERM)
                assert code == 0, f"{center.name} ended with {code}:\n{center.said[-2000:]}"
        self.wait_drained()
        self.remember_stored()

    def waiting(self) -> list[Path]:
        """Files of windows that are not stored yet."""
        folders = [probe.dump for probe in self.probes.values()]
        folders += [center.recovery for center in self.centers.values()]
        return [path for folder in folders for path in folder.glob("*.window")]

    def wait_drained(self) -> None:
        """Until no window waits to be stored."""

        def drained() -> bool:
            return len(self.waiting()) == 0

        try:
            wait_for("nothing to wait any more", drained, DRAIN_SECONDS)
        except AssertionError:
            raise AssertionError(
                f"after {DRAIN_SECONDS:.0f} s there still wait: "
                + ", ".join(str(path.relative_to(self.folder)) for path in self.waiting())
            ) from None

    def remember_stored(self) -> None:
        """Add what the database has to what is known to be stored."""
        for table, rows in ((TABLE, self.stored.traffic), (f"{TABLE}_ledger", self.stored.ledgers)):
            for row in self.influx.query(f"SELECT * FROM {table}", DATABASE):
                self.stored.add(rows, row)

    def account(self, host: str) -> Account:
        """What the oracle must know of a probe."""
        return Account(host, self.schedule.seed, tuple(self.probes[host].lives))

    def evidence(self) -> dict[str, int]:
        """How often what the faults are there for was seen."""
        said = "".join(center.said for center in self.centers.values())
        return {
            "redeliveries": self.redelivered,
            "duplicate writes": self.written_again,
            "kept for recovery": int(sum(c.windows("recovered") for c in self.centers.values())),
            "reposts": said.count("of recoverDir are in"),
            "windows merged away": self._merged_away(),
            "reconnects": sum(p.said.count("works again") for p in self.probes.values()),
        }

    def _merged_away(self) -> int:
        """Windows that are stored in the place of several, less themselves."""
        spans = {
            (row["probe"], row["number"]): row["windows"] for row in self.stored.ledgers.values()
        }
        return sum(windows - 1 for windows in spans.values())

    def logs(self) -> dict[str, Any]:
        """The last words of each program."""
        return {daemon.name: daemon.said[-3000:] for daemon in self.daemons}

    def forget(self) -> None:
        """Remove the folder of a run that went well."""
        shutil.rmtree(self.folder)
