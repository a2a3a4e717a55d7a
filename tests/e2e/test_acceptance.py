"""The original's acceptance test, with real parts, and the same under faults.

nginx with a probe beside it, a center elsewhere, InfluxDB behind; requests by
curl; the record is in InfluxDB, exact to the byte.
"""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.lab import Lab, Process, lab, require, run, wait_for
from wakizashi.probe.capture import engine_names

IN_FLIGHT_PACKETS = 500
"""At the edge of a window while files are being fetched, by a probe that waits for a processor."""

LAST_PACKETS = 8
"""Of the probe's own, on their way while it ends: a delivery may begin just then."""

FILES = {"small.bin": 12_345, "large.bin": 3_000_000}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Lab]:
    """A lab with nginx and InfluxDB running."""
    require("nginx", "influxd", "tcpdump", "curl", "nsenter")
    with lab(tmp_path) as made:
        made.nginx(FILES)
        yield made


def fetch_all(ground: Lab) -> None:
    """Every file once, over both families."""
    for name, size in FILES.items():
        ground.fetch(name, size)


def next_windows(ground: Lab, count: int) -> None:
    """Wait until the probe has closed so many windows more."""
    dump = ground.folder / "dump"

    def newest() -> str:
        return max((path.name for path in dump.rglob("*.window")), default="")

    for _ in range(count):
        before = newest()
        wait_for("a window to close", lambda before=before: newest() > before)  # type: ignore[misc]  # mypy does not infer a lambda with defaults


def check(ground: Lab) -> None:
    """What InfluxDB has equals what the wire carried, and the ledger balances; nothing waits."""
    recorded = ground.recorded()
    expected: dict[tuple[str, str], int] = {}
    for pairs, _, _ in recorded.values():
        for pair, size in pairs.items():
            expected[pair] = expected.get(pair, 0) + size

    def nothing_waits() -> bool:
        folders = (ground.folder / "dump", ground.folder / "recovery")
        return not any(list(folder.glob("*.window")) for folder in folders)

    wait_for("everything to be stored", nothing_waits)
    rows = ground.influx("SELECT sum(size) AS size FROM traffic GROUP BY srcIP, dstIP")
    stored = {(row["srcIP"], row["dstIP"]): row["size"] for row in rows}
    assert stored == expected
    assert expected["10.77.1.1", "10.77.1.2"] > sum(FILES.values())
    assert expected["fd77:1::1", "fd77:1::2"] > sum(FILES.values())
    centers = {"10.77.2.2", "10.77.2.3"}  # over IPv6 there is neighbour discovery, which is no TCP
    assert not any(centers & set(pair) for pair in stored), "probe to center is in the database"

    fields = ("device", "counted", "own", "non_ip", "dropped")
    select = ", ".join(
        f"sum({field}_{unit}) AS {field}_{unit}"
        for field in fields
        for unit in ("bytes", "packets")
    )
    for row in ground.influx("SELECT * FROM traffic_ledger"):  # each window by itself
        fate = sum(row[f"{field}_packets"] for field in fields[1:])
        assert abs(row["device_packets"] - fate) <= IN_FLIGHT_PACKETS, row
    ledger = ground.influx(f"SELECT {select} FROM traffic_ledger GROUP BY device")
    assert {row["device"] for row in ledger} == {"web0", "web1"}
    for row in ledger:
        edge = LAST_PACKETS if row["device"] == "web1" else 0
        for unit, size in (("packets", 1), ("bytes", 1514)):
            fate = sum(row[f"{field}_{unit}"] for field in fields[1:])
            assert abs(row[f"device_{unit}"] - fate) <= edge * size, row
        pairs, own, arp = recorded[row["device"]]
        assert row["counted_bytes"] == sum(pairs.values())
        # The last window is delivered when capture is over, so the wire has more of its own.
        assert (0 < row["own_bytes"] < own) if row["device"] == "web1" else own == 0
        assert row["non_ip_bytes"] <= arp
        assert row["non_ip_bytes"] == arp > 0 or row["device"] == "web1"
        assert row["dropped_packets"] == 0


def quiet_stop(ground: Lab, probe: Process) -> None:
    """Stop the probe while it has nothing to deliver, so that the last edge is quiet as a rule."""
    wait_for("a delivery", lambda: list((ground.folder / "dump" / "sent").glob("*.window")))
    seen = (-1, 0.0)

    def silent() -> bool:
        nonlocal seen
        passed = ground.counters("web1")
        if passed != seen[0]:
            seen = (passed, time.monotonic())
        return time.monotonic() - seen[1] > 0.3

    wait_for("the wire to be quiet", silent)
    assert probe.stop() == 0


@pytest.mark.parametrize("capture", ["auto", *engine_names()])
def test_one_request_is_in_influxdb_to_the_byte(ground: Lab, capture: str) -> None:
    ground.influxd()
    center = ground.start_center()
    ground.record()
    probe = ground.start_probe(capture=capture)
    assert f"engine {'ebpf' if capture == 'auto' else capture}" in probe.output
    fetch_all(ground)
    next_windows(ground, 2)
    quiet_stop(ground, probe)
    check(ground)
    assert center.stop() == 0


def test_center_over_ipv6(ground: Lab) -> None:
    ground.influxd()
    ground.start_center(host="::")
    ground.record()
    probe = ground.start_probe(center="[fd77:2::2]:10080")
    fetch_all(ground)
    next_windows(ground, 1)
    quiet_stop(ground, probe)
    check(ground)


@pytest.mark.parametrize("capture", engine_names())
def test_center_moves_to_another_address(ground: Lab, capture: str) -> None:
    run("ip", "-n", ground.center, "addr", "add", "10.77.2.3/24", "dev", "cen0")
    hosts = ground.folder / "hosts"
    hosts.write_text("10.77.2.2 center.test\n")
    ground.influxd()
    ground.start_center()
    ground.record()
    # A connection lives for a second, so the name is asked for again and again.
    probe = ground.start_probe("center.test:10080", hosts, capture=capture, channelLifetime=1)
    connected = lambda: run("nsenter", f"--net=/run/netns/{ground.web}", "ss", "-tn")
    for address in ("10.77.2.2", "10.77.2.3", "10.77.2.2"):
        hosts.write_text(f"{address} center.test\n")
        wait_for(
            f"a connection to {address}",
            lambda address=address: f"{address}]:10080" in connected(),  # type: ignore[misc]  # mypy does not infer a lambda with defaults
        )
        fetch_all(ground)
        next_windows(ground, 1)
    quiet_stop(ground, probe)
    check(ground)


def test_center_starts_after_the_probe(ground: Lab) -> None:
    ground.influxd()
    ground.record()
    probe = ground.start_probe(uploadRetry=0)
    fetch_all(ground)
    next_windows(ground, 2)
    ground.start_center()
    fetch_all(ground)
    next_windows(ground, 2)
    quiet_stop(ground, probe)
    check(ground)


def test_center_is_killed_and_restarted_in_the_middle(ground: Lab) -> None:
    ground.influxd()
    center = ground.start_center()
    ground.record()
    probe = ground.start_probe()
    fetch_all(ground)
    next_windows(ground, 1)
    fetch_all(ground)
    assert center.stop(signal.SIGKILL) == -signal.SIGKILL
    fetch_all(ground)
    next_windows(ground, 2)
    ground.start_center()
    fetch_all(ground)
    next_windows(ground, 2)
    quiet_stop(ground, probe)
    check(ground)


def test_influxdb_is_stopped_for_some_intervals(ground: Lab) -> None:
    influxd = ground.influxd()
    ground.start_center()
    ground.record()
    probe = ground.start_probe()
    fetch_all(ground)
    next_windows(ground, 1)
    influxd.stop()
    fetch_all(ground)
    next_windows(ground, 3)
    wait_for(
        "windows in the recovery directory",
        lambda: list((ground.folder / "recovery").glob("*.window")),
    )
    ground.influxd()
    fetch_all(ground)
    next_windows(ground, 1)
    quiet_stop(ground, probe)
    check(ground)


def test_probe_is_stopped_while_the_center_is_away_and_started_again(ground: Lab) -> None:
    ground.influxd()
    ground.record()
    probe = ground.start_probe(uploadRetry=0)
    fetch_all(ground)
    next_windows(ground, 1)
    assert probe.stop() == 0
    assert list((ground.folder / "dump").glob("*.window")), "the windows must be kept"
    ground.start_center()
    probe = ground.start_probe()
    fetch_all(ground)
    next_windows(ground, 1)
    quiet_stop(ground, probe)
    check(ground)
