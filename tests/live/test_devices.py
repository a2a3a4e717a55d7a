"""Devices, their counters and news of them, from the real kernel, each test in its own namespace."""

import os
import re
import select as poll
import socket
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.namespaces import DEADLINE_SECONDS, ip, pair, wait
from wakizashi.model import Tally
from wakizashi.pattern import Pattern
from wakizashi.probe.devices import (
    ARPHRD_ETHER,
    ARPHRD_LOOPBACK,
    Device,
    Netlink,
    is_local,
    select,
)

ETH_P_ALL = 3

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("CI"), reason="network namespaces need root"
)


def sysfs(name: str) -> tuple[Tally, Tally]:
    """Received and sent by /proc/net/dev, which is that of this thread's namespace (/sys is not)."""
    for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
        device, _, numbers = line.partition(":")
        if device.strip() == name:
            columns = [int(number) for number in numbers.split()]
            return Tally(columns[1], columns[0]), Tally(columns[9], columns[8])
    raise AssertionError(f"no device {name}")


def named(netlink: Netlink) -> dict[str, Device]:
    return {device.name: device for device in netlink.snapshot().devices.values()}


def send(name: str, count: int, size: int) -> None:
    """Frames of an EtherType for experiments out of a device."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((name, 0))
        for _ in range(count):
            out.send(b"\xff" * 6 + b"\x02" + bytes(5) + b"\x88\xb5" + bytes(size - 14))


@needs_root
def test_snapshot_has_names_types_and_state(namespace: None) -> None:
    ip("link", "add", "bridge0", "type", "bridge")
    pair()
    with Netlink() as netlink:
        snapshot = netlink.snapshot()
    found = {device.name: device for device in snapshot.devices.values()}
    assert set(found) >= {"lo", "bridge0", "eth0", "veth01"}
    assert set(snapshot.devices) == {device.index for device in snapshot.devices.values()}
    assert {name: device.index for name, device in found.items()} == {
        name: index for index, name in socket.if_nameindex()
    }
    assert found["lo"].link_type == ARPHRD_LOOPBACK
    assert found["eth0"].link_type == ARPHRD_ETHER
    assert found["lo"].has_ethernet_header and found["eth0"].has_ethernet_header
    assert [found[name].up for name in ("lo", "bridge0", "eth0")] == [False, False, True]


@needs_root
def test_addresses_and_the_primary_one(namespace: None) -> None:
    for name, addresses in {
        "v4": ["fd00::1/64", "192.0.2.1/24", "192.0.2.2/24", "198.51.100.1/24"],
        "v6": ["fd00::2/64"],
        "none": [],
    }.items():
        ip("link", "add", name, "type", "bridge")
        Path(f"/proc/sys/net/ipv6/conf/{name}/addr_gen_mode").write_text("1")
        for address in addresses:
            ip("address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
    ip("address", "add", "fe80::2/64", "dev", "v6", "nodad")
    # Of a point-to-point address IFA_ADDRESS is the peer's; ours is IFA_LOCAL.
    ip("link", "add", "ptp", "type", "bridge")
    Path("/proc/sys/net/ipv6/conf/ptp/addr_gen_mode").write_text("1")
    ip("address", "add", "203.0.113.1", "peer", "203.0.113.2", "dev", "ptp")
    ip("link", "set", "lo", "up")
    with Netlink() as netlink:
        snapshot = netlink.snapshot()
    primary = {device.name: device.primary_address for device in snapshot.devices.values()}
    assert primary["v4"] == ip_address("192.0.2.1").packed
    assert primary["v6"] == ip_address("fd00::2").packed
    assert primary["none"] == b""
    assert primary["ptp"] == ip_address("203.0.113.1").packed
    assert primary["lo"] == ip_address("127.0.0.1").packed
    texts = ["192.0.2.1", "192.0.2.2", "198.51.100.1", "fd00::1", "fd00::2", "fe80::2"]
    texts += ["203.0.113.1", "127.0.0.1", "::1"]
    assert snapshot.addresses == {ip_address(text).packed for text in texts}


@needs_root
def test_counters_are_those_of_the_kernel(namespace: None) -> None:
    pair()
    with Netlink() as netlink:
        before = named(netlink)
        send("eth0", 7, 100)
        send("veth01", 3, 1000)
        after = named(netlink)
        assert after["eth0"].sent - before["eth0"].sent == Tally(7, 700)
        wait(
            lambda: named(netlink)["eth0"].received - before["eth0"].received == Tally(3, 3000),
            "what the peer sent is received",
        )
        now = named(netlink)
        assert now["eth0"].passed - before["eth0"].passed == Tally(10, 3700)
        for name in ("eth0", "veth01"):
            assert (now[name].received, now[name].sent) == sysfs(name)


@needs_root
def test_many_devices_come_in_several_messages(namespace: None) -> None:
    for number in range(150):
        ip("link", "add", f"many{number}", "type", "bridge")
    with Netlink() as netlink:
        assert {f"many{number}" for number in range(150)} <= set(named(netlink))


@needs_root
def test_news_of_a_removal_carries_the_last_counters(namespace: None) -> None:
    pair()
    with Netlink() as netlink:
        index = named(netlink)["eth0"].index
        netlink.news()
        assert netlink.news() == (False, [])
        send("eth0", 5, 200)
        ip("link", "delete", "eth0")
        removed: dict[str, Device] = {}

        def both() -> bool:
            removed.update({device.name: device for device in netlink.news()[1]})
            return {"eth0", "veth01"} <= set(removed)

        assert poll.select([netlink], [], [], DEADLINE_SECONDS)[0]
        wait(both, "news of the removal")
        assert removed["eth0"].index == index
        assert removed["eth0"].sent == Tally(5, 1000)
        # Of a veth that a test did not ask for since, the kernel need not know any more.
        assert removed["veth01"].received in (Tally(), Tally(5, 1000))
        assert "eth0" not in named(netlink)


@needs_root
def test_the_counters_of_a_removed_veth_never_go_back(namespace: None) -> None:
    pair()
    with Netlink() as netlink:
        send("eth0", 5, 200)
        wait(lambda: named(netlink)["veth01"].received == Tally(5, 1000), "it is received")
        send("veth01", 2, 100)
        ip("link", "delete", "eth0")
        removed: dict[str, Device] = {}

        def gone() -> bool:
            removed.update({device.name: device for device in netlink.news()[1]})
            return "veth01" in removed

        wait(gone, "news of the removal")
        assert removed["veth01"].passed == Tally(7, 1200)


@needs_root
def test_news_of_arrivals_addresses_and_state(namespace: None) -> None:
    with Netlink() as netlink:
        for words in (
            ("link", "add", "bridge0", "type", "bridge"),
            ("address", "add", "192.0.2.1/24", "dev", "bridge0"),
            ("address", "add", "fd00::1/64", "dev", "bridge0"),
            ("link", "set", "bridge0", "up"),
            ("address", "delete", "192.0.2.1/24", "dev", "bridge0"),
        ):
            netlink.news()
            ip(*words)
            assert poll.select([netlink], [], [], DEADLINE_SECONDS)[0], words
            assert netlink.news() == (True, []), words


@needs_root
def test_leaving_a_bridge_is_no_removal(namespace: None) -> None:
    pair()
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", "eth0", "master", "br0")
    with Netlink() as netlink:
        netlink.news()
        ip("link", "set", "eth0", "nomaster")
        changed, removed = netlink.news()
        assert changed and removed == []
        ip("link", "delete", "br0")
        wait(lambda: "br0" in [device.name for device in netlink.news()[1]], "the bridge is gone")


@needs_root
def test_more_news_than_room_is_a_change(namespace: None) -> None:
    with Netlink() as netlink:
        # Root of a user namespace may not force a size, but may always shrink it.
        listening: socket.socket = netlink._news
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for number in range(20):
            ip("link", "add", f"bridge{number}", "type", "bridge")
        assert netlink.news()[0]
        assert netlink.news() == (False, [])


@needs_root
def test_news_of_a_closed_socket_does_not_spin(namespace: None) -> None:
    netlink = Netlink()
    netlink.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        netlink.news()


@needs_root
@pytest.mark.parametrize(("count", "payload"), [(1, 0), (25, 100), (3, 1400)])
def test_loopback_passed_is_what_a_tap_sees(namespace: None, count: int, payload: int) -> None:
    ip("link", "set", "lo", "up")
    with Netlink() as netlink, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as tap:
        tap.bind(("lo", ETH_P_ALL))
        tap.setblocking(False)
        before = named(netlink)["lo"].passed
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            receiver.bind(("127.0.0.1", 0))
            for _ in range(count):
                sender.sendto(bytes(payload), receiver.getsockname())
        seen: list[int] = []

        def all_seen() -> bool:
            with suppress(BlockingIOError):
                while True:
                    data, address = tap.recvfrom(65_536)
                    if address[2] == socket.PACKET_OUTGOING:  # each packet is tapped twice
                        seen.append(len(data))
            return len(seen) >= count

        wait(all_seen, "the tap sees what was sent")
        passed = named(netlink)["lo"].passed - before
    assert passed == Tally(len(seen), sum(seen)) == Tally(count, count * (14 + 20 + 8 + payload))


def device(index: int, name: str, up: bool = True) -> Device:
    return Device(index, name, ARPHRD_ETHER, up, Tally(1, 2), Tally(3, 4))


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("eth0", ["eth0"], ["veth01", "eth01", "veth0", "eth"]),
        ("eth.*", ["eth", "eth0", "eth0.7"], ["veth01"]),
        ("eth0|tunl0", ["eth0", "tunl0"], ["eth01", "xtunl0"]),
        ("eth0.7", ["eth0.7"], ["eth0.70"]),
        ("a+b", ["a+b", "aab"], ["a+bb"]),  # the name itself, even where it reads otherwise
    ],
)
def test_a_pattern_means_the_whole_name(
    pattern: str, matching: list[str], other: list[str]
) -> None:
    assert [name for name in matching + other if Pattern(pattern).matches(name)] == matching


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(re.error):
        Pattern("eth(")


def test_select() -> None:
    devices = {
        number: device(number, name, up)
        for number, (name, up) in enumerate([("lo", True), ("eth0", False), ("veth01", True)], 1)
    }
    assert set(select(devices, [])) == {1, 3}
    assert set(select(devices, [Pattern("eth0")])) == {2}  # named, so also where it is down
    assert set(select(devices, [Pattern("eth0"), Pattern("nosuch"), Pattern("v.*")])) == {2, 3}
    assert select(devices, [Pattern("nosuch")]) == {}


def test_passed_counts_both_ways() -> None:
    assert device(1, "eth0").passed == Tally(4, 6)
    loopback = Device(1, "lo", ARPHRD_LOOPBACK, True, Tally(2, 100), Tally(2, 100))
    assert loopback.passed == Tally(2, 128)


def test_what_is_local() -> None:
    addresses = frozenset({bytes([192, 0, 2, 1])})
    assert is_local(bytes([192, 0, 2, 1]), addresses)
    assert is_local(bytes([127, 200, 3, 4]), addresses)
    assert not is_local(bytes([192, 0, 2, 2]), addresses)
    assert not is_local(b"\x7f" + bytes(15), addresses)
