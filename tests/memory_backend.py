"""A backend in memory: the simplest that reads as :class:`Backend` says, to compare with."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby

from wakizashi.center.backend import SUMS, Backend, Buckets, Row, Values, Where, check_by
from wakizashi.errors import WakizashiError
from wakizashi.model import Ledger, LedgerRecord, LedgerSum, StoredWindow


class Memory(Backend):
    """Keeps windows by their identity; ``trouble`` is raised by what reads.

    Args:
        sums_here: whether :meth:`by_bucket` answers.
    """

    def __init__(self, windows: Sequence[StoredWindow] = (), *, sums_here: bool = False) -> None:
        self._sums_here = sums_here
        self._windows: dict[tuple[str, int], StoredWindow] = {}
        self.trouble: WakizashiError | Exception | None = None
        self.asked = 0
        """Calls that read."""
        self.asked_for_traffic = 0
        self.write(windows)

    def write(self, windows: Sequence[StoredWindow]) -> None:
        self._windows |= {(each.probe, each.start_ms): each for each in windows}

    def traffic(
        self,
        since_ms: int,
        until_ms: int,
        by: Sequence[str] = (),
        *,
        step_ms: int = 0,
        where: Where = (),
        sums: Sequence[str] = SUMS,
    ) -> Iterator[Row]:
        check_by(by)
        self._ask()
        self.asked_for_traffic += 1
        rows = [
            row
            for window in self._windows.values()
            if since_ms <= window.start_ms < until_ms
            for row in (dict(record._asdict()) for record in window.records)
            if all(any(each.items() <= row.items() for each in clause) for clause in where)
        ]
        rows.sort(key=lambda row: row["timestamp"])
        if not by and not step_ms:
            yield from rows
            return
        totals: dict[tuple[str | int, ...], Row] = {}
        for row in rows:
            bucket = {"timestamp": row["timestamp"] // step_ms * step_ms} if step_ms else {}
            key = bucket | {name: row[name] for name in by}
            found = totals.setdefault(tuple(key.values()), key | dict.fromkeys(sums, 0))
            for field in sums:
                found[field] = int(found[field]) + row[field]
        yield from totals.values()

    def by_bucket(
        self,
        since_ms: int,
        until_ms: int,
        by: Sequence[str],
        step_ms: int,
        *,
        where: Where = (),
        sums: Sequence[str] = SUMS,
    ) -> Buckets | None:
        if not self._sums_here:
            return None
        found: dict[int, dict[Values, list[int]]] = defaultdict(dict)
        for row in self.traffic(since_ms, until_ms, by, step_ms=step_ms, where=where, sums=sums):
            values = tuple(str(row[name]) for name in by)
            numbers = [int(row[name]) for name in SUMS if name in sums]
            found[int(row["timestamp"])][values] = numbers
        return iter(found.items())

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        self._ask()
        for window in sorted(self._windows.values(), key=lambda each: each.start_ms):
            if since_ms <= window.start_ms < until_ms:
                yield from window.ledgers

    def ledger_sums(self, since_ms: int, until_ms: int) -> Iterator[LedgerSum]:
        records = list(self.ledgers(since_ms, until_ms))
        name = lambda one: (one.probe, one.device)
        for (probe, device), group in groupby(sorted(records, key=name), key=name):
            found = sorted(group, key=lambda one: one.timestamp)
            first, last = found[0], found[-1]
            ledger = Ledger()
            for one in found:
                ledger += one.ledger
            yield LedgerSum(
                probe=probe,
                device=device,
                windows=sum(one.windows for one in found),
                first_ms=first.timestamp,
                last_ms=last.timestamp,
                end_ms=last.timestamp + last.duration,
                number=last.number,
                first_number=first.number - first.windows + 1,
                longest_ms=max(one.duration for one in found),
                ledger=ledger,
            )

    def check(self) -> None:
        self._ask()

    @property
    def describe(self) -> str:
        return "memory"

    def close(self) -> None:
        pass

    def _ask(self) -> None:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
