"""How near an InfluxDB 1.x is to its limits of series: asks the server, which knows.

It counts what all replicas have written, ever, and what its retention has taken
away again. Measured with influxd 1.6.7 on 2 cores and 99,000 series, 98,689
values of ``srcIP`` and 89,100 of ``dstIP``: ``SHOW SERIES CARDINALITY`` and ``SHOW
DIAGNOSTICS`` take 2 ms each, ``SHOW TAG VALUES`` of all tags 0.3 s of its CPU.
``SHOW TAG VALUES EXACT CARDINALITY`` goes through the series and takes 0.5 to 0.7 s
for each tag, also for one with 50 values. So values are listed and counted here.

Only an administrator may read the limits. Without them the series are still counted.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from wakizashi.center.backend import Limit, Series
from wakizashi.errors import WakizashiError

_REMEDY = (
    "raise it in InfluxDB's [data] section (0: off, which it is with the index tsi1), "
    "or shorten the retention of the database"
)


def ask(
    select: Callable[[str], Iterator[dict[str, Any]]], database: str, table: str
) -> Series | None:
    """The series of a database; None if the server does not say.

    Args:
        select: runs a statement; the series of its answer, in any number of parts.
        database: where the center writes.
        table: the measurement, whose ledger is beside it.

    Raises:
        WakizashiError: no rights, or no answer.
    """
    count = None
    for series in select(f'SHOW SERIES CARDINALITY ON "{database}"'):
        if series["columns"] == ["cardinality estimation"]:
            count = int(series["values"][0][0])
    if count is None:  # something that only takes lines as InfluxDB does
        return None
    most_series, most_values = _limits(select)
    limits = []
    if most_series:
        what = f"series in database {database}"
        limits.append(Limit("max-series-per-database", what, count, most_series, _REMEDY))
    if most_values:
        for measurement in (table, f"{table}_ledger"):
            for tag, values in _values(select, database, measurement).items():
                what = f"values of tag {tag} in measurement {measurement}"
                limits.append(Limit("max-values-per-tag", what, values, most_values, _REMEDY))
    return Series(count, max(limits, key=lambda limit: limit.ratio, default=None))


def _limits(select: Callable[[str], Iterator[dict[str, Any]]]) -> tuple[int, int]:
    """``max-series-per-database`` and ``max-values-per-tag``; 0 where off or not told."""
    try:
        for series in select("SHOW DIAGNOSTICS FOR 'config-data'"):
            row = dict(zip(series["columns"], series["values"][0], strict=True))
            return int(row.get("max-series-per-database", 0)), int(row.get("max-values-per-tag", 0))
    except WakizashiError:  # for administrators alone
        pass
    return 0, 0


def _values(
    select: Callable[[str], Iterator[dict[str, Any]]], database: str, measurement: str
) -> Counter[str]:
    """The number of values of each tag."""
    counts: Counter[str] = Counter()
    statement = f'SHOW TAG VALUES ON "{database}" FROM "{measurement}" WITH KEY =~ /./'
    for series in select(statement):
        counts.update(key for key, _ in series["values"])
    return counts
