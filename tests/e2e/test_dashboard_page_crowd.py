"""The dashboard's pictures of many: no name is lost in the flows, and no row is cut in the matrix."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import SINCE, WINDOW, Looks, Shop, served, store
from tests.center_servers import until
from tests.fleet_data import HOSTS
from wakizashi.model import Ledger, LedgerRecord, StoredWindow, Tally, TrafficRecord

PROBES, PEERS = 60, 120
ROWS = (2, 4, 7, 11, 17, 24)
"""Heights of the matrix's rows, in pixels; at first the last but one."""
PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1440, "height": 1000}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of one window of many probes: the first few send nearly all, and all to different peers."""
    windows = []
    for number in range(PROBES):
        probe, own = f"crowd/probe-{number:03}", f"10.9.0.{number}"
        records = tuple(
            TrafficRecord(SINCE, probe, own, own, f"10.8.0.{peer}", 10**9 // (1 + peer) ** 3, 1)
            for peer in range(number % 2, PEERS, 1 + number)
        )
        sums = Tally(len(records), sum(record.size for record in records))
        ledger = Ledger(device=sums, counted=sums)
        ledgers = (LedgerRecord(SINCE, probe, "eth0", 0, WINDOW, ledger),)
        windows.append(StoredWindow(probe, SINCE, (), records, ledgers))
    folder = tmp_path_factory.mktemp("crowd")
    with served(store(folder, windows)) as address:
        yield f"{address}/?since={SINCE}&until={SINCE + WINDOW}"


# What ECharts has drawn for each end: its name, whether it was left out, and the box of its text.
NAMES = """() => {
  const chart = echarts.getInstanceByDom(document.getElementById("flows-chart"));
  const data = chart.getModel().getSeriesByIndex(0).getData();
  return [...Array(data.count()).keys()].map((index) => {
    const text = data.getItemGraphicEl(index).getTextContent();
    const box = text.getBoundingRect().clone();
    box.applyTransform(text.getComputedTransform());
    return { left: text.ignore, x: box.x, y: box.y };
  });
}"""


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("src", ["", "&src=10.9.0.0"], ids=["all", "one-source"])
def test_every_end_of_a_crowd_has_its_name(
    crowd: str, looks: Looks, viewport: Any, src: str
) -> None:
    page = looks.open(f"{crowd}{src}", viewport=viewport)
    chart = page.locator("#flows-chart")
    until(lambda: chart.evaluate("node => node.clientHeight") > 550, "the picture is taller")
    names: list[dict[str, Any]] = []

    def are_drawn() -> bool:
        names[:] = page.evaluate(NAMES)
        height = page.evaluate(
            "() => echarts.getInstanceByDom(document.getElementById('flows-chart')).getHeight()"
        )
        return height > 550 and max(one["y"] for one in names) > 500

    until(are_drawn, "it is drawn as tall")
    assert len(names) > 30
    assert [one for one in names if one["left"]] == []
    middle = page.evaluate("document.getElementById('flows-chart').clientWidth / 2")
    for side in (True, False):
        tops = sorted(one["y"] for one in names if (one["x"] < middle) is side)
        apart = [second - first for first, second in pairwise(tops)]
        assert min(apart, default=12) > 11


def test_a_picture_of_few_is_as_it_was(crowd: str, shop: Shop, looks: Looks) -> None:
    page = looks.open(crowd)
    chart = page.locator("#flows-chart")
    expect(chart).to_have_attribute("data-crowded", "")
    page.locator("#fleet-table").get_by_role("button", name="crowd/probe-059").last.click()
    expect(chart).not_to_have_attribute("data-crowded", "")
    assert chart.evaluate("node => node.clientHeight") == 460


def sizes(page: Page) -> dict[str, int]:
    """Of the matrix: its window, all of it, and the room that there is; pixels."""
    found: dict[str, int] = page.evaluate(
        """() => {
          const box = document.getElementById("matrix-chart");
          const all = box.querySelector(".extent");
          return { width: box.clientWidth, height: box.clientHeight, outer: box.offsetHeight,
            room: box.parentElement.clientHeight,
            all: parseFloat(all.style.height) || 0, across: parseFloat(all.style.width) || 0 };
        }"""
    )
    return found


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("probes", [PROBES, 8, 1])
def test_the_matrix_ends_with_a_whole_row(
    crowd: str, looks: Looks, viewport: Any, probes: int
) -> None:
    more = (
        f"&probe=crowd/probe-000{''.join(f'&probe=crowd/probe-{n:03}' for n in range(1, probes))}"
    )
    page = looks.open(crowd + (more if probes < PROBES else ""), viewport=viewport)
    note = f"{PEERS} peers, {probes} probe{'s' if probes > 1 else ''}"
    expect(page.locator("#matrix-note")).to_have_text(note)

    def ends_well(row: int) -> bool:
        now = sizes(page)
        top = now["all"] - row * PEERS
        return (
            top in (24, 96)
            and (now["height"] - top) % row == 0
            and now["outer"] <= now["room"] < now["outer"] + row + 1
        )

    for row in reversed(ROWS[:-1]):
        until(lambda row=row: ends_well(row), f"whole rows of {row} pixels")  # type: ignore[misc]
        if row != ROWS[0]:
            page.locator("#matrix-out").click()


def test_the_matrix_says_what_is_out_of_sight(crowd: str, shop: Shop, looks: Looks) -> None:
    page = looks.open(crowd)
    more = page.locator("#matrix-more")
    expect(more).to_have_text(re.compile(r"^95 more peers, \d\d more probes$"))
    page.locator("#matrix-chart").evaluate("box => { box.scrollTop = box.scrollHeight; }")
    now = sizes(page)
    # At the end of the way too, all rows in sight are whole.
    assert page.locator("#matrix-chart").evaluate("box => box.scrollTop") % 17 == 0
    assert now["all"] - 96 == 17 * PEERS
    page.goto(shop.url(f"&probe=shop/db&host={HOSTS['db']}"))
    expect(page.locator("#matrix-note")).to_have_text("3 peers, 1 probe")
    expect(more).to_have_text("")
    until(lambda: sizes(page)["height"] == 24 + 3 * 17, "no more room than it needs")
