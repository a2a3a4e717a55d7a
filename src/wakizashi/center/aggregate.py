"""From raw records to traffic records. A pure function of one window; nothing is lost."""

import socket

from wakizashi.model import (
    UNSPECIFIED,
    Direction,
    LedgerRecord,
    StoredWindow,
    TrafficRecord,
    Window,
)

_MAX_TEXTS = 131_072
"""Most addresses remembered; 20 MiB of memory."""


class _Texts(dict[bytes, str]):
    """The text of packed addresses, RFC 5952 for IPv6, made once while it is remembered.

    A fleet sends the same addresses again and again. When it is full it starts afresh.
    """

    def __missing__(self, address: bytes) -> str:
        if len(self) >= _MAX_TEXTS:
            self.clear()
        family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
        text = self[address] = socket.inet_ntop(family, address)
        return text


_texts = _Texts()


def aggregate(window: Window) -> StoredWindow:
    """Sum the flows of a window by (probeIP, source, destination).

    The probeIP is the local one of the two addresses (the source where both
    are); for what only passed through it is the device's primary address, or
    0.0.0.0. The records come in the order in which the flows name them first.
    """
    texts = _texts
    primary = [texts[device.primary_address or UNSPECIFIED] for device in window.devices]
    sums: dict[tuple[str, str, str], tuple[int, int]] = {}
    for device, direction, packed_source, packed_destination, size, packets in window.flows:
        source, destination = texts[packed_source], texts[packed_destination]
        if direction is Direction.IN:
            key = (destination, source, destination)
        elif direction is Direction.TRANSIT:
            key = (primary[device], source, destination)
        else:
            key = (source, source, destination)
        if key in sums:
            more = sums[key]
            sums[key] = (more[0] + size, more[1] + packets)
        else:
            sums[key] = (size, packets)
    probe, start_ms = window.probe, window.start_ms
    new = tuple.__new__  # a third of the time of TrafficRecord(…)
    records = tuple(
        [new(TrafficRecord, (start_ms, probe, *key, *value)) for key, value in sums.items()]
    )
    ledgers = tuple(
        LedgerRecord(
            timestamp=window.start_ms,
            probe=window.probe,
            device=device.name,
            number=window.number,
            duration=window.end_ms - window.start_ms,
            ledger=device.ledger,
            windows=window.windows,
        )
        for device in sorted(window.devices, key=lambda device: device.name)
    )
    return StoredWindow(window.probe, window.start_ms, window.tags, records, ledgers)
