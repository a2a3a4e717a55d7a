"""What a backend is. Each is one module in ``backends/``, found by listing that folder.

In: aggregated windows. Out: points that are durable when :meth:`Backend.write`
returns. Foreign exceptions end here, as ``Retryable`` or ``Permanent``.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from wakizashi.config import Section
from wakizashi.model import LedgerRecord, StoredWindow

Row = dict[str, str | int]

GROUPABLE = ("probe", "probeIP", "srcIP", "dstIP")
"""The fields a query may group by."""

TALLIES = ("device", "counted", "own", "non_ip", "dropped", "other")
"""The fields of a ledger, each stored as ``NAME_packets`` and ``NAME_bytes``."""


class Backend(ABC):
    """A store of traffic records and ledgers. Threads may share it."""

    section: ClassVar[str]
    """The key of its section in ``backendConfig``."""
    Config: ClassVar[type[Section]]

    @abstractmethod
    def __init__(self, config: Any, *, read_only: bool = False) -> None:
        """Take ``backendConfig``. Does not connect yet."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What and where it is, without secrets."""

    @abstractmethod
    def check(self) -> None:
        """See whether it answers.

        Raises:
            Retryable: it does not; says why, and the remedy.
        """

    @abstractmethod
    def write(self, windows: Sequence[StoredWindow]) -> None:
        """Store windows; durable when this returns. Writing one again changes nothing.

        Raises:
            Retryable: nothing is wrong with the data; some of it may be stored.
            Permanent: some of the data can't be stored; some of it may be.
        """

    @abstractmethod
    def traffic(self, since_ms: int, until_ms: int, by: Sequence[str]) -> Iterator[Row]:
        """Records with ``since_ms <= timestamp < until_ms``.

        Without ``by`` one row a record, with the fields of ``TrafficRecord``;
        else one row a group, with those fields and the exact sums of ``size``
        (bytes) and ``packets``.
        """

    @abstractmethod
    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        """Ledgers with ``since_ms <= timestamp < until_ms``, by time."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""


def backend_names() -> list[str]:
    """The backends of this release, by listing ``backends/``."""
    from wakizashi.center import backends

    return sorted(module.name for module in pkgutil.iter_modules(backends.__path__))


def load_backend(name: str) -> type[Backend]:
    """The backend's class in the module ``backends/NAME.py``."""
    module = importlib.import_module(f"wakizashi.center.backends.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Backend)
        and value is not Backend
    )
    return found


def open_backend(config: Any, *, read_only: bool = False) -> Backend:
    """The backend that a ``backendConfig`` names."""
    return load_backend(config.type)(config, read_only=read_only)
