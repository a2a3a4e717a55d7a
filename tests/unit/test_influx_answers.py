"""What answers of InfluxDB mean: pure. What a server does with them: tests/fault/test_influxdb.py."""

import json

import pytest

from wakizashi.center.influx.answers import (
    NoDatabase,
    Place,
    TooLarge,
    failure,
    retry_after_seconds,
)
from wakizashi.errors import Permanent, Retryable, WakizashiError

PLACE = Place("http://influx:8086", "admin", "wakizashi")
NOW = "Tue, 24 Nov 2026 11:00:00 GMT"


def judged(status: int, body: bytes, **headers: str) -> WakizashiError:
    return failure(status, {k.replace("_", "-"): v for k, v in headers.items()}, body, PLACE)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, "unable to parse 'x': missing fields", Permanent),
        (400, "partial write: unable to parse 'x': missing fields dropped=0", Permanent),
        (400, "partial write: field type conflict: input field dropped=1", Permanent),
        (400, "partial write: points beyond retention policy dropped=1", Permanent),
        (400, "partial write: max-values-per-tag limit exceeded (9/9): dropped=2", Retryable),
        (400, "partial write: max-series-per-database limit exceeded: (9) dropped=1", Retryable),
        (400, "partial write: shard 3 is pending deletion dropped=1", Retryable),
        (400, "gzip: invalid header", Retryable),
        (404, 'database not found: "w"', NoDatabase),
        (413, "Request Entity Too Large", TooLarge),
        (500, "unable to parse the moon", Retryable),
    ],
)
def test_kinds(status: int, error: str, kind: type[WakizashiError]) -> None:
    found = judged(status, json.dumps({"error": error}).encode())
    assert type(found) is kind
    assert error in str(found) or kind is TooLarge


@pytest.mark.parametrize(
    "body",
    [
        b"<h1>400 unable to parse partial write</h1>",
        b"unable to parse",
        b'"unable to parse"',
        b'{"message":"unable to parse"}',
        b"\xff\xfe partial write",
        b"",
    ],
)
def test_only_influxdb_condemns_points(body: bytes) -> None:
    assert type(judged(400, body)) is Retryable
    assert type(judged(404, body.replace(b"unable to parse", b"database not found"))) is Retryable


def test_a_page_is_shown_in_short() -> None:
    found = str(judged(502, b"<html>\n<h1>Bad\tGateway</h1>" + b"x" * 5_000))
    assert "answers 502: Bad Gateway xxx" in found
    assert len(found) < 450
    assert "an empty answer" in str(judged(502, b"<html></html>"))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("", 0),
        ("-5", 0),
        ("1e9", 0),
        ("soon", 0),
        ("9" * 20, 0),
        ("Tue, 24 Nov 2026 11:02:00 GMT", 120),
        ("Tue, 24 Nov 2026 10:02:00 GMT", 0),
        ("Tue, 24 Nov 2026 11:02:00 -0000", 0),  # of no zone: nothing to compare with
    ],
)
def test_retry_after(value: str, seconds: float) -> None:
    assert retry_after_seconds(value, NOW) == seconds
    for status in (429, 503):
        found = judged(status, b"", Retry_After=value, Date=NOW)
        assert isinstance(found, Retryable)
        assert found.delay_seconds == seconds
