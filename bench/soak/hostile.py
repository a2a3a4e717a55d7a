"""``python -m bench.soak.hostile PORT``: a client that no center wants, for as long as it runs.

Each call comes over a new connection with a new probe's name: a broken window, a whole
one, half of one, bytes that are none; and every other call is broken off.
"""

import itertools
import sys
import time
from typing import Any

import grpc

from wakizashi import wire
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Window

CALLS_A_SECOND = 20
_METHOD = "/wakizashi.v1.TrafficCenter/Transmit"


def chunks(number: int) -> list[bytes]:
    """What one call sends."""
    devices = (DeviceLedger("eth0", b"", Ledger()),)
    flows = (Flow(0, Direction.OUT, bytes(4), number.to_bytes(4), 100, 1),)
    start = int(time.time() * 1000)
    whole = wire.encode(
        Window(f"hostile-{number}", start, start + 1_000, number, (), devices, flows)
    )
    broken = wire.encode(
        Window(f"hostile-{number}", start + 1, start + 1_000, number, (), (), flows)
    )
    half = wire.encode(
        Window(f"hostile-{number}", start + 2, start + 1_000, number, (), devices, flows * 6_000)
    )[:1]
    return [whole, broken, half, [b"\xff" * 40]][number % 4]


def main() -> None:
    """Call until stopped."""
    _, port = sys.argv
    for number in itertools.count():
        begun = time.monotonic()
        with grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            method: Any = channel.stream_stream(_METHOD)
            call = method(iter(chunks(number)), timeout=5)
            if number % 2:
                call.cancel()
            try:
                for _ in call:
                    pass
            except grpc.RpcError:  # refused, broken off, or the center is slow: all is well
                pass
        time.sleep(max(0.0, 1 / CALLS_A_SECOND - (time.monotonic() - begun)))


if __name__ == "__main__":
    main()
