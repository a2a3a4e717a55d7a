"""deploy/grafana: what Grafana would not say, or only by an empty panel."""

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from tests.grafana import FOLDER, Query, View, dashboards, interpolated, queries

DASHBOARDS = dashboards()
PANELS = [(name, panel) for name, found in DASHBOARDS.items() for panel in found["panels"]]
SHOWING = [(name, panel) for name, panel in PANELS if panel["type"] != "row"]
QUERIES = [query for name, found in DASHBOARDS.items() for query in queries(name, found)]
VARIABLES = [(n, v) for n, found in DASHBOARDS.items() for v in found["templating"]["list"]]
DATA_SOURCE = {"type": "influxdb", "uid": "${DS}"}
README = (FOLDER / "README.md").read_text()


def identity(value: Any) -> str:
    return value["title"] if isinstance(value, dict) and "title" in value else str(value)


each_panel = pytest.mark.parametrize(("name", "panel"), SHOWING, ids=identity)
each_query = pytest.mark.parametrize("query", QUERIES, ids=str)


def test_the_dashboards_are_there_and_have_names_of_their_own() -> None:
    assert set(DASHBOARDS) == {"traffic", "fleet"}
    for key in ("uid", "title"):
        assert len({found[key] for found in DASHBOARDS.values()}) == len(DASHBOARDS)
    for name, found in DASHBOARDS.items():
        assert re.fullmatch(r"[a-z-]{1,40}", found["uid"])
        assert "id" not in found, f"{name}: the number of some database"
        assert found["schemaVersion"] >= 38 and found["description"]
        assert f"[{name}.json](dashboards/{name}.json)" in README
        assert f"**{found['title']}**" in README


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_numbers_and_titles_of_their_own(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]
    for key in ("id", "title"):
        assert len({panel[key] for panel in panels}) == len(panels)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_lie_within_the_width_and_not_over_each_other(name: str) -> None:
    cells = [
        {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        for g in (panel["gridPos"] for panel in DASHBOARDS[name]["panels"])
    ]
    assert all(0 <= x < 24 for cell in cells for x, _ in cell)
    assert not any(one & other for one, other in combinations(cells, 2))
    assert len(set().union(*cells)) == 24 * max(y + 1 for cell in cells for _, y in cell), "a hole"


@each_panel
def test_a_panel_says_what_it_shows_and_in_what_unit(name: str, panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 20 and panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]


@each_panel
def test_a_panel_asks_the_chosen_data_source(name: str, panel: dict[str, Any]) -> None:
    assert panel["datasource"] == DATA_SOURCE
    assert [target["datasource"] for target in panel["targets"]] == [DATA_SOURCE] * len(
        panel["targets"]
    )
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)
    assert all(target["rawQuery"] for target in panel["targets"])


@each_panel
def test_no_interval_is_shorter_than_a_window(name: str, panel: dict[str, Any]) -> None:
    """30 s, as the data source and the sed of the README have it."""
    assert panel["interval"] == "30s"
    assert '"interval": "30s"' in README


def test_the_dearest_query_has_no_more_intervals_than_the_readme_says() -> None:
    (panel,) = (panel for _, panel in SHOWING if panel["title"] == "Top pairs over time")
    assert f"{panel['maxDataPoints']} intervals at most (`maxDataPoints`)" in README


@each_panel
def test_what_a_panel_changes_by_name_is_there(name: str, panel: dict[str, Any]) -> None:
    """A column that was renamed is called by its new name where a table is sorted or coloured."""
    steps = {step["id"]: step["options"] for step in panel.get("transformations", [])}
    text = " ".join(target["query"] for target in panel["targets"])
    asked = {*re.findall(r'"(\w+)"', text), "Time"}
    renamed = steps.get("organize", {}).get("renameByName", {})
    assert {*renamed, *steps.get("organize", {}).get("indexByName", {})} <= asked
    names = (asked - set(renamed)) | set(renamed.values())
    if matrix := steps.get("groupingToMatrix"):
        assert {matrix[key] for key in ("columnField", "rowField", "valueField")} <= asked
        # Grafana gives every column of the matrix the name of the value's field otherwise.
        assert panel["fieldConfig"]["defaults"]["displayName"] == "${__field.name}"
        names = {rf"{matrix['rowField']}\{matrix['columnField']}"}
    for override in panel["fieldConfig"]["overrides"]:
        matcher, options = override["matcher"]["id"], override["matcher"]["options"]
        if matcher == "byName":
            assert options in names
        elif matcher == "byFrameRefID":
            assert options in {target["refId"] for target in panel["targets"]}
        else:
            assert set(re.findall(r"\w+", options)) <= names
    for column in panel["options"].get("sortBy", []):
        if isinstance(column, dict):
            assert column["displayName"] in names


@each_query
def test_a_query_keeps_to_the_chosen_time(query: Query) -> None:
    assert query.text.count("$timeFilter") == 1, "ad-hoc filters come with it: the innermost only"
    assert query.text.count("WHERE") <= 1, "newer ones put them behind a WHERE"
    if query.text.startswith("SELECT"):
        innermost = query.text.rpartition("FROM")[2]
        assert "$timeFilter" in innermost
    for group in re.findall(r"time\(([^)]*)\)", query.text):
        assert group == "$__interval"


@each_query
def test_a_query_keeps_to_what_is_chosen(query: Query) -> None:
    """Each panel and mark heeds each variable of its dashboard that chooses among tags."""
    if query.kind == "variable":
        return
    names = [v["name"] for n, v in VARIABLES if n == query.dashboard and v.get("multi")]
    if query.kind == "annotation" and query.dashboard == "traffic":
        names = ["probe", "tagValue"]  # ledgers have no addresses
    for name in names:
        assert f"=~ /^${{{name}:regex}}$/" in query.text


@each_query
def test_a_query_has_a_format_for_each_variable(query: Query) -> None:
    interpolated(query, DASHBOARDS[query.dashboard], View(0, 60_000, 30_000))
    assert not re.findall(r"\$(?!timeFilter|__interval|__range_ms|/|\{)", query.text)


@pytest.mark.parametrize(("name", "variable"), VARIABLES, ids=lambda v: identity(v)[:40])
def test_a_variable_says_what_it_is(name: str, variable: dict[str, Any]) -> None:
    assert variable["label"] and variable["description"].endswith(".")
    if variable["type"] in ("query", "adhoc"):
        assert variable["datasource"] == DATA_SOURCE
    if variable["type"] == "query":
        assert variable["refresh"] == 2, "with the time range"
        assert variable["multi"] == variable["includeAll"]
    if variable.get("multi"):
        assert variable["allValue"] == ".*", "else All is a list of all values, too long to send"
        assert variable["current"]["value"] == ["$__all"]


def test_the_variables_are_those_that_people_look_for() -> None:
    for name, wanted in {
        "traffic": ["DS", "table", "probe", "srcIP", "dstIP", "tag", "tagValue", "topN", "filter"],
        "fleet": ["DS", "table", "probe", "device", "tag", "tagValue", "filter"],
    }.items():
        assert [v["name"] for n, v in VARIABLES if n == name] == wanted


def test_marks_ask_the_chosen_data_source() -> None:
    for found in DASHBOARDS.values():
        for annotation in found["annotations"]["list"][1:]:
            assert annotation["datasource"] == annotation["target"]["datasource"] == DATA_SOURCE
            asked = re.findall(r'"(\w+)"', annotation["target"]["query"])
            assert {annotation["target"][key] for key in ("textColumn", "tagsColumn")} <= {*asked}


def test_no_host_is_named() -> None:
    """Data source, addresses and passwords are the operator's."""
    for path in FOLDER.rglob("*"):
        if path.suffix not in (".json", ".yaml"):
            continue
        text = path.read_text().replace("0.0.0.0", "")
        assert not re.findall(r"\d+\.\d+\.\d+\.\d+|https?://|localhost", text), path


def test_what_is_provisioned_fits() -> None:
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/wakizashi.yaml").read_text())[
        "datasources"
    ]
    assert source["type"] == "influxdb" and source["access"] == "proxy"
    assert source["jsonData"]["version"] == "InfluxQL"
    chosen = [v["current"]["value"] for _, v in VARIABLES if v["type"] == "datasource"]
    assert chosen == [source["uid"]] * len(DASHBOARDS), "the first of several would do as well"
    assert source["jsonData"]["timeInterval"] == "30s"
    variables = re.findall(r"\$(WAKIZASHI_\w+)", json.dumps(source))
    for variable in variables:
        assert README.count(f"{variable}=") == 2, f"{variable}: on a VM and in Kubernetes"
    (provider,) = yaml.safe_load((FOLDER / "provisioning/dashboards/wakizashi.yaml").read_text())[
        "providers"
    ]
    assert provider["type"] == "file"
    assert f"-t {provider['options']['path']} deploy/grafana/dashboards/*.json" in README


def test_the_condition_for_own_tags_is_the_one_that_the_panels_use() -> None:
    assert '"env" =~ /^${env:regex}$/' in README
    variable = 'SHOW TAG VALUES FROM "${table:raw}" WITH KEY = "env" WHERE $timeFilter'
    assert variable in README
    (like,) = (v for n, v in VARIABLES if (n, v["name"]) == ("traffic", "probe"))
    assert like["query"] == variable.replace('"env"', '"probe"')
