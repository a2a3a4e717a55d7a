"""What a backend is, and which there are.

A backend is one module in ``backends/``, found by its name, which is its
``type``. The module has three names: ``CONFIG_KEY``, its section under
``backendConfig``; ``Config``, that section's model; and ``create``, which makes
the backend. Foreign libraries are imported in ``create`` or later, so that a
configuration loads without them.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from wakizashi.center import backends
from wakizashi.center.folding import Fold
from wakizashi.model import MAX_TIME_MS, LedgerRecord, LedgerSum, StoredWindow

if TYPE_CHECKING:
    from wakizashi.center.config import BackendConfig

BY_KEYS = ("probe", "probeIP", "srcIP", "dstIP")
"""What :meth:`Backend.traffic` can group by."""

SUMS = ("size", "packets")
"""What :meth:`Backend.traffic` can sum up: bytes and packets."""

Row = dict[str, str | int]

Values = tuple[str, ...]
"""Of some of :data:`BY_KEYS`, in the order in which they were asked for."""

Buckets = Iterator[tuple[int, Mapping[Values, Sequence[int]]]]
"""Buckets of time: the start in ms, and sums by values."""

Where = Sequence[Sequence[Mapping[str, str]]]
"""Which records: in every clause at least one mapping agrees with the record in all its keys,
which are of :data:`BY_KEYS`. No clause: all records; a clause without a mapping: none.

``[[{"srcIP": a}, {"dstIP": a}], [{"probe": p}]]``: to or from a, seen by p.
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of the server, and how near it is."""

    name: str
    what: str
    """What is counted, in the plural: ``values of tag srcIP in measurement traffic``."""
    used: int
    limit: int
    remedy: str

    @property
    def ratio(self) -> float:
        """The part of the limit that is used."""
        return self.used / self.limit


@dataclass(frozen=True, slots=True)
class Series:
    """The distinct series of a database."""

    count: int
    tightest: Limit | None
    """The limit that is reached first; None if there is none or it is not known."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What a backend says of its server to a person who asks."""

    text: str
    remedy: str = ""
    """What to do; empty where all is fine."""
    fault: bool = False
    """Whether windows would not be stored, or not be kept."""


class Backend(ABC):
    """Where traffic records and ledgers are stored, and read back from.

    ``write`` is called on worker threads, one call at a time. The reading methods
    may be called on other threads meanwhile, any number of them at once; what each
    returns is for one thread, and begins to read with the first row.
    """

    @abstractmethod
    def write(self, windows: Sequence[StoredWindow]) -> None:
        """Store all records and ledgers; when this returns they are durable.

        Writing a window again writes the same over itself. A part of a window
        may be written alone. After an error any part of it may be stored.

        Raises:
            Retryable: it may work later; nothing is wrong with the data.
            Permanent: at least one point can never be stored.
        """

    def prepare(self, windows: Sequence[StoredWindow]) -> Callable[[], None]:
        """Do of a write what needs no turn; the rest, to be called once, does as :meth:`write`.

        Called on worker threads, also while a write is under way: so the next
        one is built meanwhile.
        """
        return partial(self.write, windows)

    @abstractmethod
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
        """The traffic of windows that start in ``[since_ms, until_ms)``.

        With neither ``by`` nor ``step_ms``: a row for each record, keys as in
        :class:`~wakizashi.model.TrafficRecord`, oldest first. With ``by`` (of
        :data:`BY_KEYS`): a row for each combination, with these keys and exact
        integer sums ``size`` (bytes) and ``packets``.

        With ``step_ms``: a row for each bucket and combination (of ``by``, which may
        be empty), in any order, with ``timestamp`` besides, the bucket's start in
        milliseconds: a multiple of ``step_ms``, so the first may be before
        ``since_ms``. A record is in the bucket that its window starts in. Only
        buckets that hold something have rows.

        Args:
            since_ms: milliseconds of Unix time; included.
            until_ms: the same; not included.
            by: what to sum up by; nothing: all together, if there are buckets.
            step_ms: length of the buckets; 0: none.
            where: only these records, summed up or not.
            sums: what is summed up; of one of them a server reads half as much. Records
                have both.

        Raises:
            ValueError: a key is not of :data:`BY_KEYS`, a sum not of :data:`SUMS`, or
                ``step_ms`` is negative or longer than all of time.
            Retryable: it can't be read now.
            WakizashiError: there is no such database.
        """

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
        """What :meth:`traffic` sums up, where it is summed up here, of all records; else None.

        Then one such reading costs less than several questions. Buckets come once each, and
        numbers in the order of :data:`SUMS`. Begins to read, and raises, as :meth:`traffic`;
        it may do so before the first bucket is asked for.

        Args:
            since_ms: milliseconds of Unix time; included.
            until_ms: the same; not included.
            by: what to sum up by; nothing: all together.
            step_ms: length of the buckets, more than 0.
            where: only these records.
            sums: what is summed up.
        """
        return None

    @abstractmethod
    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        """The ledgers of ``[since_ms, until_ms)``, oldest first. Raises as :meth:`traffic`."""

    def ledger_sums(self, since_ms: int, until_ms: int) -> Iterator[LedgerSum]:
        """The ledgers of ``[since_ms, until_ms)`` summed up: one for each device of each probe.

        Sorted by probe and device. Raises as :meth:`traffic`.
        """
        fold = Fold()
        for record in self.ledgers(since_ms, until_ms):
            fold.add_record(record)
        return fold.sums()

    @abstractmethod
    def check(self) -> None:
        """Try whether the backend can be used.

        Raises:
            Retryable: not now; says why and what to do.
        """

    def diagnose(self) -> Iterator[Remark]:
        """Look whether a center could store there and what is kept, and change nothing.

        Of a backend that was opened with ``read_only``, beside centers that write.

        Raises:
            WakizashiError: it can't be used; says why and what to do.
        """
        self.check()
        yield Remark(f"{self.describe} lets this user in")

    def series(self) -> Series | None:
        """The series, where the backend limits them; None where it doesn't or won't tell.

        Called now and then on a worker thread, beside ``write``.

        Raises:
            WakizashiError: they can't be told now.
        """
        return None

    @property
    @abstractmethod
    def describe(self) -> str:
        """Kind and place, for messages; no secrets."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections. Written data stays."""


def backend_names() -> list[str]:
    """The values that ``backendConfig.type`` can have: the modules in ``backends/``."""
    return sorted(module.name for module in pkgutil.iter_modules(backends.__path__))


def backend_module(name: str) -> ModuleType:
    """The module of a backend."""
    return importlib.import_module(f"{backends.__name__}.{name}")


def open_backend(config: "BackendConfig", *, read_only: bool = False) -> Backend:
    """Make the configured backend.

    Does not connect: a center starts without its backend.

    Raises:
        WakizashiError: ``read_only``, and there is nothing to read; or another
            center has what only one may write.
    """
    backend: Backend = backend_module(config.type).create(config, read_only=read_only)
    return backend


def bucket_rows(
    buckets: Buckets, by: Sequence[str], sums: Sequence[str], *, timestamps: bool
) -> Iterator[Row]:
    """The rows of :meth:`Backend.traffic` from what was summed up here.

    Args:
        buckets: as of :meth:`Backend.by_bucket`.
        by: the names of the values.
        sums: what was summed up.
        timestamps: whether a row tells its bucket's start; else there is one bucket.
    """
    names = (*by, *(name for name in SUMS if name in sums))
    for bucket, totals in buckets:
        start: Row = {"timestamp": bucket} if timestamps else {}
        for values, total in totals.items():
            yield {**start, **dict(zip(names, (*values, *total), strict=True))}


def check_by(by: Sequence[str]) -> None:
    """Raise ValueError where ``by`` holds anything but :data:`BY_KEYS`."""
    unknown = [key for key in by if key not in BY_KEYS]
    if unknown:
        raise ValueError(f"can't group by {', '.join(unknown)}; use {', '.join(BY_KEYS)}")


def check_reading(by: Sequence[str], step_ms: int, where: Where, sums: Sequence[str]) -> None:
    """Raise ValueError where the arguments of :meth:`Backend.traffic` make no sense."""
    check_by(by)
    if not sums or not set(sums) <= set(SUMS):
        raise ValueError(f"can't sum up {', '.join(sums) or 'nothing'}; use {', '.join(SUMS)}")
    if not 0 <= step_ms <= MAX_TIME_MS:
        raise ValueError(f"can't make buckets of {step_ms} ms; use 1 to {MAX_TIME_MS}")
    named = {key for clause in where for choice in clause for key in choice}
    unknown = sorted(named.difference(BY_KEYS))
    if unknown:
        raise ValueError(f"can't select by {', '.join(unknown)}; use {', '.join(BY_KEYS)}")
