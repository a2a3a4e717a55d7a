"""The address of the dashboard's page: it keeps what is shown, and what it says wrong is told."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import MINUTE, SINCE, UNTIL, Looks, Shop, eyes, look
from tests.fleet_data import HOSTS
from tests.page_reading import brush, number, parameters, shows, talkers
from wakizashi.dashboard.parameters import MOST_SPAN_MS

ALL = "&rows=1000"
DB = HOSTS["db"]
LAST, ELSE = "the last 15m", "what else it says"
TABLES = "last=15m&tables=flows"
KNOWN = "last, since, until, probe, service, host, src, dst, by, from, to, sort, order, find, rows, tables"


@pytest.fixture(scope="module")
def reader(chromium: Browser) -> Iterator[Page]:
    """One page for all addresses."""
    context = eyes(chromium)
    yield context.new_page()
    context.close()


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
    # Nor a span with all of that bucket.
    look(page, f"{shop.address}/?last=3653d&from={UNTIL - MOST_SPAN_MS - MINUTE}&to={UNTIL}")
    assert number(page, "bytes") == shop.store.total()
    expect(page.locator("#address-faults")).to_be_hidden()


# -- an address with faults ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "told", "shown", "kept"),
    [
        ("last=foo", "last=foo is no span of time; write 90s, 10m, 1h30m or 7d.", LAST, ""),
        ("last=", "last= is no span of time; write 90s, 10m, 1h30m or 7d.", LAST, ""),
        ("last=0s", "last=0s is not from 1s to ten years (3653d).", LAST, ""),
        ("last=3654d", "last=3654d is not from 1s to ten years (3653d).", LAST, ""),
        (
            "last=1h&last=2h",
            "last is given 2 times, of which the first counts; give it once.",
            "the last 1h",
            "last=1h",
        ),
        ("since=5&until=1", "until=1 is not after since=5; swap them.", LAST, ""),
        ("since=5", "since=5 lacks until: since and until go together, in ms.", LAST, ""),
        (
            "since=0&until=400000000000",
            "until=400000000000 is more than ten years after since=0; ask for less.",
            LAST,
            "",
        ),
        (
            "since=NaN&until=x",
            "since=NaN is no moment; write ms of Unix time, up to 9214646400000."
            " until=x is no moment; write ms of Unix time, up to 9214646400000.",
            LAST,
            "",
        ),
        (
            f"since={SINCE}&until={UNTIL}&last=1h",
            "last=1h excludes since and until; leave out one of them.",
            "14 Nov 2023 22:15 – 23:00",
            f"since={SINCE}&until={UNTIL}",
        ),
        ("by=zzz", "by=zzz is not known; use pairs, services, probes.", "stacked by pairs", ""),
        ("from=9&to=1", "to=1 is not after from=9; swap them.", "no part of it alone", ""),
        (
            "sort=evil&order=asc",
            "sort=evil is not known; use bytes, packets, src, dst.",
            "sorted by bytes, ascending",
            "last=15m&order=asc",
        ),
        ("order=x", "order=x is not known; use desc, asc.", "sorted by bytes, descending", ""),
        ("rows=zz", "rows=zz is no whole number from 25 to 1000.", "up to 25 rows", ""),
        (
            "rows=1e9&rows=1",
            "rows is given 2 times, of which the first counts; give it once."
            " rows=1e9 is no whole number from 25 to 1000.",
            "up to 25 rows",
            "",
        ),
        (
            "rows=2000",
            "rows=2000 is no whole number from 25 to 1000.",
            "up to 1,000 rows",
            "last=15m&rows=1000",
        ),
        ("tables=flows,zz", "tables=zz is not known; use river, flows, matrix.", ELSE, TABLES),
        ("probe=", "probe= is empty; name one, or leave the parameter out.", ELSE, ""),
        ("untli=1", "untli=1 is no parameter; did you mean until?", ELSE, ""),
        ("Find=1", "Find=1 is no parameter; did you mean find?", ELSE, ""),
        (
            "unknown=1&a_long_one_to_boot=2",
            f"unknown=1 is no parameter; there are {KNOWN}."
            " a_long_one_to_boot=2 is no parameter; see before.",
            ELSE,
            "",
        ),
    ],
)
def test_what_an_address_says_wrong_is_told_and_put_right(
    shop: Shop, reader: Page, query: str, told: str, shown: str, kept: str
) -> None:
    reader.goto(f"{shop.address}/?{query}")
    faults = reader.locator("#address-faults")
    expect(faults.locator("p")).to_have_text(f"This address is not right: {told} Shown is {shown}.")
    expect(faults).to_have_role("alert")
    assert reader.url == f"{shop.address}/?{kept or 'last=15m'}"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?last=1h30m",
        "?last=1000000s",
        "?since=0&until=1&from=0&to=1&rows=25&sort=bytes&order=desc&by=pairs&find=&tables=",
        f"?host={DB}&host={DB}&src={DB}&dst={DB}&service=db&probe=a&probe=b&tables=matrix,river",
    ],
)
def test_an_address_without_faults_stays_as_it_is(shop: Shop, reader: Page, query: str) -> None:
    reader.goto(f"{shop.address}/{query}")
    reader.locator("body:not([data-state=loading])").wait_for()
    expect(reader.locator("#address-faults")).to_be_hidden()
    assert reader.url == f"{shop.address}/{query}"


def test_what_is_right_in_an_address_is_shown(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url("&by=zebras&rows=-5&tables=zzz,,&from=9&to=x&find=&src=" + DB))
    shows(page, shop, SINCE, UNTIL, [[{"srcIP": DB}]])
    assert parameters(page) == {"since": [str(SINCE)], "until": [str(UNTIL)], "src": [DB]}


def test_what_was_told_of_an_address_can_be_put_away(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url("&by=zzz"))
    faults = page.locator("#address-faults")
    page.get_by_role("link", name="Skip to the traffic").focus()
    page.keyboard.press("Enter")  # no other view
    page.wait_for_url("**#main")
    expect(faults).to_be_visible()
    page.get_by_role("button", name="Dismiss").press("Enter")
    expect(faults).to_be_hidden()
    expect(page.locator("#main")).to_be_focused()
    page.reload()
    page.locator("body[data-state=ready]").wait_for()
    expect(faults).to_be_hidden()


@pytest.mark.parametrize("button", ["services", "Packets", "Pause"])
def test_what_was_told_of_an_address_goes_with_its_view(
    shop: Shop, looks: Looks, button: str
) -> None:
    page = looks.open(f"{shop.address}/?last=3653d&unknown=1")
    expect(page.locator("#address-faults")).to_be_visible()
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator("#address-faults")).to_be_hidden()
    expect(page.locator("#banner")).to_be_visible(visible=button != "Pause")


def test_an_error_and_what_the_address_says_wrong_are_both_told(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url("&host=nowhere&by=zzz"), state="error")
    alerts = page.locator("main").get_by_role("alert")
    expect(alerts).to_have_count(2)
    expect(alerts.first).to_contain_text("The server refuses this view: ")
    expect(alerts.last).to_contain_text("by=zzz is not known")
    boxes = alerts.evaluate_all("all => all.map(one => one.getBoundingClientRect().top)")
    assert boxes[0] < boxes[1]
    page.get_by_role("button", name="Start from the usual view").click()
    page.locator("body[data-state=empty]").wait_for()
    expect(alerts).to_have_count(0)
    looks.failures_are_meant()


def test_faults_from_a_stranger_are_text_and_short(shop: Shop, looks: Looks) -> None:
    page = looks.open(viewport={"width": 320, "height": 640})
    markup = "%3Cimg src%3Dx onerror%3Ddocument.title%3D'run'%3E"
    many = "&".join(f"{markup}{number}={'x' * 5000}" for number in range(20))
    look(page, shop.url(f"&by={markup}&sort=%E2%80%AE{'a' * 5000}&{many}"))
    told = page.locator("#address-faults p")
    expect(told).to_contain_text("by=<img src=x onerror=document.title='run'> is not known")
    expect(told).to_contain_text(f"sort=\u202e{'a' * 58}… is not known")
    expect(told).to_contain_text("And 17 more. Shown is ")
    expect(told.locator("code")).to_have_count(5)
    assert max(map(len, told.locator("code").all_text_contents())) <= 121
    assert page.locator("img, main script").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 320


@pytest.mark.parametrize(
    "more",
    [
        "&by=zebras&sort=&order=up&rows=-5&tables=zzz,,&from=9&to=x&find=&probe=",
        "&from=99999999999999999&to=5&rows=1e9&by[]=pairs&%00=%FF",
        "&since=1&until=0&since=x",  # the first of each counts
    ],
)
def test_nonsense_in_an_address_is_left_out(shop: Shop, looks: Looks, more: str) -> None:
    page = looks.open(shop.url(more))
    assert len(talkers(page)) == 25
    assert page.url == shop.url()
    expect(page.locator("#address-faults")).to_be_visible()
    expect(page.locator("#banner")).to_be_hidden()


def test_what_the_server_refuses_is_told_with_a_way_out(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url("&host=nowhere&find=web"), state="error")
    expect(page.get_by_role("alert").first).to_contain_text("The server refuses this view: ")
    expect(page.get_by_role("alert").first).to_contain_text("nowhere")
    page.get_by_role("button", name="Start from the usual view").click()
    page.locator("body[data-state=empty]").wait_for()  # of the last 15 minutes
    expect(page.get_by_role("searchbox", include_hidden=True)).to_have_value("")
    look(page, shop.url())
    looks.failures_are_meant()
