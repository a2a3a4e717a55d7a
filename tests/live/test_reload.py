"""A storm of reloads under steady traffic: every packet is counted, and once.

One device is meant by every configuration: its ledgers add up to its own counters, and
its flows to what was sent. Another comes and goes. The way to the two centers is watched
too: whichever the probe talks to, none of that counts as traffic.
"""

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.center_servers import until
from tests.namespaces import device_named, ip, pair
from tests.steady import Traffic
from wakizashi import wire
from wakizashi.model import Ledger, Tally, Window
from wakizashi.probe.capture import engine_names
from wakizashi.v1 import traffic_pb2 as pb
from wakizashi.v1 import traffic_pb2_grpc as pb_grpc

pytestmark = [pytest.mark.usefixtures("namespace"), pytest.mark.timeout(180)]

RELOADS = 30
IN_FLIGHT = 25
"""Packets of a device that comes or goes which its counters and the probe may see differently."""


class Center(pb_grpc.TrafficCenterServicer):
    """Takes everything, and keeps the windows as they came."""

    def __init__(self) -> None:
        self.windows: list[Window] = []

    def Transmit(self, request_iterator: Iterator[pb.WindowChunk], context: Any) -> Iterator[Any]:
        for chunk in request_iterator:
            self.windows.append(wire.decode([chunk.SerializeToString()]))
            yield pb.WindowAck(
                probe=chunk.probe,
                start_unix_ms=chunk.start_unix_ms,
                status=pb.WINDOW_STATUS_STORED,
            )


@contextmanager
def center() -> Iterator[tuple[Center, int]]:
    made = Center()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    pb_grpc.add_TrafficCenterServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield made, port
    finally:
        server.stop(None).wait()


def write(path: Path, config: dict[str, object]) -> None:
    """In one step: a signal may come at any moment."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(config))
    new.rename(path)


def until_more(count: Callable[[], int], before: int, what: str) -> None:
    until(lambda: count() > before, what)


@pytest.mark.parametrize("engine", engine_names())
def test_a_storm_of_reloads_loses_no_packet_and_counts_none_twice(
    engine: str, tmp_path: Path
) -> None:
    pair()
    ip("link", "set", "lo", "up")
    path, log = tmp_path / "probe.yaml", tmp_path / "log"
    chance = random.Random(f"reload/{engine}")
    with center() as (first, port), center() as (second, other):
        base: dict[str, object] = {
            "centerAddr": f"127.0.0.1:{port}",
            "capture": engine,
            "name": "p",
            "dumpDir": str(tmp_path / "dump"),
            "networkDevs": ["lo", "eth0"],
            "capInterval": 1,
        }
        write(path, base)
        with log.open("wb") as out:
            command = [sys.executable, "-m", "wakizashi.probe", "-c", str(path)]
            probe = subprocess.Popen(command, stderr=out)
        try:
            until(lambda: ": engine " in log.read_text(), "the probe captures")
            before = device_named("eth0").passed
            with Traffic() as traffic:
                for number in range(RELOADS):
                    values = {
                        "centerAddr": f"127.0.0.1:{chance.choice((port, other))}",
                        "networkDevs": chance.choice((["lo", "eth0"], ["lo", "eth0", "veth01"])),
                        "capInterval": chance.choice((1, 2)),
                        "tags": chance.choice(({"env": "a"}, {"env": "b"})),
                        "maxFlows": 3 if number // 6 % 2 else 65_536,  # two windows each
                        "dumpDir": chance.choice((str(tmp_path / "dump"), "elsewhere")),
                    }
                    write(path, base | values)
                    reloads = log.read_text().count("reloaded ")
                    came = len(first.windows + second.windows)
                    for _ in range(chance.choice((1, 1, 50))):
                        probe.send_signal(signal.SIGHUP)
                    until_more(lambda: log.read_text().count("reloaded "), reloads, "a reload")
                    if number % 3 == 2:
                        until_more(lambda: len(first.windows + second.windows), came, "a window")
            passed = device_named("eth0").passed - before
        finally:
            probe.send_signal(signal.SIGTERM)
            code = probe.wait(30)
    said = log.read_text()
    assert code == 0, said
    assert "dumpDir can't change while running" in said
    assert "ERROR" not in said and "Traceback" not in said, said

    windows = sorted([*first.windows, *second.windows], key=lambda window: window.start_ms)
    assert [window.number for window in windows] == list(range(1, len(windows) + 1))
    assert len({window.start_ms for window in windows}) == len(windows)
    assert passed == Tally(sum(traffic.packets.values()), sum(traffic.bytes.values()))
    kept = ledgers(windows, "eth0")
    assert (total(kept, "device"), total(kept, "counted")) == (passed, passed)
    assert total(kept, "own") == total(kept, "non_ip") == total(kept, "dropped") == Tally()
    stored = flows(windows, "eth0")
    assert sum(stored.values()) == passed.bytes
    assert all(stored[source] <= size for source, size in traffic.bytes.items())
    way = ledgers(windows, "lo")
    assert total(way, "counted") == Tally() and total(way, "own").packets > 0
    changing = ledgers(windows, "veth01")
    edges = IN_FLIGHT * said.count("veth01")
    assert abs(total(changing, "device").packets - total(changing, "counted").packets) <= edges

    # And it was a storm: all of it took effect.
    assert first.windows and second.windows
    assert {window.tags for window in windows} >= {(("env", "a"),), (("env", "b"),)}
    assert any(ledger.other.packets for ledger in kept)
    assert not all(ledger.other.packets for ledger in kept)
    assert 0 < total(changing, "counted").packets < passed.packets


def ledgers(windows: Sequence[Window], name: str) -> list[Ledger]:
    return [each.ledger for window in windows for each in window.devices if each.name == name]


def total(ledgers: Sequence[Ledger], tally: str) -> Tally:
    return sum((getattr(ledger, tally) for ledger in ledgers), Tally())


def flows(windows: Sequence[Window], name: str) -> Counter[bytes]:
    """Bytes by source."""
    found: Counter[bytes] = Counter()
    for window in windows:
        for flow in window.flows:
            if window.devices[flow.device].name == name:
                found[flow.source] += flow.size
    return found
