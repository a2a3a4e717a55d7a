"""The center's addresses: those its name has now, and those it had a while ago.

Capture leaves out the probe's own packets to all of them (``docs/decisions/0001``).
"""

import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from wakizashi.errors import Retryable
from wakizashi.probe.capture import Endpoint
from wakizashi.probe.config import split_address

REMEMBER_SECONDS = 120.0
"""How long packets of an address that the name no longer has still count as own."""

MAX_ADDRESSES = 32
"""Most addresses of the center to know of: what a capture engine has to compare with. A classic
filter for more does not fit into 20 KiB, which is net.core.optmem_max on older kernels."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address of the center."""

    packed: bytes
    port: int
    target: str
    """As gRPC wants it: ``ipv4:192.0.2.1:10080``."""


class Center:
    """The center's name, and the addresses it has and had."""

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[Endpoint, float] = {}
        self.move(address)

    def move(self, address: str) -> None:
        """Another name or port holds now; what was connected to before stays own for a while."""
        self.name = address
        self._host, self.port = split_address(address)

    def resolve(self) -> list[Address]:
        """The addresses the name has now, in random order, ``MAX_ADDRESSES`` of them at most.

        Raises:
            Retryable: the name has none, or nobody can be asked.
        """
        try:
            found = socket.getaddrinfo(self._host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise Retryable(
                f"centerAddr: {self.name}: the name has no address: {reason}; "
                "mend centerAddr, or the name service"
            ) from error
        addresses = {}
        for family, _, _, _, peer in found:
            text = str(peer[0])
            packed = socket.inet_pton(family, text.partition("%")[0])
            v6 = family == socket.AF_INET6
            host = f"ipv6:[{text.replace('%', '%25')}]" if v6 else f"ipv4:{text}"
            addresses[packed] = Address(packed, self.port, f"{host}:{self.port}")
        chosen = random.sample(list(addresses.values()), min(len(addresses), MAX_ADDRESSES))
        for address in chosen:
            self.saw(address)
        return chosen

    def saw(self, address: Address) -> None:
        """The name has the address now, or a connection to it ends now."""
        endpoint = (address.packed, address.port)
        self._seen.pop(endpoint, None)
        self._seen[endpoint] = self._clock()  # the newest stand last

    def endpoints(self) -> frozenset[Endpoint]:
        """What counts as own traffic: the addresses of now, and those of a while ago."""
        oldest = self._clock() - REMEMBER_SECONDS
        self._seen = {endpoint: seen for endpoint, seen in self._seen.items() if seen >= oldest}
        return frozenset(list(self._seen)[-MAX_ADDRESSES:])
