"""Every check of the doctor can fail: a situation for each in which it does, and one in which not."""

import errno
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from wakizashi.center.backend import Limit, Series
from wakizashi.doctor import (
    becoming,
    capturing,
    center,
    certificates,
    clock,
    directory,
    environment,
    kernel,
    listening,
    memory,
    offloads,
    secrets,
    storing,
    way,
)
from wakizashi.doctor.capturing import Choice
from wakizashi.doctor.clock import KernelClock, Skew
from wakizashi.doctor.contact import Contact, Refused
from wakizashi.doctor.finding import CHECKS, Finding, Verdict
from wakizashi.model import Tally
from wakizashi.probe.capture import load_engine
from wakizashi.probe.channel import Credentials
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.devices import Device
from wakizashi.telemetry import HealthServer
from wakizashi.tls import Certificate
from wakizashi.window_file import Entry

FAULT, NOTE, OK = Verdict.FAULT, Verdict.NOTE, Verdict.OK
CONFIG = ProbeConfig(name="vm-1")
NOW = 1_700_000_000.0
TARGET = "192.0.2.1:10080"
PLACE = directory.Directory("dumpDir", Path("/d"), "dumpLimit", 2**30, 30, "the center")


def disk(free: int = 2**40, inodes: int = 10**6) -> os.statvfs_result:
    # f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_favail, f_flag, f_namemax
    return os.statvfs_result((1, 1, 2**41, free, free, 10**6, inodes, inodes, 0, 255))


def engine(name: str, obstacle: str | None) -> Choice:
    return Choice(name, load_engine(name), obstacle)


def device(index: int, name: str, *, up: bool = True, link_type: int = 1) -> Device:
    return Device(index, name, link_type, up, Tally(), Tally())


def contacts(*found: Contact, config: ProbeConfig = CONFIG) -> Iterable[Finding]:
    return way.judge(config, Credentials(), found, NOW)


GOOD = Contact(TARGET, seconds=0.01, serving="SERVING", called=True, skew=Skew(0.001, 0.002))
DEAD = Contact("192.0.2.2:10080", no_connection="Connection refused")


def entry(age_seconds: float) -> Entry:
    return Entry(round(1000 * (NOW - age_seconds)), 1, "x", 1000)


def environment_of(name: str) -> Iterable[Finding]:
    return environment.look({name: "x"}, {"WAKIZASHI_NAME"}, {"WAKIZASHI_PORT"}, "probe")


def files(tmp_path: Path, mode: int) -> Iterable[Finding]:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123\n")
    token.chmod(mode)
    return secrets.look(ProbeConfig(tokenFile=token), None)


def machine(**found: int | None) -> memory.Memory:
    least = memory.Memory(2**34, 2**33, 2**30, 2**20)
    return replace(least, **found)


def rings(memory_of: memory.Memory, name: str = "ring", **more: int) -> Iterable[Finding]:
    return memory.look(
        memory_of,
        engine=name,
        ring_bytes=more.get("ring", 2**25),
        devices=more.get("devices", 2),
        held=frozenset(),
        kernel=(5, more.get("minor", 15)),
    )


def port(*, listens: bool) -> Iterable[Finding]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        number = other.getsockname()[1]
        if listens:
            other.listen()
            return list(listening.look(listening.Port("port", "127.0.0.1", number, number)))
    return list(listening.look(listening.Port("port", "127.0.0.1", number, number)))


def port_of_ours() -> Iterable[Finding]:
    metrics = b"wakizashi_probe_build_info 1\n"
    server = HealthServer(
        "127.0.0.1", 0, key="k", live=lambda: None, ready=lambda: None, metrics=lambda: metrics
    )
    server.start()
    try:
        return list(
            listening.look(listening.Port("healthPort", "127.0.0.1", server.port, server.port))
        )
    finally:
        server.close()


def recovery(tmp_path: Path, *, blocked: bool) -> Iterable[Finding]:
    if blocked:
        (tmp_path / "r").write_text("a file")
    place = replace(PLACE, key="recoverDir", path=tmp_path / "r")
    return directory.look(place, root=tmp_path / "none")


def locked(path: Path, key: str, locks: str) -> Iterable[Finding]:
    root = path / "root"
    (root / "proc").mkdir(parents=True)
    (root / "proc/locks").write_text(f"{locks}\n")
    return directory.look(replace(PLACE, key=key, path=path), root=root)


def _place(path: Path) -> str:
    found = path.stat()
    return f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"


Situation = Callable[[Path], Iterable[Finding]]

SITUATIONS: dict[str, tuple[tuple[Verdict, Situation], ...]] = {
    "environment": (
        (FAULT, lambda _: environment_of("WAKIZASHI_NAEM")),
        (NOTE, lambda _: environment_of("WAKIZASHI_PORT")),
        (OK, lambda _: environment_of("WAKIZASHI_NAME")),
    ),
    "secrets": ((NOTE, lambda p: files(p, 0o644)), (OK, lambda p: files(p, 0o600))),
    "user": (
        (FAULT, lambda _: becoming.judge("nobody", ["can't read it; chown it"], None)),
        (NOTE, lambda _: becoming.judge("nobody", [], "can't reload it; chown it")),
        (OK, lambda _: becoming.judge("nobody", [], None)),
        (OK, lambda _: becoming.judge("", [], None)),
    ),
    "kernel": (
        (FAULT, lambda _: kernel.look_kernel("4.19.0-9", "x86_64", root=Path("/none"))),
        (NOTE, lambda _: kernel.look_kernel("5.4.0", "x86_64", root=Path("/none"))),
        (OK, lambda _: kernel.look_kernel("6.1.0", "x86_64", root=Path("/none"))),
        (OK, lambda _: kernel.look_kernel("4.4.0", "x86_64", captures=False)),
    ),
    "capabilities": (
        (FAULT, lambda _: kernel.look_capabilities(frozenset(), 1000, "auto")),
        (FAULT, lambda _: kernel.look_capabilities(frozenset({kernel.NET_RAW}), 0, "ebpf")),
        (NOTE, lambda _: kernel.look_capabilities(frozenset({kernel.NET_RAW}), 0, "auto")),
        (
            OK,
            lambda _: kernel.look_capabilities(frozenset({kernel.NET_RAW, kernel.BPF}), 0, "ebpf"),
        ),
    ),
    "engine": (
        (FAULT, lambda _: capturing.judge_engines("ring", [engine("ring", "no right; grant it")])),
        (
            NOTE,
            lambda _: capturing.judge_engines(
                "auto", [engine("ebpf", "old"), engine("ring", None)]
            ),
        ),
        (
            OK,
            lambda _: capturing.judge_engines(
                "ring", [engine("ebpf", "old"), engine("ring", None)]
            ),
        ),
    ),
    "devices": (
        (FAULT, lambda _: capturing.judge_patterns(["eth9"], {1: device(1, "eth0")})),
        (FAULT, lambda _: capturing.judge_patterns([], {1: device(1, "eth0", up=False)})),
        (NOTE, lambda _: capturing.judge_patterns(["eth9", "eth0"], {1: device(1, "eth0")})),
        (NOTE, lambda _: capturing.judge_devices([device(1, "a", up=False)], lambda _: 1500)),
        (OK, lambda _: capturing.judge_patterns(["eth.*"], {1: device(1, "eth0")})),
        (OK, lambda _: capturing.judge_devices([device(1, "a")], lambda _: 1500)),
    ),
    "offloads": (
        (NOTE, lambda _: offloads.look({"eth0": frozenset({"rx-vlan"})}, frozenset({"eth0"}))),
        (OK, lambda _: offloads.look({"eth0": frozenset({"rx-vlan", "gro"})}, frozenset())),
    ),
    "memory": (
        (FAULT, lambda _: rings(machine(available=2**25))),
        (NOTE, lambda _: rings(machine(available=2**26 + 1))),
        (NOTE, lambda _: rings(machine(options=4096))),
        (NOTE, lambda _: rings(machine(socket_buffer=212_992), "scapy")),
        (NOTE, lambda _: rings(machine(locked=65_536), "ebpf", minor=10)),
        (OK, lambda _: rings(machine(locked=65_536), "ebpf")),
        (OK, lambda _: rings(machine())),
        (OK, lambda _: rings(machine(available=None))),
    ),
    "dumpDir": (
        (FAULT, lambda p: directory.look(replace(PLACE, path=_file(p)))),
        (NOTE, lambda p: locked(p, "dumpDir", f"1: FLOCK ADVISORY WRITE 77 {_place(p)} 0 EOF")),
        (OK, lambda p: locked(p, "dumpDir", f"1: POSIX ADVISORY WRITE 77 {_place(p)} 0 EOF")),
    ),
    "recoverDir": (
        (FAULT, lambda p: recovery(p, blocked=True)),
        (NOTE, lambda p: locked(p, "recoverDir", f"1: FLOCK ADVISORY WRITE 77 {_place(p)} 0 EOF")),
        (OK, lambda p: recovery(p, blocked=False)),
    ),
    "room": (
        (FAULT, lambda _: directory.judge_room(PLACE, disk(free=2**20 - 1), 0)),
        (FAULT, lambda _: directory.judge_room(PLACE, disk(inodes=0), 0)),
        (NOTE, lambda _: directory.judge_room(PLACE, disk(free=2**29), 0)),
        (NOTE, lambda _: directory.judge_room(PLACE, disk(inodes=5), 0)),
        (OK, lambda _: directory.judge_room(PLACE, disk(free=2**29), 2**29)),
    ),
    "waiting": (
        (NOTE, lambda _: directory.judge_waiting(PLACE, [entry(601), entry(1)], [], NOW)),
        (NOTE, lambda _: directory.judge_waiting(PLACE, [], [entry(1)], NOW)),
        (OK, lambda _: directory.judge_waiting(PLACE, [entry(599)], [], NOW)),
    ),
    "clock": (
        (NOTE, lambda _: clock.look(KernelClock(False, 16.0), False)),
        (NOTE, lambda _: clock.look(PermissionError(errno.EPERM, "no"), False)),
        (OK, lambda _: clock.look(KernelClock(True, 0.01), False)),
        (OK, lambda _: clock.look(KernelClock(False, 16.0), True)),
    ),
    "name": (
        (FAULT, lambda _: _resolve(f"{'x' * 64}:1")),
        (OK, lambda _: _resolve("127.0.0.1:1")),
    ),
    "connection": (
        (FAULT, lambda _: contacts(DEAD)),
        (NOTE, lambda _: contacts(DEAD, GOOD)),
        (OK, lambda _: contacts(GOOD)),
    ),
    "tls": (
        (FAULT, lambda _: contacts(replace(GOOD, speaks_tls=True))),
        (NOTE, lambda _: contacts(GOOD, config=ProbeConfig(centerAddr="192.0.2.1:10080"))),
        (OK, lambda _: contacts(GOOD)),
        (FAULT, lambda _: [certificates.judge("tls.cert", Certificate("a", "b", 0, NOW - 1), NOW)]),
        (
            FAULT,
            lambda _: [
                certificates.judge("tls.cert", Certificate("a", "b", NOW + 9, NOW * 2), NOW)
            ],
        ),
        (
            NOTE,
            lambda _: [certificates.judge("tls.cert", Certificate("a", "b", 0, NOW + 86_400), NOW)],
        ),
        (OK, lambda _: [certificates.judge("tls.cert", Certificate("a", "b", 0, NOW + 1e7), NOW)]),
    ),
    "service": (
        (
            FAULT,
            lambda _: contacts(replace(GOOD, serving=Refused("UNIMPLEMENTED", f"{TARGET}: no"))),
        ),
        (FAULT, lambda _: contacts(replace(GOOD, serving="NOT_SERVING"))),
        (NOTE, lambda _: contacts(GOOD, replace(GOOD, target="b", serving="NOT_SERVING"))),
        (OK, lambda _: contacts(GOOD)),
    ),
    "token": (
        (FAULT, lambda _: contacts(replace(GOOD, refused=Refused("UNAUTHENTICATED", "x; set it")))),
        (NOTE, lambda _: contacts(GOOD, replace(GOOD, refused=Refused("PERMISSION_DENIED", "x")))),
        (OK, lambda _: contacts(GOOD)),
    ),
    "skew": (
        (FAULT, lambda _: contacts(replace(GOOD, skew=Skew(-31.0, 0.5)))),
        (NOTE, lambda _: contacts(replace(GOOD, skew=Skew(4.0, 0.5)))),
        (NOTE, lambda _: contacts(replace(GOOD, skew=None))),
        (OK, lambda _: contacts(replace(GOOD, skew=Skew(3.4, 0.5)))),
        (OK, lambda _: contacts(replace(GOOD, skew=Skew(40.0, 41.0)))),
    ),
    "listen": (
        (FAULT, lambda _: port(listens=True)),
        (FAULT, lambda _: listening.look(listening.Port("port", "192.0.2.1", 10080, 10080))),
        (NOTE, lambda _: port_of_ours()),
        (OK, lambda _: port(listens=False)),
    ),
    "connections": (
        (NOTE, lambda _: [center.judge_connections(1024, 4096)]),
        (OK, lambda _: [center.judge_connections(2**20, 4096)]),
    ),
    "backend": (
        (FAULT, lambda p: _sqlite(p / "none" / "w.db")),
        (NOTE, lambda p: _sqlite(p / "w.db", "1000TiB")),
        (OK, lambda p: _sqlite(p / "w.db")),
    ),
    "series": (
        (FAULT, lambda _: [storing.judge_series(Series(7, Limit("l", "x", 5, 5, "raise it")))]),
        (NOTE, lambda _: [storing.judge_series(Series(7, Limit("l", "x", 4, 5, "raise it")))]),
        (OK, lambda _: [storing.judge_series(Series(7, Limit("l", "x", 3, 5, "raise it")))]),
        (OK, lambda _: [storing.judge_series(Series(7, None))]),
    ),
}


def _file(folder: Path) -> Path:
    (folder / "f").write_text("")
    return folder / "f"


def _resolve(address: str) -> Iterable[Finding]:
    from wakizashi.doctor.examination import Check, examine

    config = ProbeConfig(centerAddr=address)
    return [f for f in examine([Check("name", lambda: way.look(config))]) if f.check == "name"]


def _sqlite(path: Path, limit: str = "1MiB") -> Iterable[Finding]:
    from wakizashi.center.config import load_center

    config = load_center(
        None,
        [f"backendConfig.sqliteConfig.path={path}", f"backendConfig.sqliteConfig.limit={limit}"],
        {},
    )
    return storing.look(config.backendConfig)


def test_there_is_a_situation_for_every_check_in_which_it_is_not_fine() -> None:
    assert list(SITUATIONS) == list(CHECKS)
    for name, situations in SITUATIONS.items():
        verdicts = {verdict for verdict, _ in situations}
        assert OK in verdicts, name
        assert verdicts & {NOTE, FAULT}, name


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, some in SITUATIONS.items() for n in range(len(some))]
)
def test_a_situation_is_judged(name: str, number: int, tmp_path: Path) -> None:
    wanted, look = SITUATIONS[name][number]
    found = [finding for finding in look(tmp_path) if finding.check == name]
    worst = max((f.verdict for f in found), key=[OK, NOTE, FAULT].index)
    assert worst is wanted, found
    for finding in found:
        assert finding.text
        assert bool(finding.remedy) == (finding.verdict is not OK), finding


def test_the_worst_of_each_check_is_documented() -> None:
    """``docs/doctor.md`` has a row for each check, with what makes it a fault or a note."""
    text = (Path(__file__).parents[2] / "docs/doctor.md").read_text()
    rows = {
        cells[1].strip("` "): cells
        for line in text.splitlines()
        if line.startswith("| `") and len(cells := line.split("|")) == 7
    }
    assert list(rows) == list(CHECKS)
    for name, (_, _, _, fault, note, remedy, _) in rows.items():
        verdicts = {verdict for verdict, _ in SITUATIONS[name]}
        assert (fault.strip() != "-") == (FAULT in verdicts), f"{name}: fault"
        assert (note.strip() != "-") == (NOTE in verdicts), f"{name}: note"
        assert remedy.strip(), name
