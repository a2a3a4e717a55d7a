"""What the simulated probes send: real windows, made almost for nothing.

A window's records are serialized once. Protobuf messages that stand one behind
another are one message, so a window is a small head of its own (name, times,
number) in front of records that it shares with others. In these the probe's own
addresses are marks of the same length, replaced on the way out.

Half of a window's records go out, half come in, each with a peer of a pool of
4,096 addresses, four fifths of them IPv4, the rest IPv6. A probe keeps its peers
from window to window; sizes change, or databases would store a constant.
"""

import random

from wakizashi import wire
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Tally, Window
from wakizashi.v1 import traffic_pb2 as pb

INTERVAL_MS = 30_000
POOL = 4_096
PEER_SETS, VARIANTS = 8, 8
"""Templates for each window size: whom a probe talks to, and how much."""
IPV6_EVERY = 5
_MARK4, _MARK6 = b"\xfe\xfd\xfc\xfb", b"\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7" * 2
_SEED = 1


def pool() -> list[bytes]:
    """The peers' addresses, packed; every fifth is IPv6."""
    return [
        b"\x20\x01\x0d\xb8" + bytes(8) + number.to_bytes(4, "big")
        if number % IPV6_EVERY == 0
        else bytes((10, 128)) + number.to_bytes(2, "big")
        for number in range(POOL)
    ]


def own_addresses(probe: int) -> tuple[bytes, bytes]:
    """The IPv4 and the IPv6 address of a probe."""
    return bytes((10,)) + probe.to_bytes(3, "big"), b"\xfd\x00" + bytes(10) + probe.to_bytes(
        4, "big"
    )


def probe_name(probe: int) -> str:
    """The name of a probe."""
    return f"vm-{probe:05d}"


class Windows:
    """Windows of ``records`` records each, for any probe and number."""

    def __init__(self, records: int, first_start_ms: int) -> None:
        if not 2 <= records <= wire.MAX_CHUNK_RECORDS or records % 2:
            raise ValueError(f"{records} records: an even number up to {wire.MAX_CHUNK_RECORDS}")
        self.records, self._first = records, first_start_ms
        self._templates: dict[tuple[int, int], bytes] = {}

    def prepare(self, probes: range) -> None:
        """Make now what windows of these probes are made of."""
        for peer_set in {probe % PEER_SETS for probe in probes}:
            for variant in range(VARIANTS):
                self._template(peer_set, variant)

    def _template(self, peer_set: int, variant: int) -> bytes:
        """All of a serialized window but its head."""
        key = (peer_set, variant)
        if key not in self._templates:
            peers = random.Random(_SEED + peer_set).sample(pool(), self.records // 2)
            self._templates[key] = _template(peers, random.Random(variant))
        return self._templates[key]

    def chunk(self, probe: int, number: int) -> bytes:
        """Window ``number`` of a probe, as it travels."""
        start = self._first + number * INTERVAL_MS
        head = pb.WindowChunk(
            probe=probe_name(probe),
            start_unix_ms=start,
            end_unix_ms=start + INTERVAL_MS,
            number=number + 1,
            chunk_index=0,
            chunk_count=1,
        ).SerializeToString()
        own4, own6 = own_addresses(probe)
        # Odd steps, so that a series' sizes do not repeat in the same order for every probe.
        variant = (number * (1 + 2 * (probe % 4)) + probe) % VARIANTS
        tail = self._template(probe % PEER_SETS, variant)
        return head + tail.replace(_MARK6, own6).replace(_MARK4, own4)

    def start_ms(self, number: int) -> int:
        """What an ack names the window by, beside the probe."""
        return self._first + number * INTERVAL_MS


def _template(peers: list[bytes], chance: random.Random) -> bytes:
    flows = []
    for peer in peers:
        own = _MARK4 if len(peer) == 4 else _MARK6
        for direction in (Direction.OUT, Direction.IN):
            packets = int(chance.lognormvariate(3.0, 1.5)) + 1
            size = packets * chance.randint(60, 1_400)
            ends = (own, peer) if direction is Direction.OUT else (peer, own)
            flows.append(Flow(0, direction, *ends, size, packets))
    counted = Tally(sum(f.packets for f in flows), sum(f.size for f in flows))
    device = DeviceLedger("eth0", _MARK4, Ledger(device=counted, counted=counted))
    (whole,) = wire.encode(Window("x", 0, 1, 0, (), (device,), tuple(flows)))
    chunk = pb.WindowChunk.FromString(whole)
    for field in ("probe", "start_unix_ms", "end_unix_ms", "number", "chunk_index", "chunk_count"):
        chunk.ClearField(field)
    text = chunk.SerializeToString()
    # The longer mark holds the shorter one: it is replaced first.
    marks = text.replace(_MARK6, b"").count(_MARK4)
    if marks != 1 + 2 * sum(len(peer) == 4 for peer in peers):
        raise AssertionError("a size or an address looks like the mark of the probe's own address")
    return text


def first_start_ms(now_ms: int, windows: int) -> int:
    """So that the last of ``windows`` windows ends about now, aligned as probes align them."""
    return (now_ms // INTERVAL_MS - windows) * INTERVAL_MS
