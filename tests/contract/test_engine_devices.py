"""Every live engine on the devices hosts have: tun, tagged, jumbo, offloading, down and up again.

Each test in a network namespace of its own, so that what passes is what the test sent, and
what the device's own counters say.
"""

import fcntl
import gc
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.namespaces import device_named, enter, ip, pair, wait
from wakizashi.model import Tally
from wakizashi.probe.addresses import MAX_ADDRESSES
from wakizashi.probe.capture import (
    OTHER,
    CaptureError,
    Counts,
    Engine,
    Limits,
    Tap,
    engine_names,
    load_engine,
)
from wakizashi.probe.devices import ETHERNET_HEADER_BYTES
from wakizashi.probe.packet_socket import ETH_P_ALL

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

pytestmark = [pytest.mark.usefixtures("namespace"), pytest.mark.parametrize("name", engine_names())]


class Watch:
    """An engine and its taps, read until a number of packets is there."""

    def __init__(self, name: str, *devices: str, limits: Limits | None = None) -> None:
        self.engine: Engine = load_engine(name)
        assert self.engine.obstacle() is None
        self.before = {device: device_named(device) for device in devices}
        self.taps: dict[str, Tap] = {
            device: self.engine.open(self.before[device], limits or Limits(1_000), [])
            for device in devices
        }

    def take(self, device: str) -> Counts:
        tap = self.taps[device]
        while tap.pump(1_000):
            pass
        self.engine.cut()
        return tap.take()

    def until(self, device: str, packets: int) -> Counts:
        """All that was counted, once it is so many packets."""
        counts = Counts()

        def enough() -> bool:
            counts.merge(self.take(device), 1_000_000)
            return (counts.counted + counts.own + counts.non_ip).packets >= packets

        wait(enough, f"{packets} packets on {device}")
        return counts

    def passed(self, device: str) -> Tally:
        """By the device's own counters, since the start."""
        return device_named(device).passed - self.before[device].passed

    def close(self) -> None:
        for tap in self.taps.values():
            tap.close()
        self.engine.close()


@pytest.fixture
def watched() -> Iterator[list[Watch]]:
    """Watches to be closed at the end."""
    watches: list[Watch] = []
    yield watches
    for watch in watches:
        watch.close()


def key(source: str, destination: str) -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    return socket.inet_pton(family, source) + socket.inet_pton(family, destination)


def udp(source: str, destination: str, payload: int, count: int) -> None:
    """Datagrams by the kernel's own stack."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        for _ in range(count):
            sender.sendto(bytes(payload), (destination, 9))


def frame(number: int, payload: int = 50, protocol: int = 17) -> bytes:
    """A whole Ethernet frame from the ``number``-th source."""
    header = struct.pack(
        "!BBHHHBBHII", 0x45, 0, 28 + payload, 0, 0, 64, protocol, 0, 0x0A010000 + number, 0x0A020001
    )
    return (
        b"\x02" * 12
        + b"\x08\x00"
        + header
        + struct.pack("!HHHH", 5, 9, 8 + payload, 0)
        + bytes(payload)
    )


def send(device: str, frames: list[bytes]) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((device, 0))
        for one in frames:
            sender.send(one)


def test_device_without_link_header(name: str, watched: list[Watch]) -> None:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"tun7", IFF_TUN | IFF_NO_PI))
        Path("/proc/sys/net/ipv6/conf/tun7/disable_ipv6").write_text("1")
        ip("address", "add", "10.9.0.1/24", "dev", "tun7")
        ip("link", "set", "tun7", "up")
        watched.append(watch := Watch(name, "tun7"))
        udp("10.9.0.1", "10.9.0.2", 100, 3)
        into = frame(1)[ETHERNET_HEADER_BYTES:]
        into6 = b"\x60\0\0\0\0\x08\x3b\x40" + bytes(15) + b"\x01" + bytes(15) + b"\x02" + bytes(8)
        for packet in (into, into6, into):
            os.write(tun, packet)
        counts = watch.until("tun7", 6)
        assert counts.flows == {
            key("10.9.0.1", "10.9.0.2"): Tally(3, 3 * (20 + 8 + 100)),
            key("10.1.0.1", "10.2.0.1"): Tally(2, 2 * len(into)),
            key("::1", "::2"): Tally(1, len(into6)),
        }
        for _ in range(3):  # it counts as sent what is read here
            os.read(tun, 2_000)
        assert watch.passed("tun7") == counts.counted
    finally:
        os.close(tun)


def test_tags_that_the_kernel_took_off_count(name: str, watched: list[Watch]) -> None:
    pair()
    watched.append(watch := Watch(name, "eth0", "veth01"))
    plain = frame(1)
    tagged = plain[:12] + b"\x81\x00\x20\x07" + plain[12:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as listener:
        listener.bind(("eth0", ETH_P_ALL))
        listener.settimeout(10)
        send("veth01", [tagged])
        assert listener.recv(2_000) == plain, "the kernel takes the tag off what comes in"
    for device in ("eth0", "veth01"):
        flows = watch.until(device, 1).flows
        assert flows == {key("10.1.0.1", "10.2.0.1"): Tally(1, len(tagged))}, device


def test_jumbo_frames(name: str, watched: list[Watch]) -> None:
    pair()
    for end in ("eth0", "veth01"):
        ip("link", "set", end, "mtu", "9000")
    watched.append(watch := Watch(name, "eth0"))
    frames = [frame(1, payload=9_000 - 28), frame(2, payload=0)]
    send("veth01", frames)
    counts = watch.until("eth0", 2)
    assert sorted(t.bytes for t in counts.flows.values()) == [42, 9_014]
    assert watch.passed("eth0") == counts.counted


def test_super_packets_have_the_size_that_the_device_counts(
    name: str, watched: list[Watch]
) -> None:
    pair()
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = f"wakizashi-far-{os.getpid()}-{time.monotonic_ns()}"
    ip("netns", "add", other)
    try:
        ip("link", "set", "veth01", "netns", other)
        ip("address", "add", "10.3.0.1/24", "dev", "eth0")
        there = os.open(f"/run/netns/{other}", os.O_RDONLY)
        enter(there)
        # The move set it back; its reports would pass between counters and tap.
        Path("/proc/sys/net/ipv6/conf/veth01/disable_ipv6").write_text("1")
        ip("address", "add", "10.3.0.2/24", "dev", "veth01")
        ip("link", "set", "veth01", "up")
        server = socket.create_server(("10.3.0.2", 0))
        enter(here)
        os.close(there)
        watched.append(watch := Watch(name, "eth0"))
        with server, socket.create_connection(server.getsockname(), timeout=10) as client:
            accepted, _ = server.accept()
            with accepted:
                total = 4_000_000
                accepted.settimeout(10)
                client.setblocking(False)
                sent = got = 0
                while got < total:
                    if sent < total:
                        with suppress(BlockingIOError):
                            sent += client.send(bytes(min(1 << 20, total - sent)))
                    got += len(accepted.recv(1 << 20))
        counts = watch.take("eth0")

        def same() -> bool:
            counts.merge(watch.take("eth0"), 1_000)
            return counts.counted + counts.non_ip == watch.passed("eth0")

        wait(same, "bytes and packets to be those of the device")
        out = counts.flows[key("10.3.0.1", "10.3.0.2")]
        assert out.bytes > total
        assert out.bytes / out.packets > 3_000, "nothing was offloaded, so nothing was shown"
    finally:
        os.close(here)
        ip("netns", "del", other)


def test_device_that_is_down_for_a_while(name: str, watched: list[Watch]) -> None:
    pair()
    watched.append(watch := Watch(name, "eth0"))
    send("veth01", [frame(1)] * 4)
    before = watch.until("eth0", 4)
    ip("link", "set", "eth0", "down")
    assert watch.take("eth0").counted == Tally()
    ip("link", "set", "eth0", "up")
    wait(lambda: "state UP" in ip("-o", "link", "show", "eth0"), "the carrier")
    wait(lambda: "noqueue" in ip("-o", "link", "show", "veth01"), "the queue")
    send("veth01", [frame(2)] * 3)
    after = watch.until("eth0", 3)
    assert before.counted + after.counted == watch.passed("eth0")
    assert list(after.flows) == [key("10.1.0.2", "10.2.0.1")]


def test_a_device_that_went_before_it_was_opened_is_refused(name: str) -> None:
    """It was there when the kernel was asked for devices; the probe goes on without it."""
    gone = replace(device_named("lo"), index=9_999, name="gone")
    engine = load_engine(name)
    try:
        descriptors = []
        for _ in range(3):
            with pytest.raises(CaptureError, match="gone: can't capture it: No such device"):
                engine.open(gone, Limits(1_000), [])
            gc.collect()
            descriptors.append(len(os.listdir("/proc/self/fd")))
        assert len(set(descriptors)) == 1
    finally:
        engine.close()


def test_two_devices_are_kept_apart(name: str, watched: list[Watch]) -> None:
    pair()
    ip("link", "set", "lo", "up")
    watched.append(watch := Watch(name, "eth0", "lo"))
    send("veth01", [frame(1)] * 4)
    udp("127.0.0.1", "127.0.0.1", 100, 2)
    on_loopback = watch.until("lo", 2)
    assert watch.until("eth0", 4).flows == {
        key("10.1.0.1", "10.2.0.1"): Tally(4, 4 * len(frame(1)))
    }
    assert on_loopback.flows[key("127.0.0.1", "127.0.0.1")].packets >= 2
    assert len(on_loopback.flows) == 1


def test_flows_beyond_the_limit_are_folded_with_their_totals(
    name: str, watched: list[Watch]
) -> None:
    pair()
    watched.append(watch := Watch(name, "eth0", limits=Limits(10)))
    center = socket.inet_aton("10.1.0.40"), 5  # the source port of every frame
    watch.taps["eth0"].set_endpoints([center])
    frames = [frame(number, protocol=6 if number == 40 else 17) for number in range(50)]
    send("veth01", frames * 2)
    counts = watch.until("eth0", 100)
    assert counts.own == Tally(2, 2 * len(frames[0])), "own traffic is told apart even there"
    assert counts.counted == Tally(98, 98 * len(frames[0]))
    assert len(counts.flows) == 11
    assert counts.flows[OTHER].packets == 98 - 2 * 10


def test_the_limit_of_flows_changes_while_it_runs(name: str, watched: list[Watch]) -> None:
    pair()
    watched.append(watch := Watch(name, "eth0", limits=Limits(10)))
    frames = [frame(number) for number in range(20)]
    seen = []
    for limit in (10, 3, 1_000, 10):
        watch.taps["eth0"].set_max_flows(limit)
        watch.take("eth0")  # with the next window at the latest
        send("veth01", frames)
        counts = watch.until("eth0", 20)
        assert counts.counted.packets == 20
        seen.append((len(counts.flows), counts.flows.get(OTHER, Tally()).packets))
    assert seen == [(11, 10), (4, 17), (20, 0), (11, 10)]


def test_a_device_that_is_opened_again_begins_with_nothing(name: str, watched: list[Watch]) -> None:
    """Though the window goes on in which it was let go of, with packets after its last cut."""
    pair()
    watched.append(watch := Watch(name, "eth0"))
    watch.take("eth0")
    send("veth01", [frame(1)] * 5)
    watch.taps["eth0"].close()
    watch.taps["eth0"] = watch.engine.open(device_named("eth0"), Limits(1_000), [])
    send("veth01", [frame(2)] * 2)
    counts = watch.until("eth0", 2)
    assert counts.counted.packets == 2 and len(counts.flows) == 1


def test_endpoints_change_while_it_runs(name: str, watched: list[Watch]) -> None:
    pair()
    watched.append(watch := Watch(name, "eth0"))
    tap = watch.taps["eth0"]
    frames = [frame(number, protocol=6) for number in (1, 2)]
    centers = [(socket.inet_aton(f"10.1.0.{number}"), 5) for number in (1, 2)]
    seen = []
    for endpoints in ([], centers[:1], centers, centers[1:], []):
        tap.set_endpoints(endpoints)
        send("veth01", frames)
        counts = watch.until("eth0", 2)
        seen.append((counts.own.packets, sorted(k[3] for k in counts.flows)))
    assert seen == [(0, [1, 2]), (1, [2]), (2, []), (1, [1]), (0, [1, 2])]


def test_what_finds_no_room_is_counted(name: str, watched: list[Watch]) -> None:
    pair()
    watched.append(watch := Watch(name, "eth0", limits=Limits(1_000, ring_bytes=1 << 16)))
    for _ in range(10):
        send("veth01", [frame(1, payload=1_000)] * 500)
    counts = watch.take("eth0")
    passed = watch.passed("eth0")
    assert passed.packets == 5_000
    assert counts.counted.packets + counts.dropped_packets == passed.packets
    assert (counts.dropped_packets == 0) == (name == "ebpf")


def test_addresses_of_the_center_for_which_the_kernel_has_no_room(
    name: str, watched: list[Watch]
) -> None:
    """Only the classic filter is charged to the socket's option memory."""
    pair()
    watched.append(watch := Watch(name, "eth0"))
    tap = watch.taps["eth0"]
    center = (socket.inet_aton("10.1.0.1"), 5)
    tap.set_endpoints([center])
    many = [(b"\xfd" + bytes(14) + bytes([number]), 5) for number in range(MAX_ADDRESSES)]
    limit = Path("/proc/sys/net/core/optmem_max")
    before = limit.read_text()
    limit.write_text("2048")
    try:
        if name == "ring":
            with pytest.raises(CaptureError, match=r"centerAddr: .*raise net\.core\.optmem_max"):
                tap.set_endpoints(many)
        else:
            tap.set_endpoints([center, *many[1:]])
    finally:
        limit.write_text(before)
    send("veth01", [frame(1, protocol=6)])
    assert watch.until("eth0", 1).own.packets == 1, "the addresses from before still hold"
