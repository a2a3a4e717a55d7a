"""What a reader chooses on the dashboard's page: a span, filters, an order."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import SINCE, UNTIL, WINDOW, Looks, Shop
from tests.center_servers import until
from tests.fleet_data import HOSTS
from tests.page_reading import brush, bucket, chips, parameters, shows, talkers

ALL = "&rows=1000"
DB, WEB, CACHE = HOSTS["db"], HOSTS["web-1"], HOSTS["cache"]


# -- the span ------------------------------------------------------------------------------------


def test_a_span_dragged_on_the_river_is_followed_by_everything(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    brush(page, 20, 49)
    expect(page.locator("#brush")).to_be_visible()
    shows(page, shop, bucket(SINCE, 20), bucket(SINCE, 50))
    asked = parameters(page)
    assert (asked["from"], asked["to"]) == ([str(bucket(SINCE, 20))], [str(bucket(SINCE, 50))])
    # The river keeps all of its time.
    assert page.locator("#river-table tbody tr").count() == (UNTIL - SINCE) // WINDOW
    page.locator("#chip-span").get_by_role("button").click()
    shows(page, shop, SINCE, UNTIL)
    expect(page.locator("#brush")).to_be_hidden()
    assert "from" not in parameters(page)


def test_a_span_dragged_backwards_and_given_up_by_a_click(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    brush(page, 89, 80)
    shows(page, shop, bucket(SINCE, 80), UNTIL)
    brush(page, 10, 10)
    shows(page, shop, SINCE, UNTIL)


def test_a_span_moved_by_its_edge(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(f"{ALL}&from={bucket(SINCE, 30)}&to={bucket(SINCE, 40)}"))
    shows(page, shop, bucket(SINCE, 30), bucket(SINCE, 40))
    grip = page.locator("#brush .grip.to").bounding_box()
    overlay = page.locator("#river .overlay").bounding_box()
    assert grip is not None
    assert overlay is not None
    y = grip["y"] + grip["height"] / 2
    page.mouse.move(grip["x"] + grip["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(overlay["x"] + overlay["width"] * 59.5 / 90, y, steps=3)
    page.mouse.up()
    shows(page, shop, bucket(SINCE, 30), bucket(SINCE, 60))


def test_a_span_chosen_by_keys_on_the_river(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    river = page.get_by_role("application", name="Traffic by pair")
    river.focus()
    river.press("End")
    river.press("PageUp")
    river.press("ArrowLeft")
    expect(page.locator("#announce")).to_contain_text("db → backup")  # what is there is read out
    river.press("Shift+ArrowLeft")
    river.press("Shift+ArrowLeft")
    shows(page, shop, bucket(SINCE, 76), bucket(SINCE, 79))
    river.press("Escape")
    shows(page, shop, SINCE, UNTIL)


def test_a_span_moved_bit_by_bit_is_one_step_back(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    # All at once: keys may be slow on a busy machine, and what is apart is a step of its own.
    page.get_by_role("slider", name="Span from").evaluate(
        """slider => {
          for (let moves = 0; moves < 4; moves += 1) {
            slider.stepUp();
            for (const kind of ["input", "change"]) {
              slider.dispatchEvent(new Event(kind, { bubbles: true }));
            }
          }
        }"""
    )
    shows(page, shop, bucket(SINCE, 4), UNTIL)
    page.go_back()
    shows(page, shop, SINCE, UNTIL)
    assert "from" not in parameters(page)


def test_a_span_chosen_by_sliders(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    page.get_by_role("slider", name="Span from").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.get_by_role("slider", name="Span until").focus()
    page.keyboard.press("PageDown")
    end = int(page.get_by_role("slider", name="Span until").input_value())
    assert end < 90
    shows(page, shop, bucket(SINCE, 2), bucket(SINCE, end))


# -- filters -------------------------------------------------------------------------------------

# Where ECharts has drawn what is called so, in pixels of its canvas.
FLOW = """([what, one, other]) => {
  const chart = echarts.getInstanceByDom(document.getElementById("flows-chart"));
  const series = chart.getModel().getSeriesByIndex(0);
  const [graph, { x, y }] = [series.getGraph(), series.layoutInfo];
  const at = (id) => graph.getNodeById(id).getLayout();
  if (what === "node") return [x + at(one).x + at(one).dx / 2, y + at(one).y + at(one).dy / 2];
  const edge = graph.edges.find(({ node1, node2 }) => node1.id === one && node2.id === other);
  const { sy, ty, dy } = edge.getLayout();
  return [x + (at(one).x + at(one).dx + at(other).x) / 2,
    y + (at(one).y + sy + at(other).y + ty + dy) / 2];
}"""


def flow(page: Page, what: str, *ends: str) -> Any:
    return page.evaluate(FLOW, [what, *ends])


def test_a_click_on_an_end_of_the_flows(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    x, y = flow(page, "node", f"s:{DB}")
    page.locator("#flows-chart").click(position={"x": x, "y": y})
    shows(page, shop, SINCE, UNTIL, [[{"srcIP": DB}]])
    assert chips(page) == [f"src {DB}"]
    expect(page.get_by_test_id("chip")).to_contain_text(f"db ({DB})")


def test_a_click_on_a_flow(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    x, y = flow(page, "edge", f"s:{DB}", f"d:{HOSTS['api-1']}")
    page.locator("#flows-chart").hover(position={"x": x, "y": y})
    expect(page.locator("#tip")).to_contain_text("db → api-1")
    page.locator("#flows-chart").click(position={"x": x, "y": y})
    shows(page, shop, SINCE, UNTIL, [[{"srcIP": DB}], [{"dstIP": HOSTS["api-1"]}]])


def test_a_click_on_the_matrix_filters_what_its_tip_says(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    matrix, tip = page.locator("#matrix-chart"), page.locator("#tip")
    for x in range(180, 480, 40):
        matrix.hover(position={"x": x, "y": 104})
        if "nothing" not in (tip.text_content() or ""):
            break
    address, probe = tip.locator("p").all_text_contents()[:2]
    matrix.click(position={"x": x, "y": 104})
    probe = probe.removeprefix("seen by ")
    both = [[{"probe": probe}], [{"srcIP": address}, {"dstIP": address}]]
    shows(page, shop, SINCE, UNTIL, both)
    assert chips(page) == [f"probe {probe}", f"host {address}"]


def test_keys_on_the_matrix(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    matrix = page.locator("#matrix-chart")
    matrix.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        matrix.press(key)
    api = HOSTS["api-1"]
    both = [[{"probe": "shop/db"}], [{"srcIP": api}, {"dstIP": api}]]
    (row,) = shop.store.traffic(SINCE, UNTIL, "probe", where=both)
    told = page.locator("#announce")
    expect(told).to_have_text(f"api-1, probe shop/db: 575\u202fMB, {row['packets']:,} packets")
    matrix.press("Enter")
    shows(page, shop, SINCE, UNTIL, both)


def test_clicks_on_rows_add_up_and_chips_take_them_away(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    page.locator(f"tr[data-src='{DB}']").first.get_by_test_id("src").click()
    shows(page, shop, SINCE, UNTIL, [[{"srcIP": DB}]])
    page.locator(f"tr[data-dst='{HOSTS['api-1']}']").get_by_test_id("dst").click()
    shows(page, shop, SINCE, UNTIL, [[{"srcIP": DB}], [{"dstIP": HOSTS["api-1"]}]])
    brush(page, 10, 19)
    both: list[list[dict[str, str]]] = [[{"srcIP": DB}], [{"dstIP": HOSTS["api-1"]}]]
    span = bucket(SINCE, 10), bucket(SINCE, 20)
    shows(page, shop, *span, both)
    assert chips(page) == ["span", f"src {DB}", f"dst {HOSTS['api-1']}"]
    page.get_by_role("button", name="Remove source db").click()
    shows(page, shop, *span, both[1:])
    page.get_by_role("button", name="Clear all").click()
    shows(page, shop, SINCE, UNTIL)
    expect(page.locator("#chips")).to_be_hidden()


def test_repeated_filters_are_any_of_them(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(f"{ALL}&probe=shop/db&probe=shop/cache&host={WEB}&host={DB}"))
    probes = [{"probe": "shop/db"}, {"probe": "shop/cache"}]
    hosts = [{end: host} for host in (WEB, DB) for end in ("srcIP", "dstIP")]
    shows(page, shop, SINCE, UNTIL, [probes, hosts])
    page.get_by_role("button", name="Remove probe shop/cache").click()
    shows(page, shop, SINCE, UNTIL, [probes[:1], hosts])


@pytest.mark.parametrize(
    ("by", "label", "where"),
    [
        ("pairs", "db → backup", [[{"srcIP": DB}], [{"dstIP": HOSTS["backup"]}]]),
        ("services", "cache", [[{"probeIP": CACHE}]]),
        ("probes", "shop/queue", [[{"probe": "shop/queue"}]]),
    ],
)
def test_a_click_on_the_legend(
    shop: Shop, looks: Looks, by: str, label: str, where: list[list[dict[str, str]]]
) -> None:
    page = looks.open(shop.url(f"{ALL}&by={by}"))
    page.locator("#river-legend").get_by_role("button", name=label).click()
    shows(page, shop, SINCE, UNTIL, where)


def test_what_is_found_by_name_and_by_address(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    for text in ("cache", CACHE):
        page.get_by_role("searchbox", name="Find a name or an address").fill(text)
        expect(page.locator("#talkers-note")).to_have_text("4 of 4 that match")
        assert all(CACHE in row[:2] for row in talkers(page))
    page.get_by_role("searchbox").fill("nobody")
    expect(page.locator("#talkers-note")).to_have_text("nothing matches “nobody”")


def test_the_talkers_sorted_otherwise(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    table = page.locator("#talkers-table")
    expect(table.get_by_role("columnheader", name="Bytes")).to_have_attribute(
        "aria-sort", "descending"
    )
    for name, order, key in (
        ("Bytes", "ascending", lambda row: row[2]),
        ("Packets", "descending", lambda row: -row[3]),
    ):
        page.get_by_role("button", name=name, exact=True).click()
        head = table.get_by_role("columnheader", name=name)
        expect(head).to_have_attribute("aria-sort", order)
        rows = talkers(page)
        assert rows == sorted(rows, key=key)
    page.get_by_role("button", name="Source").click()
    first = page.locator("#talkers-table tbody tr").first.get_by_test_id("src").locator("b")
    expect(first).to_have_text("api-1")
    # Rates and shares are in the order of bytes, of which that column alone tells.
    for name, order, key in (
        ("Mean rate", "descending", lambda row: -row[2]),
        ("Share", "ascending", lambda row: row[2]),
    ):
        page.get_by_role("button", name=name, exact=True).click()
        head = table.get_by_role("columnheader", name="Bytes")
        expect(head).to_have_attribute("aria-sort", order)
        expect(table.locator("[aria-sort]")).to_have_count(1)
        until(lambda: talkers(page) == sorted(talkers(page), key=key), f"{name} {order}")
