"""From raw records to traffic records. A pure function of one window; nothing is lost."""

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
def address_text(address: bytes) -> str:
    """The text of a packed address: RFC 5952 for IPv6, as inet_ntop(3) writes it."""
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address)


def aggregate(window: Window) -> StoredWindow:
    """Sum the flows of a window by (probeIP, source, destination).

    The probeIP is the local one of the two addresses (the source where both
    are); for what only passed through it is the device's primary address, or
    0.0.0.0. The order is that of the addresses, whatever the order of the flows.
    """
    primary = [device.primary_address or UNSPECIFIED for device in window.devices]
    sums: dict[tuple[bytes, bytes, bytes], tuple[int, int]] = {}
    for flow in window.flows:
        if flow.direction is Direction.IN:
            probe_ip = flow.destination
        elif flow.direction is Direction.TRANSIT:
            probe_ip = primary[flow.device]
        else:
            probe_ip = flow.source
        key = (probe_ip, flow.source, flow.destination)
        size, packets = sums.get(key, (0, 0))
        sums[key] = (size + flow.size, packets + flow.packets)
    records = tuple(
        TrafficRecord(
            timestamp=window.start_ms,
            probe=window.probe,
            probeIP=address_text(key[0]),
            srcIP=address_text(key[1]),
            dstIP=address_text(key[2]),
            size=size,
            packets=packets,
        )
        for key, (size, packets) in sorted(sums.items())
    )
    ledgers = tuple(
        LedgerRecord(
            timestamp=window.start_ms,
            probe=window.probe,
            device=device.name,
            number=window.number,
            duration=window.end_ms - window.start_ms,
            ledger=device.ledger,
        )
        for device in sorted(window.devices, key=lambda device: device.name)
    )
    return StoredWindow(window.probe, window.start_ms, window.tags, records, ledgers)
