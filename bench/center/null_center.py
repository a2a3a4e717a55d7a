"""A center without a database: ``python -m bench.center.null_center nothing|lines KEY=VALUE …``.

All of the center but the writing: gRPC, validation, aggregation, groups, acks.
With ``lines`` it makes the lines that InfluxDB would get, and throws them away.
"""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from bench.center.results import LINES
from wakizashi.center.app import run
from wakizashi.center.backend import Backend, Row
from wakizashi.center.config import CenterConfig, load_center
from wakizashi.center.influx.lines import encode_lines
from wakizashi.lifecycle import HangUp, guard
from wakizashi.logs import setup_logging
from wakizashi.model import LedgerRecord, StoredWindow
from wakizashi.reload import Source


class Null(Backend):
    """Takes everything and keeps nothing."""

    def __init__(self, table: str | None) -> None:
        self._table = table

    def write(self, windows: Sequence[StoredWindow]) -> None:
        """Make lines if asked to."""
        if self._table is not None:
            encode_lines(windows, self._table).encode()

    def traffic(
        self, since_ms: int, until_ms: int, by: Sequence[str] = (), **more: Any
    ) -> Iterator[Row]:
        """Nothing."""
        return iter(())

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        """Nothing."""
        return iter(())

    def check(self) -> None:
        """Always well."""

    @property
    def describe(self) -> str:
        """For the log."""
        return "nothing" if self._table is None else "lines, thrown away"

    def close(self) -> None:
        """Nothing to let go of."""


def main(kind: str, overrides: Sequence[str]) -> None:
    """Serve until SIGTERM."""

    def load() -> CenterConfig:
        return load_center(None, overrides)

    def work() -> None:
        with HangUp() as hangup:
            config = load()
            setup_logging(config.logLev, "center")
            table = config.backendConfig.table if kind == LINES else None
            asyncio.run(run(config, Source("defaults", load, hangup), Null(table)))

    guard("center", work)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
