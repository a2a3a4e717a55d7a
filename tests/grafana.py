"""What Grafana makes of a dashboard's queries before they are sent: macros and variables put in.

Of its InfluxDB data source only what the dashboards in ``deploy/grafana`` use: queries written as
text, the formats ``raw``, ``regex`` and ``doublequote``, All with a value of its own, ad-hoc filters.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana"
ALL = "$__all"
"""What a variable holds while All is chosen."""

Value = str | list[str]


def dashboards() -> dict[str, dict[str, Any]]:
    """The dashboards by the name of their file."""
    return {
        path.stem: json.loads(path.read_text())
        for path in sorted((FOLDER / "dashboards").glob("*.json"))
    }


@dataclass(frozen=True)
class Query:
    """A query of a dashboard, as it is written there."""

    dashboard: str
    kind: str
    """``panel``, ``variable`` or ``annotation``."""
    title: str
    ref: str
    text: str
    last_ms: int | None = None
    """The panel's own time range, up to the end of the dashboard's."""

    def __str__(self) -> str:
        return f"{self.dashboard}/{self.title}/{self.ref}"


def queries(name: str, dashboard: Mapping[str, Any]) -> Iterator[Query]:
    """Every query of a dashboard."""
    for panel in dashboard["panels"]:
        last = panel.get("timeFrom")
        last_ms = int(last.removesuffix("m")) * 60_000 if last else None
        for target in panel.get("targets", []):
            yield Query(name, "panel", panel["title"], target["refId"], target["query"], last_ms)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield Query(name, "variable", variable["name"], "", variable["query"])
    for annotation in dashboard["annotations"]["list"]:
        if "builtIn" not in annotation:
            text = annotation["target"]["query"]
            yield Query(name, "annotation", annotation["name"], "", text)


@dataclass(frozen=True)
class View:
    """What a person has chosen: a range of time, variables, ad-hoc filters."""

    start_ms: int
    end_ms: int
    interval_ms: int
    variables: dict[str, Value] = field(default_factory=dict)
    """Other than as the dashboard comes; a list where several may be chosen."""
    filters: tuple[tuple[str, str, str], ...] = ()
    """Key, operator, value."""
    filters_at_where: bool = False
    """Behind the first WHERE, as Grafana from 12.1 on puts them; those before 10.3 go with the time."""


_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}")
_REGEX_SPECIAL = re.compile(r"[\\^$*+?.()|\[\]{}/]")


def formatted(value: Value, form: str | None) -> str:
    """A value as it stands in the query; ValueError where Grafana's result would make no sense."""
    values = [value] if isinstance(value, str) else value
    if form == "regex":
        escaped = [_REGEX_SPECIAL.sub(r"\\\g<0>", text) for text in values]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
    if form == "doublequote":
        return ",".join('"' + text.replace('"', r"\"") + '"' for text in values)
    if form == "raw" and isinstance(value, str):
        return value
    raise ValueError(f"{value!r} has no format {form!r}")


def interval(milliseconds: int) -> str:
    """``90000`` is ``90s``, ``120000`` is ``2m``."""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def condition(key: str, operator: str, value: str) -> str:
    """An ad-hoc filter in InfluxQL."""
    if operator in ("=~", "!~", "<", ">"):
        return f'"{key}" {operator} {value}'
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"\"{key}\" {operator} '{quoted}'"


def _chosen(variable: Mapping[str, Any], view: View) -> tuple[Value, str | None]:
    """The value, and what All stands for if it is chosen."""
    value: Value = view.variables.get(variable["name"], variable["current"].get("value", ""))
    if value in (ALL, [ALL]):
        return value, variable["allValue"]
    return value, None


def interpolated(query: Query, dashboard: Mapping[str, Any], view: View) -> str:
    """The query as InfluxDB gets it.

    Raises:
        ValueError: a variable that is not there, or without a format that fits.
    """
    start = view.start_ms if query.last_ms is None else view.end_ms - query.last_ms
    known = {variable["name"]: variable for variable in dashboard["templating"]["list"]}

    def value(found: re.Match[str]) -> str:
        name, form = found.groups()
        if name not in known:
            raise ValueError(f"{query}: no variable {name}")
        chosen, everything = _chosen(known[name], view)
        return formatted(chosen, form) if everything is None else everything

    text = _VARIABLE.sub(value, query.text)
    times = f"time >= {start}ms and time <= {view.end_ms}ms"
    filters = [condition(*each) for each in view.filters]
    if view.filters_at_where:
        text = text.replace("WHERE", f"WHERE {' AND '.join(filters)} AND", 1)
        filters = []
    macros = {
        "$timeFilter": " AND ".join([times, *filters]),
        "$__range_ms": str(view.end_ms - start),
        "$__interval_ms": str(view.interval_ms),
        "$__interval": interval(view.interval_ms),
    }
    for macro, result in macros.items():
        text = text.replace(macro, result)
    if left := re.findall(r"\$\w+|\$\{", text):
        raise ValueError(f"{query}: {', '.join(left)} is not put in")
    return text
