"""How Redis holds windows: from windows to commands, and from replies back. Pure.

The keys of a database D and a table T, for a probe P. A PERIOD is the hour
that a window starts in; times are milliseconds of Unix time.

========================== ====== ======================= ==================
key                        type   holds                   expires
========================== ====== ======================= ==================
``D:T:{P}:START``          hash   a window's traffic      START + ttl
``D:T_ledger:{P}:START``   hash   its ledgers             START + ttl
``D:T:{P}:index:PERIOD``   zset   P's starts in that hour end of hour + ttl
``D:T:probes:PERIOD``      set    who has such an index   end of hour + ttl
``D:T:periods``            zset   the hours               each hour is taken
                                                          out after its ttl
========================== ====== ======================= ==================

What is between the braces decides the slot in a cluster, so that all keys of
a window are on one node and are set in one transaction. A field is set, never
added to, and every expiry is a moment that the window alone decides: writing
again changes nothing, not even how long it is kept. An index ends as a whole,
by itself, also where its probe is gone for good; and it has at most 120
windows of 30 s, which Redis keeps in one small block.

Traffic: the field is ``SOURCE DESTINATION``, with ``@`` before the probeIP,
which comes third if it is neither; the value is ``SIZE PACKETS``. Ledger: the
field is the device, the value ``NUMBER DURATION``, packets and bytes of each
tally, and ``WINDOWS``; what was stored before has neither this nor the tally
``lost``. The constant tags are JSON in the ledger's field ``" tags"``; no device's
name begins with a space.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from wakizashi.model import TALLIES, Ledger, LedgerRecord, StoredWindow, Tally, TrafficRecord

PERIOD_MS = 3_600_000
TAGS_FIELD = " tags"
_WITHOUT_LOST = 2 * (len(TALLIES) - 1)
"""Numbers after the duration in a ledger from before ``lost`` and ``WINDOWS``."""

Command = tuple[str | int, ...]

_ESCAPES = str.maketrans({"%": "%25", "{": "%7B", "}": "%7D"})


def period(time_ms: int) -> int:
    """Start of the hour that a time is in."""
    return time_ms - time_ms % PERIOD_MS


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of the keys."""

    database: str
    table: str

    def window(self, probe: str, start_ms: int) -> str:
        """Hash: a window's traffic."""
        return f"{self.database}:{self.table}:{_tag(probe)}:{start_ms}"

    def ledger(self, probe: str, start_ms: int) -> str:
        """Hash: a window's ledgers."""
        return f"{self.database}:{self.table}_ledger:{_tag(probe)}:{start_ms}"

    def index(self, probe: str, period_ms: int) -> str:
        """Sorted set: the starts of a probe's windows in a period."""
        return f"{self.database}:{self.table}:{_tag(probe)}:index:{period_ms}"

    def probes(self, period_ms: int) -> str:
        """Set: the probes with an index for a period."""
        return f"{self.database}:{self.table}:probes:{period_ms}"

    @property
    def periods(self) -> str:
        """Sorted set: the periods."""
        return f"{self.database}:{self.table}:periods"


def _tag(probe: str) -> str:
    return f"{{{probe.translate(_ESCAPES)}}}"


def encode_window(keys: Keys, window: StoredWindow, ttl_ms: int) -> list[Command]:
    """What sets a window, or a part of one; nothing for an empty one."""
    probe, start_ms = window.probe, window.start_ms
    commands: list[Command] = []
    if window.records:
        key = keys.window(probe, start_ms)
        fields = [text for record in window.records for text in _traffic(record)]
        commands += [("HSET", key, *fields), ("PEXPIREAT", key, start_ms + ttl_ms)]
    ledgers = [text for record in window.ledgers for text in _ledger(record)]
    if window.tags and (window.records or ledgers):
        tags = json.dumps(dict(window.tags), sort_keys=True, ensure_ascii=False)
        ledgers += (TAGS_FIELD, tags)
    if ledgers:
        key = keys.ledger(probe, start_ms)
        commands += [("HSET", key, *ledgers), ("PEXPIREAT", key, start_ms + ttl_ms)]
    if commands:
        hour = period(start_ms)
        key = keys.index(probe, hour)
        commands += [
            ("ZADD", key, start_ms, start_ms),
            ("PEXPIREAT", key, hour + PERIOD_MS + ttl_ms),
        ]
    return commands


def encode_probes(keys: Keys, period_ms: int, probes: Sequence[str], ttl_ms: int) -> list[Command]:
    """What makes probes known for a period."""
    key = keys.probes(period_ms)
    return [("SADD", key, *probes), ("PEXPIREAT", key, period_ms + PERIOD_MS + ttl_ms)]


def encode_periods(keys: Keys, periods: Sequence[int], ttl_ms: int, now_ms: int) -> list[Command]:
    """What makes periods known, and forgets those of which nothing is left."""
    pairs = [number for start in periods for number in (start, start)]
    gone = now_ms - ttl_ms - PERIOD_MS
    return [("ZADD", keys.periods, *pairs), ("ZREMRANGEBYSCORE", keys.periods, "-inf", gone)]


def _traffic(record: TrafficRecord) -> tuple[str, str]:
    _, _, probe_ip, source, destination, size, packets = record
    if probe_ip == source:
        field = f"@{source} {destination}"
    elif probe_ip == destination:
        field = f"{source} @{destination}"
    else:
        field = f"{source} {destination} @{probe_ip}"
    return field, f"{size} {packets}"


def _ledger(record: LedgerRecord) -> tuple[str, str]:
    numbers = [record.number, record.duration]
    for name in TALLIES:
        tally: Tally = getattr(record.ledger, name)
        numbers += (tally.packets, tally.bytes)
    numbers.append(record.windows)
    return record.device, " ".join(map(str, numbers))


def decode_names(field: bytes) -> tuple[str, str, str]:
    """The probeIP, source and destination that a field of a window's hash names.

    Raises:
        ValueError: it is none of ours.
    """
    source, destination, *third = field.decode().split(" ")
    if third:
        (probe_ip,) = third
    else:
        probe_ip = source if source.startswith("@") else destination
    if not probe_ip.startswith("@"):
        raise ValueError(f"field {field!r}")
    if not third:
        source, destination = source.removeprefix("@"), destination.removeprefix("@")
    return probe_ip[1:], source, destination


def decode_traffic(
    probe: str, start_ms: int, fields: Iterable[tuple[bytes, bytes]]
) -> Iterator[TrafficRecord]:
    """The records in a window's hash.

    Raises:
        ValueError: a field is none of ours.
    """
    for field, value in fields:
        size, packets = map(int, value.split(b" "))
        yield TrafficRecord(start_ms, probe, *decode_names(field), size, packets)


def decode_numbers(
    fields: Iterable[tuple[bytes, bytes]],
) -> Iterator[tuple[str, int, int, int, list[int]]]:
    """Device, number, duration and windows of each ledger in a hash, and the numbers of its tallies.

    Raises:
        ValueError: a field is none of ours.
    """
    for field, value in sorted(fields):
        device = field.decode()
        if device == TAGS_FIELD:
            continue
        number, duration, *rest = map(int, value.split(b" "))
        if len(rest) == _WITHOUT_LOST:
            rest += (0, 0, 1)
        *numbers, windows = rest
        if len(numbers) != 2 * len(TALLIES):
            raise ValueError(f"value {value!r}")
        yield device, number, duration, windows, numbers


def decode_ledgers(
    probe: str, start_ms: int, fields: Iterable[tuple[bytes, bytes]]
) -> Iterator[LedgerRecord]:
    """The ledgers in a window's hash.

    Raises:
        ValueError: a field is none of ours.
    """
    for device, number, duration, windows, numbers in decode_numbers(fields):
        pairs = zip(TALLIES, numbers[::2], numbers[1::2], strict=True)
        ledger = Ledger(**{name: Tally(packets, size) for name, packets, size in pairs})
        yield LedgerRecord(start_ms, probe, device, number, duration, ledger, windows)
