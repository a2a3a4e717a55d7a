"""The budget of series, from scripted answers. A real server's: tests/contract/test_influxdb.py."""

from collections.abc import Iterator
from typing import Any

import pytest

from wakizashi.center.influx.series import ask
from wakizashi.errors import Retryable

Answers = dict[str, list[dict[str, Any]]]
COUNT = "SHOW SERIES CARDINALITY"
LIMITS = "SHOW DIAGNOSTICS"
TRAFFIC = 'SHOW TAG VALUES ON "w" FROM "traffic" '
LEDGER = 'SHOW TAG VALUES ON "w" FROM "traffic_ledger" '


def asked(answers: Answers) -> tuple[Any, list[str]]:
    """What comes of answers to statements by their beginnings, and the statements."""
    statements = []

    def select(statement: str) -> Iterator[dict[str, Any]]:
        statements.append(statement)
        for beginning, series in answers.items():
            if statement.startswith(beginning):
                yield from series
                return
        raise Retryable("no right to do that")

    return ask(select, "w", "traffic"), statements


def count(number: int) -> list[dict[str, Any]]:
    return [{"columns": ["cardinality estimation"], "values": [[number]]}]


def limits(series: int, values: int) -> list[dict[str, Any]]:
    names = ["dir", "max-series-per-database", "max-values-per-tag"]
    return [{"name": "config-data", "columns": names, "values": [["/x", series, values]]}]


def values(**counts: int) -> list[dict[str, Any]]:
    """In two parts, as a server may send it."""
    rows = [[key, f"v{n}"] for key, number in counts.items() for n in range(number)]
    return [{"columns": ["key", "value"], "values": part} for part in (rows[:5], rows[5:])]


@pytest.mark.parametrize(
    ("most_series", "most_values", "tightest"),
    [
        (100, 100, ("max-series-per-database", "series in database w", 60, 100)),
        (
            1_000,
            20,
            ("max-values-per-tag", "values of tag device in measurement traffic_ledger", 13, 20),
        ),
        (1_000, 0, ("max-series-per-database", "series in database w", 60, 1_000)),
        (
            0,
            20,
            ("max-values-per-tag", "values of tag device in measurement traffic_ledger", 13, 20),
        ),
        (0, 0, None),
    ],
)
def test_the_limit_that_is_reached_first(
    most_series: int, most_values: int, tightest: tuple[str, str, int, int] | None
) -> None:
    answers = {
        COUNT: count(60),
        LIMITS: limits(most_series, most_values),
        TRAFFIC: values(srcIP=12, dstIP=3, env=1),
        LEDGER: values(device=13),
    }
    series, statements = asked(answers)
    assert series.count == 60
    found = series.tightest
    assert (found and (found.name, found.what, found.used, found.limit)) == tightest
    listed = any(statement.startswith("SHOW TAG") for statement in statements)
    assert listed == bool(most_values), "values are listed only against a limit"


def test_limits_that_may_not_be_read() -> None:
    series, statements = asked({COUNT: count(60)})
    assert (series.count, series.tightest) == (60, None)
    assert len(statements) == 2


def test_a_server_that_answers_something_else() -> None:
    assert asked({"SHOW": [{"columns": ["name"], "values": [["_internal"]]}]})[0] is None


def test_a_server_that_does_not_answer() -> None:
    with pytest.raises(Retryable):
        asked({})
