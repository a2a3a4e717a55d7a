"""Counting in the process: folding conserves totals, and what is the probe's own."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakizashi.errors import ConfigError
from wakizashi.model import Tally
from wakizashi.probe.capture import OTHER, Counts, FlowCounter, choose
from wakizashi.probe.packet import NOT_IP, raw_ip

CENTER, HOST, PEER = bytes([10, 0, 0, 9]), bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
CENTER6, HOST6 = bytes(15) + b"\x09", bytes(15) + b"\x01"
PORT = 10080
TCP, UDP = 6, 17


def ip(
    source: bytes, destination: bytes, sport: int = 4000, dport: int = 80, protocol: int = TCP
) -> bytes:
    """The first bytes of an IP packet, up to its ports."""
    ports = sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
    if len(source) == 4:
        return b"\x45" + bytes(8) + bytes([protocol]) + bytes(2) + source + destination + ports
    return b"\x60" + bytes(5) + bytes([protocol, 64]) + source + destination + ports


def feed(counter: FlowCounter, data: bytes, size: int = 100) -> None:
    counter.add(data, len(data), raw_ip(data, len(data)), size)


def address(number: int) -> bytes:
    return bytes([172, 16]) + number.to_bytes(2, "big")


def test_flows_by_source_and_destination_with_take_starting_afresh() -> None:
    counter = FlowCounter(10, [])
    feed(counter, ip(HOST, PEER), 100)
    feed(counter, ip(HOST, PEER, protocol=UDP), 50)
    feed(counter, ip(PEER, HOST), 7)
    feed(counter, ip(HOST6, CENTER6), 9)
    counter.add(b"arp", 3, NOT_IP, 60)
    counts = counter.take()
    assert counts == Counts(
        flows={
            HOST + PEER: Tally(2, 150),
            PEER + HOST: Tally(1, 7),
            HOST6 + CENTER6: Tally(1, 9),
        },
        non_ip=Tally(1, 60),
    )
    assert counts.counted == Tally(4, 166)
    assert counter.take() == Counts()
    feed(counter, ip(HOST, PEER), 1)
    assert counter.take().flows == {HOST + PEER: Tally(1, 1)}
    assert counts.counted == Tally(4, 166)


@pytest.mark.parametrize(("center", "host"), [(CENTER, HOST), (CENTER6, HOST6)])
def test_own_traffic_is_tcp_from_or_to_the_endpoint(center: bytes, host: bytes) -> None:
    counter = FlowCounter(10, [(center, PORT)])
    feed(counter, ip(host, center, 4000, PORT), 100)
    feed(counter, ip(center, host, PORT, 4000), 200)
    counts = counter.take()
    assert counts.own == Tally(2, 300)
    assert counts.flows == {}


@pytest.mark.parametrize(
    "data",
    [
        ip(HOST, CENTER, 4000, 22),
        ip(HOST, CENTER, PORT, 22),  # the port is that of the other side
        ip(CENTER, HOST, 22, PORT),
        ip(HOST, CENTER, 4000, PORT, protocol=UDP),
        ip(HOST, PEER, 4000, PORT),
        ip(PEER, HOST, PORT, 4000),
        ip(HOST, CENTER, 4000, PORT)[:22],  # ports cut off
    ],
    ids=["port", "side out", "side in", "udp", "other host", "from other host", "cut"],
)
def test_other_traffic_of_the_same_hosts_counts(data: bytes) -> None:
    counter = FlowCounter(10, [(CENTER, PORT)])
    feed(counter, ip(HOST, CENTER, 4000, PORT), 1)
    feed(counter, data, 100)
    counts = counter.take()
    assert counts.counted == Tally(1, 100)
    assert counts.own == Tally(1, 1)


def test_endpoints_change_while_counting() -> None:
    counter = FlowCounter(10, [])
    packet, answer = ip(HOST, CENTER, 4000, PORT), ip(CENTER, HOST, PORT, 4000)
    feed(counter, packet, 1)
    feed(counter, answer, 1)
    counter.set_endpoints([(CENTER, PORT)])
    feed(counter, packet, 10)
    feed(counter, answer, 10)
    counter.set_endpoints([(PEER, PORT)])
    feed(counter, packet, 100)
    feed(counter, ip(HOST, PEER, 4000, PORT), 1000)
    counter.set_endpoints([])
    feed(counter, ip(HOST, PEER, 4000, PORT), 10_000)
    counts = counter.take()
    assert counts.flows == {
        HOST + CENTER: Tally(2, 101),
        CENTER + HOST: Tally(1, 1),
        HOST + PEER: Tally(1, 10_000),
    }
    assert counts.own == Tally(3, 1020)


def test_endpoints_stay_over_take() -> None:
    counter = FlowCounter(10, [(CENTER, PORT)])
    counter.take()
    feed(counter, ip(HOST, CENTER, 4000, PORT), 5)
    assert counter.take().own == Tally(1, 5)


def test_beyond_max_flows_the_rest_goes_to_other() -> None:
    counter = FlowCounter(3, [])
    for number in range(10):
        feed(counter, ip(HOST, address(number)), number + 1)
    feed(counter, ip(HOST, address(0)), 1000)  # a known flow goes on
    counts = counter.take()
    assert counts.flows == {
        HOST + address(0): Tally(2, 1001),
        HOST + address(1): Tally(1, 2),
        HOST + address(2): Tally(1, 3),
        OTHER: Tally(7, 49),
    }


def test_flows_of_the_center_fold_as_well_and_own_stays_own() -> None:
    counter = FlowCounter(2, [(CENTER, PORT)])
    for number in range(10):
        feed(counter, ip(address(number), CENTER, 4000, 443), 1)
        feed(counter, ip(address(number), CENTER, 4000, PORT), 100)
    counts = counter.take()
    assert len(counts.flows) == 3
    assert counts.counted == Tally(10, 10)
    assert counts.own == Tally(10, 1000)


def test_own_stays_own_when_the_endpoint_comes_after_the_folding() -> None:
    counter = FlowCounter(1, [])
    feed(counter, ip(HOST, PEER), 1)
    feed(counter, ip(HOST, address(1)), 1)
    counter.set_endpoints([(CENTER, PORT)])
    feed(counter, ip(HOST, CENTER, 4000, PORT), 100)
    assert counter.take().own == Tally(1, 100)


def test_merge_folds_and_adds() -> None:
    counts = Counts(flows={b"a" * 8: Tally(1, 1)}, own=Tally(1, 2), dropped_packets=1)
    counts.merge(
        Counts(
            flows={b"b" * 8: Tally(1, 10), b"a" * 8: Tally(2, 5), b"c" * 8: Tally(1, 20)},
            own=Tally(1, 1),
            non_ip=Tally(3, 3),
            dropped_packets=4,
        ),
        max_flows=2,
    )
    assert counts == Counts(
        flows={b"a" * 8: Tally(3, 6), b"b" * 8: Tally(1, 10), OTHER: Tally(1, 20)},
        own=Tally(2, 3),
        non_ip=Tally(3, 3),
        dropped_packets=5,
    )


tallies = st.builds(Tally, st.integers(0, 1000), st.integers(0, 100_000))
keys = st.one_of(
    st.integers(0, 20).map(lambda n: HOST + address(n)),
    st.integers(0, 5).map(lambda n: HOST6 + bytes(15) + bytes([n])),
    st.just(OTHER),
)
many_counts = st.builds(
    Counts, st.dictionaries(keys, tallies), tallies, tallies, st.integers(0, 100)
)


@given(st.lists(many_counts), st.integers(1, 10))
def test_merge_conserves(parts: list[Counts], max_flows: int) -> None:
    total = Counts()
    for part in parts:
        total.merge(part, max_flows)
    assert total.counted == sum((part.counted for part in parts), Tally())
    assert total.own == sum((part.own for part in parts), Tally())
    assert total.non_ip == sum((part.non_ip for part in parts), Tally())
    assert total.dropped_packets == sum(part.dropped_packets for part in parts)
    assert len(total.flows) <= max_flows + 1


@dataclass(frozen=True)
class Sent:
    """A packet of the property below."""

    data: bytes
    size: int
    own: bool
    is_ip: bool


hosts = st.one_of(st.sampled_from([CENTER, HOST, PEER]), st.integers(0, 8).map(address))
ports = st.sampled_from([PORT, 22, 4000])


@st.composite
def packets(draw: st.DrawFn) -> Sent:
    """Any packet among few hosts and ports, so that flows meet again; some are not IP."""
    size = draw(st.integers(1, 65_535))
    if draw(st.integers(0, 9)) == 0:
        return Sent(draw(st.binary(max_size=19)), size, False, False)
    source, destination = draw(hosts), draw(hosts)
    sport, dport = draw(ports), draw(ports)
    protocol = draw(st.sampled_from([TCP, UDP]))
    own = protocol == TCP and (
        (source, sport) == (CENTER, PORT) or (destination, dport) == (CENTER, PORT)
    )
    return Sent(ip(source, destination, sport, dport, protocol), size, own, True)


@given(st.lists(st.one_of(packets(), st.just(None)), max_size=60), st.integers(1, 6))
def test_conservation(steps: list[Sent | None], max_flows: int) -> None:
    """The sum of what was added = counted + own + non-IP, over any takes and any folding."""
    counter = FlowCounter(max_flows, [(CENTER, PORT)])
    taken = []
    for step in steps:
        if step is None:
            taken.append(counter.take())
        else:
            feed(counter, step.data, step.size)
    taken.append(counter.take())
    sent = [step for step in steps if step is not None]
    own = sum((Tally(1, step.size) for step in sent if step.own), Tally())
    non_ip = sum((Tally(1, step.size) for step in sent if not step.is_ip), Tally())
    everything = sum((Tally(1, step.size) for step in sent), Tally())
    total = sum((part.counted + part.own + part.non_ip for part in taken), Tally())
    assert total == everything
    assert sum((part.own for part in taken), Tally()) == own
    assert sum((part.non_ip for part in taken), Tally()) == non_ip
    for part in taken:
        assert len(part.flows) <= max_flows + 1
        assert all(tally.packets for tally in part.flows.values())


def test_no_such_engine_names_the_known() -> None:
    with pytest.raises(ConfigError, match="capture: 'pcap' is no engine; use auto, .*scapy"):
        choose("pcap")
