"""From a raw window to what is stored. Pure; sums are conserved."""

import socket
from functools import lru_cache

from wakizashi.model import (
    UNSPECIFIED,
    Direction,
    LedgerRecord,
    StoredWindow,
    TrafficRecord,
    Window,
)


@lru_cache(maxsize=65_536)
def address_text(packed: bytes) -> str:
    """An address as text, of 4 or 16 packed bytes."""
    return socket.inet_ntop(
        socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed
    )


def aggregate(window: Window) -> StoredWindow:
    """Sum a window's flows by (probeIP, source, destination), over devices and directions.

    probeIP is the local one of source and destination (the source if both
    are); for transit the device's first address, 0.0.0.0 if it has none.
    """
    sums: dict[tuple[bytes, bytes, bytes], list[int]] = {}
    for flow in window.flows:
        if flow.direction is Direction.IN:
            local = flow.destination
        elif flow.direction is Direction.TRANSIT:
            local = window.devices[flow.device].primary_address or UNSPECIFIED
        else:
            local = flow.source
        total = sums.setdefault((local, flow.source, flow.destination), [0, 0])
        total[0] += flow.size
        total[1] += flow.packets
    return StoredWindow(
        probe=window.probe,
        start_ms=window.start_ms,
        tags=window.tags,
        records=tuple(
            TrafficRecord(
                window.start_ms,
                window.probe,
                address_text(local),
                address_text(source),
                address_text(destination),
                size,
                packets,
            )
            for (local, source, destination), (size, packets) in sorted(sums.items())
        ),
        ledgers=tuple(
            LedgerRecord(
                timestamp=window.start_ms,
                probe=window.probe,
                device=device.name,
                number=window.number,
                duration=window.end_ms - window.start_ms,
                ledger=device.ledger,
            )
            for device in window.devices
        ),
    )
