"""What lies in the kernel for the engine ``ebpf``: the maps and programs of ``traffic.bpf.c``.

In: devices to count, endpoints to leave out. Out: at each :meth:`Traffic.swap`
the tallies of the window that ends. Lost is nothing; see ``engines/ebpf.py``.
"""

import os
import struct
from collections.abc import Collection, Iterator
from enum import IntEnum

from wakizashi.model import MAX_WINDOW_RECORDS, Tally
from wakizashi.probe.bpf import kernel
from wakizashi.probe.bpf.program import Object
from wakizashi.probe.capture import Endpoint

# struct key, struct tally and struct endpoint of traffic.bpf.c
_KEY, _TALLY, _ENDPOINT = struct.Struct("=I32s"), struct.Struct("=QQq"), struct.Struct("=16s2sH")
_KIND_SHIFT = 28
_PLACE = bytes(4)
"""The only index of ``window``, the array of maps."""

MAX_INDEX = (1 << _KIND_SHIFT) - 1
"""Largest interface index that fits beside the kind."""


class Kind(IntEnum):
    """``enum kind`` of ``traffic.bpf.c``."""

    OWN = 1
    NON_IP = 2
    OTHER = 3
    FLOW4 = 4
    FLOW6 = 6


_ACCOUNTS = (Kind.OWN, Kind.NON_IP, Kind.OTHER)


class Traffic:
    """The programs, and the map of the open window; all of it goes with :meth:`close`.

    Raises:
        kernel.Refused: the verifier refuses a program.
        OSError: no privilege, or a kernel that lacks something.
    """

    def __init__(self) -> None:
        file = Object()
        self._maps: list[kernel.Map] = []
        self.programs: dict[str, int] = {}
        """File descriptors: ``ethernet`` for devices with that header, ``ip`` for those with none."""
        shapes = file.maps()
        window, self._flows, known = (shapes[n] for n in ("window", "flows", "endpoints"))
        try:
            self._open = self._new_window(1)
            self._window = kernel.Map(
                window.kind, window.key_bytes, window.value_bytes, window.entries, inner=self._open
            )
            self._maps.append(self._window)
            self._put(self._open)
            self._endpoints = kernel.Map(
                known.kind, known.key_bytes, known.value_bytes, known.entries
            )
            self._maps.append(self._endpoints)
            fds = {"window": self._window.fd, "endpoints": self._endpoints.fd}
            for name in ("ethernet", "ip"):
                code = file.program(name, fds)
                self.programs[name] = kernel.load_socket_filter(code, file.license)
        except (OSError, kernel.Refused):
            self.close()
            raise
        self._known: frozenset[bytes] = frozenset()

    def _new_window(self, entries: int) -> kernel.Map:
        shape = self._flows
        # Not preallocated: an idle window costs 16 bytes for each flow it may hold, in buckets.
        made = kernel.Map(
            shape.kind, shape.key_bytes, shape.value_bytes, entries, flags=kernel.NO_PREALLOC
        )
        self._maps.append(made)
        return made

    def _put(self, window: kernel.Map) -> None:
        self._window.update(_PLACE, struct.pack("=I", window.fd))

    def admit(self, device: int, devices: int, max_flows: int) -> bool:
        """Let the open window count one device more; False if only a new one has the room.

        Raises:
            OSError: no memory.
        """
        if _entries(devices, max_flows) > self._open.entries:
            return False
        _admit(self._open, device, max_flows)
        return True

    def swap(
        self, devices: Collection[int], max_flows: int
    ) -> Iterator[tuple[int, Kind, bytes, Tally]]:
        """Begin a window for ``devices`` (interface indexes), and read the one before.

        Returns when no program counts into the old window any more, which takes
        the kernel's grace period (tens of milliseconds); what passes meanwhile is
        counted in the new one.

        Returns:
            (device, kind, flow key or empty, tally) of all that was counted.

        Raises:
            OSError: no memory for another window; the open one goes on.
        """
        # Room for the next power of two of devices: the kernel rounds up like this anyway.
        fresh = self._new_window(_entries(1 << len(devices).bit_length(), max_flows))
        try:
            for device in devices:
                _admit(fresh, device, max_flows)
            self._put(fresh)
        except OSError:
            self._drop(fresh)
            raise
        old, self._open = self._open, fresh
        return self._read(old)

    def _read(self, window: kernel.Map) -> Iterator[tuple[int, Kind, bytes, Tally]]:
        try:
            for key, value in window.items():
                packets, size, _ = _TALLY.unpack(value)
                if packets:
                    word, addresses = _KEY.unpack(key)
                    kind = Kind(word >> _KIND_SHIFT)
                    if kind is Kind.FLOW4:
                        addresses = addresses[:4] + addresses[16:20]
                    elif kind is not Kind.FLOW6:
                        addresses = b""
                    yield word & MAX_INDEX, kind, addresses, Tally(packets, size)
        finally:
            self._drop(window)

    def _drop(self, window: kernel.Map) -> None:
        self._maps.remove(window)
        window.close()

    def set_endpoints(self, endpoints: Collection[Endpoint]) -> None:
        """What counts as own from now on, for flows that begin; :meth:`swap` makes all begin anew."""
        wanted = set()
        for address, port in endpoints:
            padded, version = address.ljust(16, b"\0"), 4 if len(address) == 4 else 6
            wanted.add(_ENDPOINT.pack(padded, struct.pack("!H", port), version))
            wanted.add(_ENDPOINT.pack(padded, bytes(2), version))  # the host itself
        for key in wanted - self._known:
            self._endpoints.update(key, b"\1")
        for key in self._known - wanted:
            self._endpoints.delete(key)
        self._known = frozenset(wanted)

    def close(self) -> None:
        """Let the kernel forget all of it, once no socket has a program either."""
        for program in self.programs.values():
            os.close(program)
        for one in self._maps:
            one.close()
        self.programs, self._maps = {}, []


def _entries(devices: int, max_flows: int) -> int:
    """How many entries a window for so many devices has."""
    return min(max_flows * devices, MAX_WINDOW_RECORDS) + len(_ACCOUNTS) * devices


def _admit(window: kernel.Map, device: int, max_flows: int) -> None:
    """Put a device's accounts into a window; ``OTHER`` says how many flows may begin."""
    for kind in _ACCOUNTS:
        mark = max_flows if kind is Kind.OTHER else 0
        key = _KEY.pack(device | kind << _KIND_SHIFT, bytes(32))
        window.update(key, _TALLY.pack(0, 0, mark))
