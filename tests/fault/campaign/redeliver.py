"""Delivers window files to a center, as a probe would that had not heard the ack.

    python -m tests.fault.campaign.redeliver HOST:PORT FILE…

In the order of the arguments; prints how many of them the center says are stored.
"""

import sys
from pathlib import Path
from typing import Any

import grpc

from wakizashi import wire
from wakizashi.probe.transmit import METHOD
from wakizashi.v1 import traffic_pb2 as pb
from wakizashi.window_file import unseal


def main(target: str, files: list[Path]) -> int:
    """Windows that the center acknowledged as stored."""
    chunks = [chunk for file in files for chunk in wire.unpack(unseal(file.read_bytes()))]
    with grpc.insecure_channel(target, options=(("grpc.enable_http_proxy", 0),)) as channel:
        transmit: Any = channel.stream_stream(
            METHOD, request_serializer=None, response_deserializer=pb.WindowAck.FromString
        )
        acks = list(transmit(iter(chunks), timeout=10))
    return sum(ack.status == pb.WINDOW_STATUS_STORED for ack in acks)


if __name__ == "__main__":
    try:
        print(main(sys.argv[1], [Path(name) for name in sys.argv[2:]]))
    except (grpc.RpcError, OSError) as error:
        print(f"not delivered: {error!r}", file=sys.stderr)
        sys.exit(1)
