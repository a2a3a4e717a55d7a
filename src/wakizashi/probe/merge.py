"""Two windows into one that says the same, but for the moment. Pure.

In: two windows of a probe, one right after the other. Out: the window of both.
Lost is time resolution; no byte, no packet, no address.
"""

from dataclasses import fields, replace
from typing import Protocol

from wakizashi.model import (
    MAX_INTEGER,
    MAX_WINDOW_RECORDS,
    UNSPECIFIED,
    DeviceLedger,
    Direction,
    Flow,
    Ledger,
    Tally,
    Window,
)
from wakizashi.wire import MAX_DEVICES

_Key = tuple[int, Direction, bytes, bytes]


class Span(Protocol):
    """What has a beginning and an end, in milliseconds."""

    @property
    def start_ms(self) -> int:
        """First millisecond."""

    @property
    def end_ms(self) -> int:
        """First millisecond after it."""


def follows(first: Span, second: Span) -> bool:
    """Whether no time lies between two windows."""
    return first.start_ms < second.start_ms <= first.end_ms


def merge(first: Window, second: Window, max_flows: int) -> Window | None:
    """The window of both; it has the start of the first, and the number of the second.

    It is as long as both together. So the second may begin before the first ends, as
    windows do when the clock went back: what they say of time is no worse then.

    None where they are not neighbours, or where the union would break a bound: more than
    ``max_flows`` flows on a device, which would have to be folded, or a sum that can't
    be stored.
    """
    if (
        (first.probe, first.tags) != (second.probe, second.tags)
        or not follows(first, second)
        or second.number - second.windows != first.number
        or sum(flow.size for window in (first, second) for flow in window.flows) > MAX_INTEGER
    ):
        return None
    devices = {device.name: device for device in first.devices}
    for device in second.devices:
        known = devices.get(device.name)
        devices[device.name] = device if known is None else _both(known, device)
    names = sorted(devices)
    if len(names) > MAX_DEVICES or any(_beyond(devices[name].ledger) for name in names):
        return None
    flows = _sum(first, second, names)
    if len(flows) > MAX_WINDOW_RECORDS or max(_numbers(flows), default=0) > max_flows:
        return None
    return replace(
        second,
        start_ms=first.start_ms,
        end_ms=first.end_ms + second.end_ms - second.start_ms,
        windows=first.windows + second.windows,
        devices=tuple(devices[name] for name in names),
        flows=tuple(Flow(*key, *tally) for key, tally in flows.items()),
    )


def _both(first: DeviceLedger, second: DeviceLedger) -> DeviceLedger:
    address = second.primary_address or first.primary_address
    return DeviceLedger(first.name, address, first.ledger + second.ledger)


def _beyond(ledger: Ledger) -> bool:
    tallies: list[Tally] = [getattr(ledger, field.name) for field in fields(Ledger)]
    return any(max(tally.bytes, tally.packets) > MAX_INTEGER for tally in tallies)


def _sum(first: Window, second: Window, names: list[str]) -> dict[_Key, tuple[int, int]]:
    """Size and packets by device, direction, source and destination."""
    position = {name: index for index, name in enumerate(names)}
    flows: dict[_Key, tuple[int, int]] = {}
    for window in (first, second):
        index = [position[device.name] for device in window.devices]
        for device, direction, source, destination, size, packets in window.flows:
            key = (index[device], direction, source, destination)
            known = flows.get(key)
            flows[key] = (size, packets) if known is None else (size + known[0], packets + known[1])
    return flows


def _numbers(flows: dict[_Key, tuple[int, int]]) -> list[int]:
    """How many flows each device has, without the one that takes what is beyond ``maxFlows``."""
    numbers: dict[int, int] = {}
    for device, _, source, destination in flows:
        if source != UNSPECIFIED or destination != UNSPECIFIED:
            numbers[device] = numbers.get(device, 0) + 1
    return list(numbers.values())
