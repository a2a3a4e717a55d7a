"""The page of the dashboard as files: what no browser would tell, or only somebody else's."""

import re
from math import prod
from pathlib import Path

import pytest

from wakizashi.dashboard import parameters
from wakizashi.model import MAX_TIME_MS

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src/wakizashi/dashboard/static"
OWN = sorted(path for path in STATIC.iterdir() if path.is_file())
MODULES = [path for path in OWN if path.suffix == ".js"]
PAGE = (STATIC / "index.html").read_text()
NAMESPACE = "http://www.w3.org/2000/svg"
MOST_LINES = 310


def named(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", OWN, ids=named)
def test_page_loads_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text().replace(NAMESPACE, "")
    assert not re.findall(r"https?://|[\"'(]//[a-z]", text)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_module_takes_no_markup(path: Path) -> None:
    """Names come from strangers: text is set as text, and nothing is evaluated."""
    dangerous = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    assert not re.findall(dangerous, path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_module_says_what_it_is_and_is_of_readable_size(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("// ")
    assert len(lines) <= MOST_LINES


def test_page_has_no_inline_script() -> None:
    """Its Content-Security-Policy would refuse them."""
    assert not re.findall(r"<script(?![^>]* src=)", PAGE)
    assert not re.findall(r"<[^>]+ on[a-z]+=", PAGE)


def test_elements_that_modules_ask_for_are_there() -> None:
    sources = [path.read_text() for path in MODULES]
    asked = {name for text in sources for name in re.findall(r"\bat\(\"([\w-]+)\"\)", text)}
    made = {name for text in sources for name in re.findall(r"\bid: \"([\w-]+)\"", text)}
    assert asked <= made | set(re.findall(r" id=\"([\w-]+)\"", PAGE))


def test_imports_are_there() -> None:
    for path in MODULES:
        for name, source in re.findall(
            r"import \{([^}]*)\} from \"\./([\w.-]+)\"", path.read_text()
        ):
            exported = re.findall(
                r"^export (?:async )?(?:function|const|class|let) (\w+)",
                (STATIC / source).read_text(),
                re.MULTILINE,
            )
            assert {one.strip() for one in name.split(",")} <= set(exported), (
                f"{path.name}: {source}"
            )


def test_modules_that_the_start_needs_are_asked_for_at_once() -> None:
    """Each that main.js imports, by itself or by others, and nothing else."""
    needed = ["main.js"]
    for name in needed:  # grows meanwhile
        imported = re.findall(
            r"^import .* from \"\./([\w.-]+)\";$", (STATIC / name).read_text(), re.M
        )
        needed += sorted(set(imported) - set(needed))
    asked = re.findall(r"<link rel=\"modulepreload\" href=\"static/([\w.-]+)\">", PAGE)
    assert sorted(asked) == sorted(needed)


def test_the_page_knows_what_the_server_takes() -> None:
    """It tells of an address what the server would refuse, and asks for nothing that it refuses."""
    state = (STATIC / "state.js").read_text()

    def listed(name: str) -> tuple[str, ...]:
        (found,) = re.findall(rf"^export const {name} = \[(.*)\];", state, re.M)
        return tuple(re.findall(r"\"(\w+)\"", found))

    def number(name: str, text: str = state) -> int:
        (found,) = re.findall(rf"^(?:export )?const {name} = ([\d_* ]+);", text, re.M)
        return prod(int(factor) for factor in found.split("*"))

    assert listed("BYS") == tuple(parameters.BY)
    assert listed("SORTS") == parameters.SORTS
    assert listed("ORDERS") == parameters.ORDERS
    assert set(listed("FILTERS")) == set(parameters.SELECTING) - {"last", "since", "until"}
    assert number("MOST_SPAN_MS") == parameters.MOST_SPAN_MS
    assert number("MOST_TEXT") == parameters.MOST_TEXT
    assert number("MOST_TIME_MS", (STATIC / "address.js").read_text()) == MAX_TIME_MS
    now = MAX_TIME_MS
    assert parameters.talkers([("rows", str(number("MOST_ROWS")))], now).talkers.rows == 1000
    with pytest.raises(parameters.ParameterError):
        parameters.talkers([("rows", str(number("MOST_ROWS") + 1))], now)


def test_both_themes_have_the_same_colours() -> None:
    tokens = (STATIC / "tokens.css").read_text()
    light, dark = tokens.split(':root[data-theme="dark"]')
    colours = re.compile(r"(--[\w-]+):\s*(?:#|rgba\(|0 )")
    assert set(colours.findall(light)) == set(colours.findall(dark))


def test_colours_that_are_used_are_defined() -> None:
    defined = set(re.findall(r"(--[\w-]+):", (STATIC / "tokens.css").read_text()))
    text = "".join(path.read_text() for path in OWN if path.name != "tokens.css")
    # Set by the modules, each with a default.
    own = set(re.findall(r"setProperty\(\"(--[\w-]+)\"", text))
    assert set(re.findall(r"var\((--[\w-]+)", text)) <= defined | own
    assert set(re.findall(r"colour\(\"(--[\w-]+)\"\)", text)) <= defined


def test_vendored_chart_library_comes_with_its_terms() -> None:
    vendor = STATIC / "vendor"
    version = re.search(r't\.version="([\d.]+)"', (vendor / "echarts.min.js").read_text())
    assert version
    assert f"Apache ECharts {version[1]}" in (ROOT / "NOTICE").read_text()
    assert "Apache License" in (vendor / "echarts.LICENSE").read_text()
    assert "Apache Software Foundation" in (vendor / "echarts.NOTICE").read_text()
    assert "Bostock" in (vendor / "echarts.LICENSE-d3").read_text()
