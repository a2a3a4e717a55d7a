"""The stand-in for Grafana's substitution does as Grafana does."""

from typing import Any

import pytest

from tests.grafana import ALL, Query, View, condition, formatted, interpolated, interval, queries

VIEW = View(1_000, 61_000, 30_000)


def dashboard(**values: Any) -> dict[str, Any]:
    variables = [
        {"name": name, "type": "custom", "allValue": ".*", "current": {"value": value}}
        for name, value in values.items()
    ]
    return {"panels": [], "templating": {"list": variables}, "annotations": {"list": []}}


def put_in(text: str, view: View = VIEW, last_ms: int | None = None, **values: Any) -> str:
    return interpolated(Query("d", "panel", "t", "A", text, last_ms), dashboard(**values), view)


def test_macros() -> None:
    text = "$timeFilter GROUP BY time($__interval) $__interval_ms $__range_ms"
    times = "time >= 1000ms and time <= 61000ms"
    assert put_in(text) == f"{times} GROUP BY time(30s) 30000 60000"


def test_a_panel_with_a_range_of_its_own() -> None:
    assert put_in("$timeFilter", last_ms=30_000) == "time >= 31000ms and time <= 61000ms"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(30_000, "30s"), (90_000, "90s"), (120_000, "2m"), (7_200_000, "2h"), (1_500, "1500ms")],
)
def test_intervals(milliseconds: int, text: str) -> None:
    assert interval(milliseconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("vm-1", "vm-1"),
        ("10.0.0.1", r"10\.0\.0\.1"),
        ("shop/web-0", r"shop\/web-0"),
        (["a+b"], r"a\+b"),
        (["a.b", "c|d"], r"(a\.b|c\|d)"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_format_regex(value: str | list[str], text: str) -> None:
    assert formatted(value, "regex") == text


def test_the_formats_that_name_something() -> None:
    assert formatted("my table", "raw") == "my table"
    assert formatted('a"b', "doublequote") == r'"a\"b"'


@pytest.mark.parametrize("form", [None, "raw", "csv"])
def test_several_values_want_a_format_that_takes_them(form: str | None) -> None:
    with pytest.raises(ValueError, match="has no format"):
        formatted(["a", "b"], form)


def test_all_is_its_own_value_and_not_escaped() -> None:
    assert put_in("/^${probe:regex}$/", probe=[ALL]) == "/^.*$/"
    assert put_in("/^${probe:regex}$/", probe=ALL) == "/^.*$/"


def test_what_was_chosen_goes_before_what_the_dashboard_comes_with() -> None:
    view = View(0, 1, 1_000, {"probe": ["a", "b"]})
    assert put_in("/^${probe:regex}$/", view, probe=[ALL]) == "/^(a|b)$/"


@pytest.mark.parametrize("text", ["${nobody:raw}", "$nobody", "$__from"])
def test_what_is_not_known_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="no variable|not put in"):
        put_in(text)


def test_ad_hoc_filters_go_with_the_time() -> None:
    view = View(0, 1, 1_000, filters=(("env", "=", "it's"), ("env", "=~", "/^p/")))
    times = "time >= 0ms and time <= 1ms"
    assert put_in("$timeFilter", view) == rf"""{times} AND "env" = 'it\'s' AND "env" =~ /^p/"""
    assert condition("env", "!=", "a\\b") == r""""env" != 'a\\b'"""


def test_newer_ad_hoc_filters_go_behind_the_first_where() -> None:
    view = View(0, 1, 1_000, filters=(("a", "=", "b"), ("c", "!=", "d")), filters_at_where=True)
    put = put_in("FROM (FROM t WHERE $timeFilter) WHERE x", view)
    first = """"a" = 'b' AND "c" != 'd' AND time >= 0ms and time <= 1ms"""
    assert put == f"FROM (FROM t WHERE {first}) WHERE x"


def test_every_place_of_a_query_is_found() -> None:
    made = dashboard()
    made["panels"] = [{"title": "row"}]
    made["panels"] += [{"title": "p", "timeFrom": "3m", "targets": [{"refId": "A", "query": "1"}]}]
    made["templating"]["list"] = [{"type": "query", "name": "v", "query": "2"}]
    made["annotations"]["list"] = [{"builtIn": 1}, {"name": "a", "target": {"query": "3"}}]
    found = list(queries("d", made))
    assert [(q.kind, q.text) for q in found] == [
        ("panel", "1"),
        ("variable", "2"),
        ("annotation", "3"),
    ]
    assert found[0].last_ms == 180_000
