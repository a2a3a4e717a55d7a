"""What a capture engine is, how packets are counted in the process, and which engine to take.

In: packets from a device. Out: :class:`Counts`, when asked. Engines live in
``engines/``, one module each, found by listing that folder. All of it runs on
the capture thread; nothing here is locked.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import ClassVar

from wakizashi.errors import ConfigError, WakizashiError
from wakizashi.model import Tally
from wakizashi.privileges import Capability
from wakizashi.probe import packet
from wakizashi.probe.devices import Device

NOTHING = Tally()

Endpoint = tuple[bytes, int]
"""A packed address and a TCP port."""

OTHER = bytes(8)
"""The key of the flow that takes what is beyond ``maxFlows``: 0.0.0.0 to 0.0.0.0."""


class CaptureError(WakizashiError):
    """A device can't be captured; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one device may cost."""

    max_flows: int
    """Flows in one window; those beyond are folded into ``OTHER``."""
    ring_bytes: int = 32 * 2**20
    """Memory in which packets wait for the probe, of engines that need such."""


@dataclass(slots=True)
class Counts:
    """What one device counted since the last call: bytes and packets, by flow key."""

    flows: dict[bytes, Tally] = field(default_factory=dict)
    """Flow key (see ``packet.flow_key``) to tally; ``OTHER`` holds what was folded."""
    own: Tally = NOTHING
    non_ip: Tally = NOTHING
    dropped_packets: int = 0
    """Packets the kernel could not queue for us."""

    @property
    def counted(self) -> Tally:
        """Sum over all flows, the folded ones included."""
        return sum(self.flows.values(), Tally())

    def add(self, key: bytes, tally: Tally, max_flows: int) -> None:
        """Add to a flow; to ``OTHER``, which is none itself, if it is a new one beyond ``max_flows``."""
        known = self.flows.get(key)
        if known is None and len(self.flows) - (OTHER in self.flows) >= max_flows:
            key = OTHER
            known = self.flows.get(key)
        self.flows[key] = tally if known is None else known + tally

    def merge(self, other: "Counts", max_flows: int) -> None:
        """Add ``other`` to this, folding new flows beyond ``max_flows`` into ``OTHER``."""
        for key, tally in other.flows.items():
            self.add(key, tally, max_flows)
        self.own += other.own
        self.non_ip += other.non_ip
        self.dropped_packets += other.dropped_packets


class FlowCounter:
    """Counts packets by flow, for the engines that see each packet in the process.

    The probe's own traffic is TCP from or to one of ``endpoints``. Whether a
    flow touches an endpoint's address is decided once, when the flow is new;
    ports are looked at only then.
    """

    def __init__(self, max_flows: int, endpoints: Collection[Endpoint]) -> None:
        self._max_flows = max_flows
        self._flows: dict[bytes, list[int]] = {}  # key -> [packets, bytes, touches an endpoint]
        self._own = [0, 0]
        self._non_ip = [0, 0]
        self.set_endpoints(endpoints)

    def set_endpoints(self, endpoints: Collection[Endpoint]) -> None:
        """Replace the center's endpoints; packets counted before stay as they were counted."""
        self._endpoints = frozenset(endpoints)
        self._hosts = frozenset(address for address, _ in endpoints)
        for key, entry in self._flows.items():
            entry[2] = self._touches(key)

    def set_max_flows(self, max_flows: int) -> None:
        """Replace the limit; flows that there are stay."""
        self._max_flows = max_flows

    def _touches(self, key: bytes) -> int:
        if key == OTHER:  # may hold packets of any flow, so each has to be looked at
            return int(bool(self._hosts))
        half = len(key) // 2
        return int(key[:half] in self._hosts or key[half:] in self._hosts)

    def add(self, data: bytes | memoryview, length: int, offset: int, size: int) -> None:
        """Count one packet.

        Args:
            data: its first bytes; only ``length`` of them are valid.
            length: captured bytes.
            offset: where the IP header starts, or ``packet.NOT_IP``.
            size: the packet's size on the link in bytes.
        """
        key = packet.flow_key(data, length, offset)
        if key is None:
            tally = self._non_ip
        else:
            entry = self._flows.get(key)
            if entry is None:
                entry = self._new(key)
            if entry[2] and self._is_own(key, data, length, offset):
                tally = self._own
            else:
                tally = entry
        tally[0] += 1
        tally[1] += size

    def _new(self, key: bytes) -> list[int]:
        # A flow that touches an endpoint folds as well: a gateway before the center
        # would otherwise hold one for each of its clients, without bound.
        if len(self._flows) >= self._max_flows:
            key = OTHER
            if key in self._flows:
                return self._flows[key]
        entry = self._flows[key] = [0, 0, self._touches(key)]
        return entry

    def _is_own(self, key: bytes, data: bytes | memoryview, length: int, offset: int) -> bool:
        ports = packet.tcp_ports(data, length, offset)
        if ports is None:
            return False
        half = len(key) // 2
        return (key[:half], ports[0]) in self._endpoints or (
            key[half:],
            ports[1],
        ) in self._endpoints

    def take(self) -> Counts:
        """Hand over everything counted since the last call and start afresh."""
        flows, self._flows = self._flows, {}
        own, self._own = self._own, [0, 0]
        non_ip, self._non_ip = self._non_ip, [0, 0]
        return Counts(
            flows={key: Tally(entry[0], entry[1]) for key, entry in flows.items() if entry[0]},
            own=Tally(*own),
            non_ip=Tally(*non_ip),
        )


class Tap(ABC):
    """One device being captured."""

    @abstractmethod
    def fileno(self) -> int | None:
        """A descriptor that is readable when :meth:`pump` has work; None if it never has."""

    @abstractmethod
    def pump(self, budget: int) -> bool:
        """Count packets that wait, at most about ``budget``, without blocking.

        Returns:
            Whether more may wait.
        """

    @abstractmethod
    def take(self) -> Counts:
        """Hand over what was counted since the last call, with the kernel's drop count.

        Of an engine that counts in the kernel: up to its last :meth:`Engine.cut`.
        """

    @abstractmethod
    def set_endpoints(self, endpoints: Collection[Endpoint]) -> None:
        """From now on leave out TCP from and to these.

        Raises:
            CaptureError: the kernel has no room for them; the ones before still hold.
        """

    @abstractmethod
    def set_max_flows(self, max_flows: int) -> None:
        """Replace ``Limits.max_flows``, for flows that begin: with the next window at the latest."""

    @abstractmethod
    def close(self) -> None:
        """Stop capturing. What was not taken is gone."""


class Engine(ABC):
    """A way to capture. The class of a module in ``engines/`` is found as its only subclass."""

    rank: ClassVar[int]
    """Place in the order in which ``capture: auto`` tries engines; the smallest first."""
    burst: ClassVar[int] = 1_000
    """How many packets to pump from a tap at a time."""
    rest_seconds: ClassVar[float] = 0.0
    """How long to leave packets alone once all are pumped, so that the next are many."""
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.NET_RAW})
    """What it takes to open devices and to close windows while the probe runs."""

    @abstractmethod
    def obstacle(self) -> str | None:
        """Why this host does not permit this engine, with the remedy; None if it does."""

    @abstractmethod
    def open(self, device: Device, limits: Limits, endpoints: Collection[Endpoint]) -> Tap:
        """Start to capture a device.

        Raises:
            CaptureError: the device is gone or refuses.
        """

    def cut(self) -> None:  # noqa: B027 - most engines have nothing to do
        """A window ends: what passed before this call is in what the taps hand over next.

        Engines that count in the process have nothing to do: pumping a tap is enough.
        """

    def close(self) -> None:  # noqa: B027 - most engines have nothing to do
        """Let go of what all taps share; they are closed already."""


def engine_names() -> list[str]:
    """The live engines of this release, by listing ``engines/``; ``replay`` reads files instead."""
    from wakizashi.probe import engines

    names = {module.name for module in pkgutil.iter_modules(engines.__path__)}
    return sorted(names - {"replay"})


def load_engine(name: str) -> Engine:
    """The engine in the module ``engines/NAME.py``."""
    module = importlib.import_module(f"wakizashi.probe.engines.{name}")
    (engine,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Engine) and value is not Engine
    )
    chosen: Engine = engine()
    return chosen


def engines_in_order() -> list[tuple[str, Engine]]:
    """The live engines by name, in the order in which ``auto`` tries them."""
    found = [(name, load_engine(name)) for name in engine_names()]
    return sorted(found, key=lambda named: named[1].rank)


Chosen = tuple[str, Engine, list[str]]
"""Name, engine, and why not the ones before it, as ``NAME: REASON``."""


def choose(capture: str) -> Chosen:
    """The engine for ``capture``: one by name, or for ``auto`` the first this host permits.

    Raises:
        CaptureError: this host does not permit it (any of them).
        ConfigError: there is no such engine.
    """
    names = engine_names()
    if capture != "auto" and capture not in names:
        raise ConfigError(f"capture: {capture!r} is no engine; use auto, {', '.join(names)}")
    reasons: list[str] = []
    for name, engine in engines_in_order():
        if capture in ("auto", name):
            obstacle = engine.obstacle()
            if obstacle is None:
                return name, engine, reasons
            reasons.append(f"{name}: {obstacle}")
    # One reason may stand against several: say it once.
    against: dict[str, list[str]] = {}
    for name, _, reason in (text.partition(": ") for text in reasons):
        against.setdefault(reason, []).append(name)
    faults = [f"capture: {', '.join(names)}: {reason}" for reason, names in against.items()]
    raise CaptureError("\n".join(faults))


def survey(capture: str) -> str:
    """A table for people: each engine, whether this host permits it, and the one ``capture`` means."""
    lines = []
    said: dict[str, str] = {}
    taken = False
    for name, engine in engines_in_order():
        obstacle = engine.obstacle()
        engine.close()
        wanted = capture in ("auto", name) and not taken and obstacle is None
        taken |= wanted
        if obstacle is None:
            state = "usable, chosen" if wanted else "usable"
        else:
            state = f"no, as {said[obstacle]}" if obstacle in said else f"no: {obstacle}"
            said.setdefault(obstacle, name)
        lines.append(f"  {name:<6} {state}\n")
    return f"capture: {capture}; engines on this host, in the order of auto:\n{''.join(lines)}"
