"""Every query of the dashboards, on a real InfluxDB: no error, and the right numbers."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.center_servers import InfluxServer
from tests.grafana import ALL, FOLDER, Query, Value, View, dashboards, interpolated, queries
from tests.grafana_answers import ANSWERS, Answer, Rows
from tests.grafana_ground import FIRST, LONG, ground, windows
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backends.influxdb import Config, Influx
from wakizashi.query import query as wakizashi_query

DASHBOARDS = dashboards()
QUERIES = [query for name, found in DASHBOARDS.items() for query in queries(name, found)]
SHOWN = [query for query in QUERIES if query.kind != "variable"]
TABLE = "my-traffic"
END = FIRST + 8 * LONG


def view(**chosen: Value) -> View:
    return View(FIRST, END, 60_000, {"table": TABLE, **chosen})


VIEWS = {
    "all": view(),
    "in windows": replace(view(), interval_ms=LONG),
    "in part, ends at a start": replace(view(), start_ms=FIRST + 45_000, end_ms=FIRST + 4 * LONG),
    "one probe": view(probe=["shop/web-1"]),
    "two probes": view(probe=["shop/web-1", "vm+2"]),
    "source and destination": view(srcIP=["10.0.0.1"], dstIP=["10.0.0.101", "10.0.0.102"]),
    "IPv6": view(srcIP=["::1"]),
    "a device": view(device=["tun0"]),
    "a device of one probe": view(device=["wg0"]),
    "a tag": view(tag="env", tagValue=["a/b test"]),
    "all of a tag": view(tag="env", tagValue=[ALL]),
    "an ad-hoc filter": replace(view(), filters=(("env", "=", "prod"),)),
    "a newer ad-hoc filter": replace(
        view(), filters=(("env", "=", "prod"),), filters_at_where=True
    ),
    "not an ad-hoc filter": replace(view(), filters=(("env", "!=", "prod"),)),
}


@pytest.fixture(scope="module")
def backend(influxd: InfluxServer) -> Iterator[Influx]:
    """Holds the known windows, one of them delivered twice."""
    made = Influx(Config(host=influxd.url), f"g{uuid.uuid4().hex}", TABLE, 10)
    stored = [aggregate(window) for window in windows()]
    made.write(stored)
    made.write(stored[:1])
    yield made
    influxd.query(f'DROP DATABASE "{made._database}"')
    made.close()


def ask(influxd: InfluxServer, backend: Influx, statement: str) -> list[dict[str, Any]]:
    """The rows of an answer, tags among the columns."""
    body = json.loads(influxd.query(statement, db=backend._database, epoch="ms"))
    (result,) = body["results"]
    assert "error" not in result, f"{result['error']}: {statement}"
    return [
        {**series.get("tags", {}), **dict(zip(series["columns"], values, strict=True))}
        for series in result.get("series", ())
        for values in series["values"]
    ]


def rows(found: list[dict[str, Any]], answer: Answer) -> Rows:
    """What was found, by the keys of the answer; InfluxDB's time is none unless it is one of them."""
    values: Rows = {}
    for row in found:
        keys = tuple(row[name] for name in answer.keys)
        assert keys not in values, f"twice: {keys}"
        values[keys] = tuple(v for name, v in row.items() if name not in (*answer.keys, "time"))
    return values


def comparable(found: Rows) -> dict[Any, Any]:
    return {
        keys: tuple(None if value is None else pytest.approx(value, rel=1e-9) for value in values)
        for keys, values in found.items()
    }


def right(query: Query, seen: View, influxd: InfluxServer, backend: Influx) -> bool:
    """Whether the query's answer is what the backend's own rows come to."""
    answer, dashboard = ANSWERS[str(query)], DASHBOARDS[query.dashboard]
    statement = interpolated(query, dashboard, seen)
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    seen = replace(seen, variables={k: v for k, v in seen.variables.items() if k in names})
    start = seen.start_ms if query.last_ms is None else seen.end_ms - query.last_ms
    expected = answer.rows(ground(backend, replace(seen, start_ms=start)))
    return rows(ask(influxd, backend, statement), answer) == comparable(expected)


def test_there_is_an_answer_for_each_query() -> None:
    assert {str(query) for query in SHOWN} == set(ANSWERS)


@pytest.mark.parametrize("seen", VIEWS)
@pytest.mark.parametrize("query", SHOWN, ids=str)
def test_the_numbers_are_those_of_the_backend(
    query: Query, seen: str, influxd: InfluxServer, backend: Influx
) -> None:
    answer, chosen = ANSWERS[str(query)], VIEWS[seen]
    assert right(query, chosen, influxd, backend), (
        rows(
            ask(influxd, backend, interpolated(query, DASHBOARDS[query.dashboard], chosen)), answer
        ),
        answer.rows(ground(backend, chosen)),
    )


def test_the_known_windows_show_what_they_are_for(influxd: InfluxServer, backend: Influx) -> None:
    """In numbers that no code has worked out."""

    def answer(name: str) -> Rows:
        (query,) = (query for query in SHOWN if str(query) == name)
        statement = interpolated(query, DASHBOARDS[query.dashboard], VIEWS["in windows"])
        return rows(ask(influxd, backend, statement), ANSWERS[name])

    assert answer("fleet/Windows of each probe/A") == {
        ("shop/web-1",): (7, 1, 1),
        ("vm+2",): (6, 2, 3),
        ("vm-3",): (2, 0, 1),
    }
    assert answer("fleet/Probes/A") == {(): (3,)}
    assert answer("fleet/Probes heard lately/A") == {(): (2,)}
    assert answer("fleet/Last window of each probe/A")[FIRST + LONG, "vm-3"] == (2,)
    covered = answer("fleet/Time covered by windows/A")
    assert [covered[FIRST + at * LONG, "shop/web-1"] for at in (3, 4, 5)] == [(100,), (0,), (100,)]
    assert [covered[FIRST + at * LONG, "vm+2"] for at in (1, 2, 3)] == [(100,), (300,), (0,)]
    devices = answer("fleet/By probe and device/A")
    assert devices["vm-3", "eth0"][-1] == 0 and devices["vm-3", "wg0"][-1] == 14
    assert len(answer("traffic/Top pairs/A")) == 10
    assert len(answer("fleet/Bytes lost/")) == 4


def test_the_top_pairs_are_those_of_wakizashi_query(
    influxd: InfluxServer, backend: Influx, tmp_path: Path
) -> None:
    config = tmp_path / "center-config.yaml"
    config.write_text(
        f"backendConfig: {{type: influxdb, database: {backend._database}, table: {TABLE}, "
        f"influxConfig: {{host: '{influxd.url}'}}}}"
    )
    told = wakizashi_query(config, last="4m", by=["srcIP", "dstIP"], now_ms=END)
    (top,) = (found for found in SHOWN if str(found) == "traffic/Top pairs/A")
    statement = interpolated(top, DASHBOARDS["traffic"], replace(view(), start_ms=END - 239_999))
    shown = [
        {name: row[name] for name in ("srcIP", "dstIP", "packets")} | {"size": row["bytes"]}
        for row in ask(influxd, backend, statement)
    ]
    assert sorted(map(str, shown)) == sorted(str(_ordered(row)) for row in told[:10])


def _ordered(row: dict[str, str | int]) -> dict[str, str | int]:
    return {name: row[name] for name in ("srcIP", "dstIP", "packets", "size")}


def test_a_user_that_may_only_read_can_show_them(influxd_with_users: InfluxServer) -> None:
    """The one that deploy/grafana/README.md makes, by POST as the data source asks."""
    readme = (FOLDER / "README.md").read_text()
    database = f"g{uuid.uuid4().hex}"
    influxd_with_users.query(f'CREATE DATABASE "{database}"')
    for statement in re.findall(r"influx -execute [\"'](.*)[\"']\n", readme):
        influxd_with_users.query(statement.replace("wakizashi", f'"{database}"'))
    for query in QUERIES:
        statement = interpolated(query, DASHBOARDS[query.dashboard], view())
        data = urlencode({"q": statement, "db": database}).encode()
        url = f"{influxd_with_users.url}/query?u=grafana&p=SECRET"
        with urlopen(url, data, timeout=10) as answer:
            assert "error" not in json.load(answer)["results"][0], statement
    influxd_with_users.query("DROP USER grafana")
    influxd_with_users.query(f'DROP DATABASE "{database}"')


SOURCES = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]
PROBES = ["shop/web-1", "vm+2", "vm-3"]
ENVIRONMENTS = ["a/b test", "prod"]
OPTIONS: list[tuple[str, View, list[str]]] = [
    ("traffic/probe/", VIEWS["all"], PROBES),
    ("traffic/srcIP/", VIEWS["all"], ["0.0.0.0", *SOURCES, "::1"]),
    ("traffic/srcIP/", view(probe=["vm-3"]), SOURCES),
    (
        "traffic/dstIP/",
        view(probe=["vm-3", "shop/web-1"]),
        ["0.0.0.0", "10.0.0.101", "10.0.0.102", "10.0.0.150", "10.0.0.152", "::2"],
    ),
    ("traffic/tag/", VIEWS["all"], ["env", "probeIP"]),
    ("traffic/tagValue/", view(tag="env"), ENVIRONMENTS),
    ("fleet/probe/", VIEWS["all"], PROBES),
    ("fleet/device/", view(probe=["shop/web-1"]), ["eth0", "tun0"]),
    ("fleet/tag/", VIEWS["all"], ["device", "env"]),
    ("fleet/tagValue/", view(tag="env"), ENVIRONMENTS),
]


@pytest.mark.parametrize(("name", "chosen", "expected"), OPTIONS)
def test_what_there_is_to_choose(
    name: str, chosen: View, expected: list[str], influxd: InfluxServer, backend: Influx
) -> None:
    (asked,) = (found for found in QUERIES if str(found) == name)
    dashboard = DASHBOARDS[asked.dashboard]
    (variable,) = (v for v in dashboard["templating"]["list"] if v["name"] == asked.title)
    found = ask(influxd, backend, interpolated(asked, dashboard, chosen))
    options = [str(row.get("value", row.get("tagKey"))) for row in found]
    wanted = variable["regex"].strip("/")
    assert sorted(text for text in options if re.search(wanted, text)) == expected


def test_every_variable_that_asks_is_tried() -> None:
    assert {str(found) for found in QUERIES if found.kind == "variable"} == {o[0] for o in OPTIONS}


LONG_AGO = f"time >= {FIRST - 100 * LONG}ms and time <= {END + 100 * LONG}ms"
_OTHER = {"size": '"packets"', "number": '"duration"'}
MUTATIONS: dict[str, Callable[[str], str]] = {
    "another field": lambda text: re.sub(
        r'"(size|\w+_bytes|number)"(?=[),])', lambda m: _OTHER.get(m[1], '"own_packets"'), text
    ),
    "a field that is not there": lambda text: text.replace('"size"', '"sizes"').replace(
        '_bytes"', '_byte"'
    ),
    "all probes": lambda text: text.replace('"probe" =~ /^${probe:regex}$/ AND ', ""),
    "all tags": lambda text: text.replace("${tag:doublequote} =~ /^${tagValue:regex}$/ AND ", ""),
    "all sources": lambda text: text.replace('"srcIP" =~ /^${srcIP:regex}$/ AND ', ""),
    "all destinations": lambda text: text.replace('"dstIP" =~ /^${dstIP:regex}$/ AND ', ""),
    "all devices": lambda text: text.replace('"device" =~ /^${device:regex}$/ AND ', ""),
    "all times": lambda text: text.replace("$timeFilter", LONG_AGO),
    "sums for rates": lambda text: text.replace("/ $__interval_ms", "/ 1000"),
    "not summed": lambda text: text.replace("sum(", "last("),
    "windows for numbers": lambda text: text.replace(
        'count(distinct("number"))', 'count("number")'
    ),
    "no fill": lambda text: re.sub(r"fill\((null|0)\)", "fill(none)", text),
    "whole rates": lambda text: text.replace("1000.0 *", "1000 *"),
}
CHANGED = [
    (name, replace(query, text=change(query.text)))
    for name, change in MUTATIONS.items()
    for query in SHOWN
    if change(query.text) != query.text
    # Which field is counted, and how it is summed, makes no other pairs.
    and (str(query), name)
    not in {("traffic/Pairs/A", "another field"), ("traffic/Pairs/A", "not summed")}
]
MORE = {
    **VIEWS,
    "one destination": view(dstIP=["10.0.0.102"]),
    "no more": replace(view(), start_ms=FIRST + LONG, end_ms=FIRST + 3 * LONG),
}


def test_every_mutation_changes_something() -> None:
    assert {name for name, _ in CHANGED} == set(MUTATIONS)


@pytest.mark.parametrize(("name", "wrong"), CHANGED, ids=lambda value: str(value))
def test_a_wrong_query_is_noticed(
    name: str, wrong: Query, influxd: InfluxServer, backend: Influx
) -> None:
    def passes(seen: View) -> bool:
        try:
            return right(wrong, seen, influxd, backend)
        except (AssertionError, KeyError):
            return False

    assert not all(passes(seen) for seen in MORE.values())
