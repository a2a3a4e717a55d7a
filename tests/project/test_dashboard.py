"""docs/dashboard.md is what ``wakizashi dashboard`` has: options, routes, parameters, states."""

import re
from pathlib import Path

import click

from tests.asgi import request
from tests.dashboard_data import END, SPAN, dashboard, windows
from tests.memory_backend import Memory
from wakizashi.cli import dashboard as command
from wakizashi.dashboard import parameters
from wakizashi.dashboard.answers import Answers
from wakizashi.dashboard.app import Routes
from wakizashi.dashboard.names import Labels
from wakizashi.dashboard.static import Static

PAGE = (Path(__file__).parents[2] / "docs" / "dashboard.md").read_text()


def table(*heads: str) -> list[list[str]]:
    """The rows of the table with this head."""
    head = "| " + " | ".join(heads) + " |"
    part = PAGE.partition(f"\n{head}\n")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines()[1:]]
    assert rows and all(len(row) == len(heads) for row in rows), head
    return rows


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_options() -> None:
    told = {quoted(row[0])[0].split()[0]: row[1] for row in table("option", "default", "meaning")}
    options = {max(each.opts, key=len): each for each in command.params}
    assert set(told) == set(options)
    for name, option in options.items():
        assert isinstance(option, click.Option)
        if option.show_default:
            assert told[name] == f"`{option.default}`"


def test_routes() -> None:
    answers = Answers(Memory(), Labels(), table="traffic")
    paths = {path.replace("{name:path}", "…") for path in Routes(answers, Static()).table}
    assert {quoted(row[0])[0] for row in table("route", "answers")} == paths


def test_parameters_that_select() -> None:
    rows = table("parameter", "default", "meaning")
    told = {name: row[1] for row in rows for name in quoted(row[0])}
    assert set(told) == set(parameters.SELECTING)
    assert told["last"] == f"`{parameters.DEFAULT_LAST}`"
    assert f"up to {parameters.MOST_VALUES} times" in PAGE


def test_parameters_of_routes() -> None:
    routes: dict[str, set[str]] = {}
    defaults = {
        **{name: getattr(parameters.river([], END), name) for name in parameters.RIVER},
        **{name: getattr(parameters.Talkers(), name) for name in parameters.TALKERS},
        **{name: getattr(parameters.span([], END), name) for name in ("links", "peers")},
    }
    for name, where, default, values in table("parameter", "route", "default", "values"):
        (parameter,) = quoted(name)
        for route in quoted(where):
            routes.setdefault(route, set()).add(parameter)
        shown = defaults.pop(parameter)
        assert default == (f"`{shown}`" if shown else "none")
        if bounds := re.search(r"(\d+) to (\d+)", values):
            check_bounds(parameter, int(bounds[1]), int(bounds[2]))
        elif parameter != "find":
            choices = {"by": parameters.BY, "sort": parameters.SORTS, "order": parameters.ORDERS}
            assert quoted(values) == list(choices[parameter])
    assert not defaults
    assert {route: set(names) for route, names in routes.items()} == {
        "river": set(parameters.RIVER),
        "span": set(parameters.SPAN),
        "talkers": set(parameters.TALKERS),
    }


def check_bounds(name: str, least: int, most: int) -> None:
    ask = parameters.river if name in parameters.RIVER else parameters.span
    for value, permitted in ((least - 1, False), (least, True), (most, True), (most + 1, False)):
        try:
            ask([(name, str(value))], END)
        except parameters.ParameterError:
            assert not permitted, (name, value)
        else:
            assert permitted, (name, value)


async def test_keys_of_the_answers() -> None:
    served = dashboard(Memory(windows()))
    told = {quoted(row[0])[0]: set(quoted(row[1])) for row in table("route", "answers")}
    head = {"since", "until", "now", "by"}
    for route in ("about", "river", "span", "talkers", "fleet"):
        url = f"/api/v1/{route}" + ("" if route == "about" else f"?{SPAN}")
        found = (await request(served, url)).json
        path = f"/api/v1/{route}"
        known = told[path]
        assert set(found) - known - head == set(), route
        if route == "river":
            assert set(found["series"][0]) <= known
        if route == "span":
            assert {*found["flows"], *found["matrix"]} <= known
        if route == "talkers":
            assert set(found["talkers"]) <= known
        if route == "fleet":
            ledger = {"device", "counted", "own", "non_ip", "dropped", "other", "lost"}
            assert set(found["probes"][0]) - ledger <= known


def test_states() -> None:
    assert [quoted(row[0]) for row in table("status", "meaning")] == [["ok"], ["late"], ["silent"]]
