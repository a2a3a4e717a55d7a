"""Would packets be counted: which engine, on which devices, with what done to them before?

Opens a tap on each device and closes it again, with the least memory. A probe that runs
beside is not disturbed: taps know nothing of each other.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wakizashi.doctor import kernel, memory, offloads
from wakizashi.doctor.finding import Finding, fault, note, ok
from wakizashi.doctor.offloads import listed
from wakizashi.pattern import Pattern
from wakizashi.probe.capture import CaptureError, Engine, Limits, engines_in_order
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.devices import ARPHRD_ETHER, ARPHRD_LOOPBACK, Device, Netlink, select

LEAST_RING_BYTES = 2**16
MOST_TAPS = 256
"""Devices that a tap is tried on; a node with more pods than that has them all alike."""

_LINK_TYPES = {ARPHRD_ETHER: "Ethernet", ARPHRD_LOOPBACK: "loopback"}


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why this host does not permit it, if it does not."""

    name: str
    engine: Engine
    obstacle: str | None


def look(config: ProbeConfig, root: Path = Path("/")) -> Iterator[Finding]:
    """Engines, devices, offloads, memory."""
    with contextlib.ExitStack() as stack:
        choices = []
        for name, engine in engines_in_order():
            stack.callback(engine.close)
            choices.append(Choice(name, engine, engine.obstacle()))
        yield from judge_engines(config.capture, choices)
        taken = chosen(config.capture, choices)
        with Netlink() as netlink:
            found = netlink.snapshot().devices
        selected = select(found, [Pattern(text) for text in config.networkDevs])
        watched = sorted(selected.values(), key=lambda device: device.name)
        yield from judge_patterns(config.networkDevs, found)
        if not watched:
            return
        yield from judge_devices(watched, _or_zero(offloads.mtu))
        if taken is not None:
            yield from try_taps(taken, watched[:MOST_TAPS])
        features = {}
        for device in watched:
            with contextlib.suppress(OSError):  # it is gone meanwhile
                features[device.name] = offloads.features(device.name)
        yield from offloads.look(features, offloads.carriers(_read(offloads.VLANS)))
        if taken is not None:
            yield from memory.look(
                memory.ask(root),
                engine=taken.name,
                ring_bytes=config.ringSize,
                devices=len(watched),
                held=kernel.held(root),
                kernel=kernel.running(),
            )


def chosen(capture: str, choices: Sequence[Choice]) -> Choice | None:
    """The engine that a probe would take."""
    usable = (c for c in choices if c.obstacle is None and capture in ("auto", c.name))
    return next(usable, None)


def judge_engines(capture: str, choices: Sequence[Choice]) -> Iterator[Finding]:
    """A line for each engine, in the order of ``auto``."""
    taken = chosen(capture, choices)
    said: dict[str, str] = {}
    for choice in choices:
        if choice is taken:
            yield ok("engine", f"{choice.name}: usable, and taken by capture: {capture}")
        elif choice.obstacle is None:
            yield ok("engine", f"{choice.name}: usable")
        else:
            text, _, remedy = choice.obstacle.partition("; ")
            if text in said:
                text, remedy = f"as {said[text]}", "see there"
            else:
                said[text] = choice.name
            wanted = capture in ("auto", choice.name)
            judge = fault if wanted and taken is None else note
            if not wanted:
                yield ok("engine", f"{choice.name}: not usable ({text}), and not asked for")
            else:
                yield judge(
                    "engine", f"{choice.name}: not usable: {text}", remedy or "use another engine"
                )


def judge_patterns(texts: Sequence[str], found: Mapping[int, Device]) -> Iterator[Finding]:
    """What each entry of ``networkDevs`` means now."""
    names = sorted(device.name for device in found.values())
    if not texts:
        up = sorted(device.name for device in found.values() if device.up)
        if up:
            yield ok("devices", f"all that are up: {listed(up)}")
        else:
            yield fault("devices", f"none is up; there are {listed(names)}", "ip link set NAME up")
    meant = {text: [n for n in names if Pattern(text).matches(n)] for text in texts}
    nothing = not any(meant.values())
    for text, those in meant.items():
        if those:
            yield ok(
                "devices", f"{text}: {listed(those)}" if those != [text] else f"{text} is there"
            )
        else:
            remedy = "mend networkDevs, or start the probe with --wait-for-devices"
            judge = fault if nothing else note
            remedy = remedy if nothing else "mend networkDevs, unless such a device comes later"
            yield judge("devices", f"{text}: means no device; there are {listed(names)}", remedy)


def judge_devices(watched: Sequence[Device], mtu: Callable[[str], int]) -> Iterator[Finding]:
    """What kind of device each is; alike ones in one line."""
    alike: dict[tuple[str, bool, int], list[str]] = {}
    for device in watched:
        header = "Ethernet header" if device.has_ethernet_header else "no link header"
        kind = _LINK_TYPES.get(device.link_type, f"{header} (type {device.link_type})")
        alike.setdefault((kind, device.up, mtu(device.name)), []).append(device.name)
    for (kind, up, size), names in alike.items():
        shown = f"{listed(names)}: {kind}, MTU {size}"
        if up:
            yield ok("devices", f"{shown}, up")
        else:
            yield note(
                "devices", f"{shown}, down", f"ip link set {names[0]} up, if it should count"
            )


def try_taps(choice: Choice, watched: Sequence[Device]) -> Iterator[Finding]:
    """Whether each device can be captured; lines for those that can't."""
    taps = []
    troubles = 0
    for device in watched:
        try:
            taps.append(choice.engine.open(device, Limits(1, LEAST_RING_BYTES), frozenset()))
        except CaptureError as error:
            troubles += 1
            text, _, remedy = str(error).partition("; ")
            yield fault("devices", text, remedy or "leave the device out of networkDevs")
    for tap in taps:
        tap.close()
    if taps and not troubles:
        yield ok(
            "devices", f"{choice.name} can capture {'it' if len(taps) == 1 else 'all of them'}"
        )


def _or_zero(ask: Callable[[str], int]) -> Callable[[str], int]:
    """0 where a device is gone meanwhile."""

    def answer(name: str) -> int:
        try:
            return ask(name)
        except OSError:
            return 0

    return answer


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
