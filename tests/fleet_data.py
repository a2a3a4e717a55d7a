"""What a fleet would have stored: a shop of eight hosts with a probe each, and its visitors.

Made, not captured, and of the time and the seed alone: for tests that compare
what is shown with what is stored, and for pictures.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from wakizashi.model import Ledger, LedgerRecord, StoredWindow, Tally, TrafficRecord

HOSTS = {
    "web-1": "10.20.1.11",
    "web-2": "10.20.1.12",
    "api-1": "10.20.2.21",
    "api-2": "10.20.2.22",
    "cache": "10.20.3.31",
    "db": "10.20.3.41",
    "queue": "10.20.3.51",
    "backup": "fd20::61",
}
"""Those with a probe: by name, which is the probe's with ``shop/`` before it."""
VISITORS = {f"visitor-{n}": f"198.51.100.{n}" for n in range(1, 25)}
"""Those without one."""
FLOWS = (
    # from, to, mean bytes a second there and back, seconds of a wave
    *(("web-1", visitor, 20_000 + 9_000 * (n % 7), 900, 500 + 40 * n) for n, visitor in
      enumerate(VISITORS) if n % 2),
    *(("web-2", visitor, 15_000 + 8_000 * (n % 5), 700, 650 + 30 * n) for n, visitor in
      enumerate(VISITORS) if n % 2 == 0),
    ("web-1", "api-1", 30_000, 160_000, 1_300),
    ("web-2", "api-2", 26_000, 140_000, 1_700),
    ("web-1", "cache", 9_000, 70_000, 700),
    ("web-2", "cache", 8_000, 60_000, 800),
    ("api-1", "db", 22_000, 190_000, 2_100),
    ("api-2", "db", 20_000, 150_000, 1_900),
    ("api-1", "queue", 18_000, 2_000, 900),
    ("api-2", "queue", 16_000, 1_800, 1_100),
    ("db", "backup", 420_000, 4_000, 3_300),
)  # fmt: skip
MEAN_PACKET = 900


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is stored of all probes.

    Args:
        length_ms: of a window.
        seed: another one, other traffic.
        silent: the host whose probe stops ``silent_ms`` before the end.
    """

    length_ms: int = 30_000
    seed: int = 7
    silent: str = ""
    silent_ms: int = 0

    def windows(self, since_ms: int, until_ms: int) -> Iterator[StoredWindow]:
        """All windows that begin and end in that time, oldest first."""
        first = -(-since_ms // self.length_ms) * self.length_ms
        for start in range(first, until_ms - self.length_ms + 1, self.length_ms):
            sizes = self._sizes(start)
            for host, address in HOSTS.items():
                if host != self.silent or start < until_ms - self.silent_ms:
                    number = (start - first) // self.length_ms
                    yield self._window(host, address, start, number, sizes)

    def _sizes(self, start_ms: int) -> dict[tuple[str, str], int]:
        """Bytes by source and destination in the window that begins then."""
        dice = random.Random(f"{self.seed}/{start_ms}")
        addresses = HOSTS | VISITORS
        sizes = {}
        for one, other, there, back, wave_seconds in FLOWS:
            wave = 1 + 0.85 * math.sin(2 * math.pi * start_ms / 1_000 / wave_seconds)
            for source, destination, rate in ((one, other, there), (other, one, back)):
                size = int(rate * self.length_ms / 1_000 * wave * dice.uniform(0.8, 1.2))
                sizes[addresses[source], addresses[destination]] = size
        return sizes

    def _window(
        self, host: str, address: str, start_ms: int, number: int, sizes: dict[tuple[str, str], int]
    ) -> StoredWindow:
        probe = f"shop/{host}"
        records = tuple(
            TrafficRecord(
                start_ms, probe, address, source, destination, size, -(-size // MEAN_PACKET)
            )
            for (source, destination), size in sorted(sizes.items())
            if address in (source, destination)
        )
        dice = random.Random(f"{self.seed}/{start_ms}/{host}")
        counted = Tally(sum(r.packets for r in records), sum(r.size for r in records))
        own, non_ip = Tally(20, 9_000), Tally(dice.randrange(3), 0)
        non_ip = Tally(non_ip.packets, 42 * non_ip.packets)
        dropped = Tally(40, 36_000) if host == "queue" and number % 17 == 3 else Tally()
        device = counted + own + non_ip + dropped
        ledger = Ledger(device=device, counted=counted, own=own, non_ip=non_ip, dropped=dropped)
        return StoredWindow(
            probe,
            start_ms,
            (("env", "prod"),),
            records,
            (LedgerRecord(start_ms, probe, "eth0", number, self.length_ms, ledger),),
        )


def names() -> str:
    """Who is who, in the form of ``/etc/hosts``."""
    return "".join(f"{address} {name}\n" for name, address in (HOSTS | VISITORS).items())
