"""What is asked for by the parameters of a request, and what is told where that makes no sense."""

import pytest

from wakizashi.dashboard import parameters
from wakizashi.dashboard.parameters import (
    MOST_SPAN_MS,
    ParameterError,
    River,
    Selection,
    Span,
    Talkers,
    river,
    selection,
    span,
    talkers,
)

NOW = 1_700_000_000_000


def test_nothing_is_the_last_quarter_of_an_hour() -> None:
    last = Selection(NOW + 1 - 900_000, NOW + 1, rolling=True)
    assert selection([], NOW) == last
    assert river([], NOW) == River(last, "pairs", 10, 120)
    assert span([], NOW) == Span(last, 40, 300, Talkers(100, "bytes", "desc", ""))
    assert talkers([], NOW).talkers == Talkers()


def test_everything() -> None:
    items = [("since", "5"), ("until", "10"), ("probe", "a"), ("probe", "b"), ("probe", "a")]
    items += [("host", "10.0.0.1"), ("src", "2001:DB8::0:1"), ("dst", "::"), ("service", "web")]
    found = Selection(5, 10, ("a", "b"), ("10.0.0.1",), ("2001:db8::1",), ("::",), ("web",))
    assert selection(items, NOW) == found
    more = [("by", "probes"), ("top", "50"), ("points", "500")]
    assert river([*items, *more], NOW) == River(found, "probes", 50, 500)
    table = [("rows", "1000"), ("sort", "dst"), ("order", "asc"), ("find", "Web")]
    wanted = Talkers(1000, "dst", "asc", "Web")
    both = [("links", "200"), ("peers", "1000"), *table]
    assert span([*items, *both], NOW) == Span(found, 200, 1000, wanted)
    assert talkers([*items, *table], NOW).talkers == wanted


def test_a_span_begins_no_earlier_than_time() -> None:
    assert selection([("last", "1h")], 5).since_ms == 0


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("last=5", "last: '5' is no span of time; write 90s, 10m, 1h30m or 7d"),
        ("last=0s", "last: '0s' is not from 1s to ten years (3653d)"),
        ("last=3654d", "last: '3654d' is not from 1s to ten years (3653d)"),
        ("last=1h&last=2h", "last: is given 2 times; give it once"),
        ("last=1h&since=1&until=2", "last: excludes since and until; leave out one of them"),
        ("since=1", "until: is missing; since and until go together, in ms"),
        ("until=1", "since: is missing; since and until go together, in ms"),
        ("since=x&until=2", "since: 'x' is no whole number from 0 to 9214646400000"),
        ("since=-1&until=2", "since: '-1' is no whole number from 0 to 9214646400000"),
        ("since=2&until=2", "until: '2' is not after since (2); swap them, or ask for more"),
        (
            f"since=0&until={MOST_SPAN_MS + 1}",
            f"until: '{MOST_SPAN_MS + 1}' is more than ten years after since (0); ask for less",
        ),
        ("host=web", "host: 'web' is no address; write 10.0.0.1 or 2001:db8::1"),
        ("probe=", "probe: '' is empty; name one, or leave the parameter out"),
        ("probe=" + "x" * 301, f"probe: '{'x' * 300}' is longer than 300 characters; shorten it"),
        ("&".join(f"probe={n}" for n in range(51)), "probe: 51 values; give 50 at most"),
        ("prob=a", "'prob': there is no such parameter; did you mean probe?"),
        ("by=bytes", "by: 'bytes' is not known; use pairs, services, probes"),
        ("top=0", "top: '0' is no whole number from 1 to 50"),
        ("top=51", "top: '51' is no whole number from 1 to 50"),
        ("top=1_0", "top: '1_0' is no whole number from 1 to 50"),
        ("top=٣", "top: '٣' is no whole number from 1 to 50"),
        ("points=1", "points: '1' is no whole number from 2 to 500"),
        ("points=501", "points: '501' is no whole number from 2 to 500"),
    ],
)
def test_what_makes_no_sense_to_a_river(query: str, told: str) -> None:
    items = [(name, value) for name, _, value in (each.partition("=") for each in query.split("&"))]
    with pytest.raises(ParameterError) as caught:
        river(items, NOW)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("links", "201", "links: '201' is no whole number from 1 to 200"),
        ("peers", "1001", "peers: '1001' is no whole number from 1 to 1000"),
        ("rows", "1001", "rows: '1001' is no whole number from 1 to 1000"),
        ("sort", "rate", "sort: 'rate' is not known; use bytes, packets, src, dst"),
        ("order", "up", "order: 'up' is not known; use desc, asc"),
    ],
)
def test_what_makes_no_sense_to_a_span(name: str, value: str, told: str) -> None:
    with pytest.raises(ParameterError) as caught:
        span([(name, value)], NOW)
    assert str(caught.value) == told


def test_a_parameter_of_another_route_is_none() -> None:
    for items in ([("top", "3")], [("links", "3")]):
        with pytest.raises(ParameterError, match=r"there are last, since, until, probe, host"):
            selection(items, NOW)
    with pytest.raises(ParameterError, match="this takes none"):
        parameters.nothing([("last", "1h")])
