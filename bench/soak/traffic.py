"""``python -m bench.soak.traffic``: a steady rate of packets, some of whose addresses are always new.

Half of the packets are of the same pairs all the time, the other half of pairs
that come once and go: IPv4 and IPv6, tagged and not, and some that are no IP.
"""

import itertools
import socket
import struct
import time
from collections.abc import Iterator

from bench.capture.lab import SENDER
from bench.capture.traffic import header

PACKETS_A_SECOND = 1_600
STEADY_PAIRS = 400
_TICK_SECONDS = 0.02
_FRAME = 120
_STEADY, _PASSING = 0x0A010001, 0x0B000000  # 10.1.0.1, 11.0.0.0
_SIX_HEAD = bytes.fromhex("02000000000302000000000186dd6000000000081140") + b"\xfd" + bytes(15)
_ARP = b"\xff" * 6 + b"\x02" + bytes(5) + b"\x08\x06" + bytes(28)


def frames() -> Iterator[bytes]:
    """One after another, without end."""
    rest = bytes(_FRAME - 42)
    for number in itertools.count():
        yield header(_STEADY + number % STEADY_PAIRS, _FRAME) + rest
        passing = header(_PASSING + number % 2**24, _FRAME) + rest
        if number % 8 == 1:
            passing = _SIX_HEAD + b"\xfd" + bytes(11) + struct.pack("!I", number % 2**32) + bytes(8)
        elif number % 8 == 2:
            passing = passing[:12] + b"\x81\x00\x00\x07" + passing[12:]
        elif number % 64 == 3:
            passing = _ARP
        yield passing


def main() -> None:
    """Send until stopped."""
    endless = frames()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((SENDER, 0))
        due = time.monotonic()
        while True:
            for frame in itertools.islice(endless, int(PACKETS_A_SECOND * _TICK_SECONDS)):
                sender.send(frame)
            due += _TICK_SECONDS
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
