"""docs/top.md is what ``wakizashi top`` has: options, keys, and the JSON object."""

import re
from pathlib import Path

import click

from tests.unit.test_top_screen import HEADER
from tests.unit.test_top_traffic import out, window
from wakizashi.cli import top
from wakizashi.top import printing
from wakizashi.top.traffic import Traffic
from wakizashi.top.view import KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "top.md").read_text()


def table(heading: str) -> dict[str, str]:
    """From the text of the first cells below a heading, to the rest of their rows."""
    part = PAGE.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    rows = [line.replace("\\|", "/").strip("| ").split(" | ") for line in part.splitlines()[2:]]
    assert rows, heading
    return {row[0]: " | ".join(row[1:]) for row in rows}


def names(heading: str) -> set[str]:
    """What stands in backquotes in the first cells."""
    return {name for cell in table(heading) for name in re.findall(r"`([^`]+)`", cell)}


def test_options() -> None:
    told = {cell.strip("`").split()[0]: rest for cell, rest in table("option").items()}
    options = [each for each in top.params if isinstance(each, click.Option)]
    assert set(told) == {each.opts[0] for each in options}
    for each in options:
        if each.show_default:
            assert told[each.opts[0]].startswith(f"`{each.default}` |")


def test_keys() -> None:
    told = {" ".join(cell.replace("`", "").split()) for cell in table("keys")}
    assert told == {keys for keys, _ in KEYS}


def test_json() -> None:
    traffic, last = Traffic(2.0), window(out(5))
    traffic.add(last, 2.0)
    document = printing.document(HEADER, traffic, last, 2.0)
    assert names("key") == set(document)
    (device,), (pair,) = document["devices"], document["pairs"]
    assert names("key of a pair") == set(pair)
    assert names("tally of a device") == set(device["interval"]) == set(device["total"])
    for key in device:
        assert f"`{key}`" in table("key")["`devices`"]
    said = " ".join(table("key of a pair").values())
    for key in (*pair["interval"], *pair["total"], *pair["rates"][0]):
        assert key in said


def test_the_screen_is_one_of_eighty_by_twenty_four() -> None:
    picture = re.search(r"```\n( wakizashi top .*?)\n```", PAGE, re.DOTALL)
    assert picture is not None
    lines = picture[1].split("\n")
    assert len(lines) == 24
    assert max(map(len, lines)) == 80
