"""What aggregation makes of flows."""

import pytest

from tests.center_windows import START, ip, window
from wakizashi.center import aggregate as module
from wakizashi.center.aggregate import aggregate
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Tally, Window


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        (Direction.OUT, "10.0.0.8"),
        (Direction.LOCAL, "10.0.0.8"),
        (Direction.IN, "10.0.0.9"),
        (Direction.TRANSIT, "10.0.0.1"),
    ],
)
def test_probe_ip_is_the_local_address(direction: Direction, expected: str) -> None:
    (record,) = aggregate(window(0, (Flow(0, direction, ip(8), ip(9), 10, 1),))).records
    assert (record.probeIP, record.srcIP, record.dstIP) == (expected, "10.0.0.8", "10.0.0.9")


def test_transit_through_a_device_without_address() -> None:
    flows = (Flow(0, Direction.TRANSIT, ip(8), ip(9), 10, 1),)
    bare = Window("p", START, START + 1, 0, (), (DeviceLedger("br0", b"", Ledger()),), flows)
    assert aggregate(bare).records[0].probeIP == "0.0.0.0"


def test_ledgers_are_in_the_order_of_the_devices_names() -> None:
    devices = tuple(DeviceLedger(name, b"", Ledger()) for name in ("eth1", "br0", "eth0"))
    stored = aggregate(Window("p", START, START + 1, 0, (), devices, ()))
    assert [ledger.device for ledger in stored.ledgers] == ["br0", "eth0", "eth1"]


def test_the_texts_of_so_many_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_TEXTS", 3)
    texts = module._Texts()
    for number in (1, 2, 3, 4, 1):
        assert texts[ip(number)] == f"10.0.0.{number}"
        assert len(texts) <= 3


def test_flows_of_the_same_addresses_are_summed() -> None:
    flows = (
        Flow(0, Direction.OUT, ip(1), ip(2), 2**60, 3),
        Flow(0, Direction.LOCAL, ip(1), ip(2), 1, 1),
        Flow(0, Direction.IN, ip(1), ip(2), 5, 1),
    )
    stored = aggregate(window(0, flows))
    assert [(r.probeIP, r.size, r.packets) for r in stored.records] == [
        ("10.0.0.1", 2**60 + 1, 4),
        ("10.0.0.2", 5, 1),
    ]
    assert set(aggregate(window(0, flows[::-1])).records) == set(stored.records)


def test_ipv6_in_its_short_form() -> None:
    flow = Flow(0, Direction.OUT, bytes(15) + b"\x01", bytes.fromhex("20010db8" + "0" * 24), 1, 1)
    (record,) = aggregate(window(0, (flow,))).records
    assert (record.srcIP, record.dstIP) == ("::1", "2001:db8::")


def test_ledger_has_the_length_of_the_window() -> None:
    (ledger,) = aggregate(window(7, tags=(("env", "prod"),))).ledgers
    assert (ledger.device, ledger.number, ledger.duration) == ("eth0", 7, 30_000)
    assert ledger.ledger.counted == Tally(1, 100)
