"""The address of the dashboard's page: it keeps what is shown, and what it says wrong is told."""

import pytest
from playwright.sync_api import expect

from tests.browser import MINUTE, SINCE, UNTIL, Looks, Shop, look
from tests.fleet_data import HOSTS
from tests.page_reading import brush, number, parameters, shows, talkers

ALL = "&rows=1000"
DB = HOSTS["db"]


def test_a_url_shows_another_reader_the_same(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    page.get_by_role("button", name="services").click()
    page.locator("tr[data-probe='shop/db']").wait_for()
    page.locator(f"tr[data-src='{DB}']").first.get_by_test_id("src").click()
    brush(page, 30, 59)
    page.get_by_role("button", name="Packets", exact=True).click()
    page.get_by_role("searchbox").fill("api")
    page.locator("#flows").get_by_test_id("as-table").click()
    expect(page.locator("#talkers-note")).to_have_text("2 of 2 that match")
    other = looks.open(page.url)
    expect(other.locator("#talkers-note")).to_have_text("2 of 2 that match")
    expect(other.locator("#flows-table")).to_be_in_viewport()
    for name in ("#main", "#chips", "#kpis", "#river-legend", "#talkers", "#flows-table"):
        assert other.locator(name).inner_text() == page.locator(name).inner_text(), name
    assert other.url == page.url
    shown = parameters(page)
    wanted = {"by": ["services"], "src": [DB], "sort": ["packets"], "find": ["api"]}
    assert {**shown, **wanted} == shown


def test_back_and_forward(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(ALL))
    brush(page, 0, 9)
    shows(page, shop, SINCE, SINCE + 5 * MINUTE)
    page.get_by_role("button", name="shop/db").first.wait_for()
    page.locator(f"tr[data-src='{DB}']").first.get_by_test_id("src").click()
    shows(page, shop, SINCE, SINCE + 5 * MINUTE, [[{"srcIP": DB}]])
    page.go_back()
    shows(page, shop, SINCE, SINCE + 5 * MINUTE)
    page.go_back()
    shows(page, shop, SINCE, UNTIL)
    expect(page.locator("#brush")).to_be_hidden()
    page.go_forward()
    page.go_forward()
    shows(page, shop, SINCE, SINCE + 5 * MINUTE, [[{"srcIP": DB}]])


def test_ten_years_are_not_too_much(shop: Shop, looks: Looks) -> None:
    """Nor with the bucket that a river begins earlier."""
    page = looks.open(f"{shop.address}/?last=3653d")
    assert number(page, "bytes") == shop.store.total()
    with page.expect_response("**/api/v1/span?*") as answer:
        page.get_by_role("button", name="Pause").click()
    assert answer.value.status == 200
    expect(page.locator("#status")).to_contain_text("fixed: ")


@pytest.mark.parametrize(
    "more",
    [
        "&by=zebras&sort=&order=up&rows=-5&tables=zzz,,&from=9&to=x&find=&probe=",
        "&from=99999999999999999&to=5&rows=1e9&by[]=pairs&%00=%FF",
        "&since=1&until=0&since=x",  # the first of each counts
    ],
)
def test_nonsense_in_a_url_is_left_out(shop: Shop, looks: Looks, more: str) -> None:
    page = looks.open(shop.url(more))
    assert len(talkers(page)) == 25
    expect(page.locator("#banner")).to_be_hidden()


@pytest.mark.parametrize(
    ("query", "told"),
    [("last=999999d", "last"), (f"since={SINCE}&until={UNTIL}&host=nowhere", "nowhere")],
)
def test_what_the_server_refuses_is_told_with_a_way_out(
    shop: Shop, looks: Looks, query: str, told: str
) -> None:
    page = looks.open(f"{shop.address}/?{query}&find=web", state="error")
    expect(page.get_by_role("alert").first).to_contain_text("The server refuses this view: ")
    expect(page.get_by_role("alert").first).to_contain_text(told)
    page.get_by_role("button", name="Start from the usual view").click()
    page.locator("body[data-state=empty]").wait_for()  # of the last 15 minutes
    expect(page.get_by_role("searchbox", include_hidden=True)).to_have_value("")
    look(page, shop.url())
    looks.failures_are_meant()
