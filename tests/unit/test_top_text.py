"""Amounts, durations, sparklines and texts of ``wakizashi top``."""

import pytest

from wakizashi.amounts import amount, duration
from wakizashi.names import printable
from wakizashi.top.text import (
    ASCII,
    UNICODE,
    fit,
    sparkline,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (0.4, "0 B"),
        (999, "999 B"),
        (999.4, "999 B"),
        (999.5, "1.00 kB"),
        (1000, "1.00 kB"),
        (1234, "1.23 kB"),
        (9994, "9.99 kB"),
        (9996, "10.0 kB"),
        (99_940, "99.9 kB"),
        (99_960, "100 kB"),
        (999_400, "999 kB"),
        (999_500, "1.00 MB"),
        (123_456_789_012, "123 GB"),
        (2**64, "18.4 EB"),
        (-1500, "-1.50 kB"),
    ],
)
def test_amounts(value: float, text: str) -> None:
    assert amount(value, "B") == text


def test_durations() -> None:
    assert [duration(s) for s in (0, 61, 3600, 359_999, 360_000)] == [
        "0:00:00",
        "0:01:01",
        "1:00:00",
        "99:59:59",
        "4d 4:00:00",
    ]


def test_texts_are_fitted() -> None:
    assert fit("abc", 5, UNICODE) == "abc  "
    assert fit("abcdefgh", 6, UNICODE) == "abc…gh"
    assert fit("abcdefgh", 6, ASCII) == "abc~gh"
    assert [len(fit("abcdefgh", width, UNICODE)) for width in range(10)] == list(range(10))


def test_sparklines() -> None:
    assert sparkline([0, 1, 4, 8], UNICODE) == " ▁▄█"
    assert sparkline([0, 1e-9, 1e9], UNICODE) == " ▁█"
    assert sparkline([0, 0], UNICODE) == "  "
    assert sparkline([], UNICODE) == ""
    assert sparkline([0, 1, 8], ASCII).isascii()


def test_what_is_not_printable_is_not_printed() -> None:
    assert printable("vm\x1b[2J\n1") == "vm?[2J?1"
