"""``wakizashi top`` on a real link: what it prints is what was sent, to the byte, with each engine."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.center_servers import until
from tests.namespaces import device_named, ip, pair
from tests.programs import interpreter, mounts
from tests.steady import PEER, Traffic, frame, source
from wakizashi import privileges
from wakizashi.model import Tally
from wakizashi.probe.capture import engine_names, load_engine

pytestmark = [pytest.mark.usefixtures("namespace"), pytest.mark.timeout(120)]

PROGRAM = ["-c", "from wakizashi.cli import main; main()", "top"]
COMMAND = [sys.executable, *PROGRAM]
INTERVAL = "0.5"
USER = 54_321
NON_IP = b"\xff" * 6 + b"\x02" + bytes(5) + b"\x88\xb5" + bytes(86)
LOCAL = source(0)


class Top:
    """One that runs and prints JSON."""

    def __init__(self, folder: Path, *flags: str, command: Sequence[str] = COMMAND) -> None:
        self.out, self.said = folder / "out", folder / "err"
        with self.out.open("wb") as out, self.said.open("wb") as err:
            self.process = subprocess.Popen(
                [*command, "--json", "--interval", INTERVAL, *flags], stdout=out, stderr=err
            )

    @property
    def documents(self) -> list[dict[str, Any]]:
        """What it has printed until now."""
        return [json.loads(line) for line in self.out.read_bytes().split(b"\n")[:-1]]

    def until(self, condition: Callable[[list[dict[str, Any]]], bool], what: str) -> None:
        """Wait for what it prints."""

        def found() -> bool:
            assert self.process.poll() is None, self.said.read_text()
            return condition(self.documents)

        until(found, what)

    def more(self, number: int) -> None:
        """So many intervals more."""
        wanted = len(self.documents) + number
        self.until(lambda documents: len(documents) >= wanted, "more intervals")


@contextmanager
def running(folder: Path, *flags: str, command: Sequence[str] = COMMAND) -> Iterator[Top]:
    """It has ended well when the block is left."""
    top = Top(folder, *flags, command=command)
    try:
        top.more(1)
        yield top
        top.process.send_signal(signal.SIGTERM)
        assert top.process.wait(30) == 0, top.said.read_text()
    finally:
        if top.process.poll() is None:
            top.process.kill()
            top.process.wait()


def tally(found: dict[str, int]) -> Tally:
    return Tally(found["packets"], found["bytes"])


def devices(documents: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [d for document in documents for d in document["devices"] if d["device"] == name]


def total(documents: list[dict[str, Any]], device: str, name: str) -> Tally:
    """Of all intervals."""
    found = devices(documents, device)
    return sum((tally(each["interval"][name]) for each in found), Tally())


def send(device: str, data: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((device, 0))
        out.send(data)


@pytest.mark.parametrize("engine", engine_names())
def test_what_it_prints_is_what_was_sent_and_what_the_device_counted(
    engine: str, tmp_path: Path
) -> None:
    pair()
    ip("addr", "add", f"{ip_address(LOCAL)}/24", "dev", "eth0")
    with running(tmp_path, "--capture", engine, "--device", "eth0") as top:
        before = device_named("eth0").passed
        with Traffic() as sent, Traffic("veth01", answers=True) as received:
            top.more(5)
            send("eth0", NON_IP)
        top.more(1)
        passed = device_named("eth0").passed - before
    documents = top.documents
    assert passed.packets > 1000
    assert passed.packets == sent.packets.total() + received.packets.total() + 1
    assert passed.bytes == sent.bytes.total() + received.bytes.total() + len(NON_IP)

    # By device: the intervals add up to its own counters, and so do pairs and what is no pair.
    assert total(documents, "eth0", "device") == passed
    assert total(documents, "eth0", "non_ip") == Tally(1, len(NON_IP))
    assert total(documents, "eth0", "dropped") == total(documents, "eth0", "other") == Tally()
    counted = total(documents, "eth0", "counted")
    assert counted + Tally(1, len(NON_IP)) == passed
    for document in documents:
        ways = [way for each in document["pairs"] for way in each["interval"].values()]
        assert sum(map(tally, ways), Tally()) == total([document], "eth0", "counted")

    # By pair: what each end sent, in all intervals and by the last total, local ends first.
    sums: Counter[tuple[str, str, str]] = Counter()
    totals: dict[tuple[str, str, str], int] = {}
    for found in (each for document in documents for each in document["pairs"]):
        for way, size in found["interval"].items():
            key = (found["srcIP"], found["dstIP"], way)
            sums[key] += size["bytes"]
            totals[key] = found["total"][way]["bytes"]
    expected: dict[tuple[str, str, str], int] = {}
    for here, size in sent.bytes.items():
        expected[str(ip_address(here)), str(ip_address(PEER)), "sent"] = size
        expected[str(ip_address(here)), str(ip_address(PEER)), "received"] = received.bytes[here]
    assert sums == totals == expected
    directions = {
        each["srcIP"]: each["direction"] for document in documents for each in document["pairs"]
    }
    assert directions.pop(str(ip_address(LOCAL))) == "out"
    assert set(directions.values()) == {"transit"}

    # The last total is the sum; numbers, time and length of intervals go on.
    last = devices(documents, "eth0")[-1]
    assert tally(last["total"]["device"]) == passed
    assert [document["number"] for document in documents] == list(range(1, len(documents) + 1))
    assert {document["engine"] for document in documents} == {engine}
    assert all(document["seconds"] > 0 for document in documents)


@pytest.mark.parametrize("engine", engine_names())
def test_it_keeps_what_devices_that_come_later_need_and_nothing_else(
    engine: str, tmp_path: Path
) -> None:
    pair()
    flags = ["--capture", engine, "--device", "eth0", "--device", "late.*"]
    with running(tmp_path, *flags) as top:
        tasks = list(Path(f"/proc/{top.process.pid}/task").iterdir())
        for task in tasks:
            held = privileges.held(str(task))
            kept = privileges.mask(load_engine(engine).capabilities)
            assert (held.effective, held.permitted) == (kept, kept)
            assert (held.inheritable, held.ambient, held.bounding) == (0, 0, 0)
            assert held.no_new_privs
        ip("link", "add", "late0", "type", "veth", "peer", "name", "other0")
        for name in ("late0", "other0"):
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
            ip("link", "set", name, "up")
        top.until(lambda documents: bool(devices(documents, "late0")), "the device that came")
        ways = (LOCAL, PEER)
        data = frame(*ways, 100)

        def seen(documents: list[dict[str, Any]]) -> bool:
            send("late0", data)  # the first ones may find no carrier
            return any(each["device"] == "late0" for d in documents for each in d["pairs"])

        top.until(seen, "its traffic")
        ip("link", "del", "late0")
        top.more(2)
    assert total(top.documents, "late0", "counted").bytes % len(data) == 0
    assert "'late.*' means no device of this host now" in top.said.read_text()


@pytest.mark.parametrize("engine", engine_names())
def test_it_becomes_another_user_before_it_captures(engine: str, tmp_path: Path) -> None:
    pair()
    with tempfile.TemporaryDirectory(prefix="wakizashi-top-") as name:
        place = Path(name)
        place.chmod(0o755)  # what pytest makes is its own user's alone
        start = shlex.join([*interpreter(place), *PROGRAM])
        steps = f'mount --make-rprivate /\n{mounts(place)}\ncd {place}\nexec {start} "$@"'
        command = ["unshare", "--mount", "sh", "-ec", steps, "top"]
        flags = ["--capture", engine, "--device", "eth0", "--user", str(USER)]
        with running(tmp_path, *flags, command=command) as top:
            for task in Path(f"/proc/{top.process.pid}/task").iterdir():
                held = privileges.held(str(task))
                assert held.uids == held.gids == {USER}
                assert not held.groups
                assert held.permitted == privileges.mask(load_engine(engine).capabilities)
            send("eth0", frame(LOCAL, PEER, 100))
            top.until(lambda documents: any(each["pairs"] for each in documents), "traffic")


def test_it_ends_by_itself_after_so_many_intervals(tmp_path: Path) -> None:
    pair()
    flags = ["--count", "3", "--interval", INTERVAL, "--device", "eth0"]
    done = subprocess.run([*COMMAND, *flags, "--json"], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [json.loads(line)["number"] for line in done.stdout.splitlines()] == [1, 2, 3]
    done = subprocess.run([*COMMAND, *flags], capture_output=True, timeout=60)  # to a pipe
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    assert done.stdout.count(b"\n\n") == done.stdout.count(b" counters ") == 3


def test_who_reads_no_further_is_no_error() -> None:
    pair()
    with subprocess.Popen(
        [*COMMAND, "--json", "--interval", INTERVAL, "--device", "eth0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b'{"version":1,')
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (
            ["--device", "eth9"],
            1,
            "--device: eth9 means no device that can be captured; this host ",
        ),
        (
            ["--device", "eth["],
            78,
            "--device: 'eth[' is no device name and no regular expression: ",
        ),
        (["--capture", "pcap"], 78, "capture: 'pcap' is no engine; use auto, ebpf, ring, scapy"),
        (["--user", "nobody-of-this-name"], 78, "--user: 'nobody-of-this-name' is no user"),
        (["--plain", "--json"], 2, "--plain and --json exclude each other"),
        (["--interval", "0.1"], 2, "0.5<=x<=3600"),
        (["--count", "0"], 2, "x>=1"),
    ],
)
def test_what_it_can_not_do_is_told_with_the_remedy(flags: list[str], code: int, said: str) -> None:
    done = subprocess.run([*COMMAND, *flags], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_without_privileges_it_says_in_one_line_what_is_missing() -> None:
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", f"--reuid={os.getuid()}"]
    done = subprocess.run([*drop, *COMMAND], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "wakizashi: error: capture: ebpf, ring, scapy: CAP_NET_RAW is missing"
    )
    assert "run as root" in done.stderr and done.stderr.count("\n") == 1
