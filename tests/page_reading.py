"""Reads numbers off the dashboard's page, and compares them with what is stored."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tests.browser import WINDOW, Shop
from tests.center_servers import until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Clauses = Sequence[Sequence[Mapping[str, str]]]


def cells(table: "Locator") -> list[list[str]]:
    """A table's body: the exact number where there is one, else the text."""
    found: list[list[str]] = table.evaluate(
        "table => [...table.tBodies[0].rows].map(row =>"
        " [...row.cells].map(cell => cell.dataset.value ?? cell.textContent))"
    )
    return found


def number(page: "Page", kpi: str) -> int:
    """One of those at the top."""
    return int(page.locator(f"#kpi-{kpi}").get_attribute("data-value") or "-1")


def talkers(page: "Page") -> list[tuple[str, str, int, int]]:
    """Source, destination, bytes, packets; as they are sorted."""
    found = page.locator("#talkers-table tbody tr").evaluate_all(
        "rows => rows.map(row => ['src', 'dst', 'bytes', 'packets'].map(name => row.dataset[name]))"
    )
    return [(src, dst, int(size), int(packets)) for src, dst, size, packets in found]


def chips(page: "Page") -> list[str]:
    """The filters, as ``kind value``."""
    found: list[str] = page.get_by_test_id("chip").evaluate_all(
        "chips => chips.map(chip => `${chip.dataset.kind} ${chip.dataset.value}`.trim())"
    )
    return found


def parameters(page: "Page") -> dict[str, list[str]]:
    """Of the page's address, each with its values."""
    found: dict[str, list[str]] = page.evaluate(
        "() => { const all = new URLSearchParams(location.search);"
        " return Object.fromEntries([...all.keys()].map(name => [name, all.getAll(name)])); }"
    )
    return found


def shows(page: "Page", shop: Shop, since: int, end: int, where: Clauses = ()) -> None:
    """The page comes to show all pairs of that span, and nothing else, everywhere."""
    rows = shop.store.traffic(since, end, "srcIP", "dstIP", where=where)
    wanted = sorted(
        (str(row["srcIP"]), str(row["dstIP"]), int(row["size"]), int(row["packets"]))
        for row in rows
    )
    whole = sum(row[2] for row in wanted)
    assert whole
    until(lambda: number(page, "bytes") == whole, f"{whole} bytes; {page.url}")
    assert number(page, "pairs") == len(wanted)
    shown = talkers(page)
    assert set(shown) <= set(wanted)
    assert len(shown) == min(len(wanted), 1000 if "rows=1000" in page.url else 25)
    for name in ("flows", "matrix"):
        table = page.locator(f"#{name}-table")
        text = f"the {name} of {whole} bytes"
        until(lambda: sum(int(row[2]) for row in cells(table)) == whole, text)


def brush(page: "Page", first: int, last: int) -> None:
    """Drag over the river from one bucket to another, both within."""
    page.locator("#river-chart").scroll_into_view_if_needed()
    overlay = page.locator("#river .overlay").bounding_box()
    assert overlay is not None
    buckets = page.locator("#river-table tbody tr").count()
    x = [overlay["x"] + overlay["width"] * (each + 0.5) / buckets for each in (first, last)]
    y = overlay["y"] + overlay["height"] / 2
    page.mouse.move(x[0], y)
    page.mouse.down()
    page.mouse.move(sum(x) / 2, y)
    page.mouse.move(x[1], y)
    page.mouse.up()


def bucket(since: int, number: int) -> int:
    """When a bucket of the river begins."""
    return since + number * WINDOW
