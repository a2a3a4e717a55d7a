"""The dashboard's page while time passes and things go wrong: live, stale, empty, refused, slow."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser import (
    MINUTE,
    SINCE,
    Looks,
    Shop,
    Store,
    dashboard,
    look,
    milliseconds,
    names_file,
    served,
    store,
)
from tests.center_servers import until
from tests.fleet_data import HOSTS, Fleet
from tests.page_reading import number, talkers
from tests.redis_servers import RedisServer

SECONDS = 1_000
QUICK = Fleet(length_ms=5 * SECONDS)
"""The page asks again each quarter of a bucket, but not more often than each two seconds."""


def recent(folder: Path, ago_ms: int = 0) -> tuple[Store, int]:
    """A store of two minutes that ended so long ago, and when that was."""
    end = milliseconds() - ago_ms
    return store(folder, QUICK.windows(end - 2 * MINUTE, end)), end


def is_total(page: Page, size: int) -> None:
    expect(page.locator("#kpi-bytes")).to_have_attribute("data-value", str(size), timeout=20_000)


def settle(page: Page, act: Callable[[], None]) -> None:
    """Do what makes the page ask for a fixed time, and wait until all of that is answered.

    ``networkidle`` does not do: it is a thing of the page's loading, and once it was it stays.
    """
    asked: list[str] = []
    under: set[Request] = set()

    def begun(request: Request) -> None:
        asked.append(request.url.partition("/api/v1/")[2])
        under.add(request)

    def over(request: Request) -> None:
        under.discard(request)

    def is_over() -> bool:
        page.evaluate("1")
        held = [number for number, url in enumerate(asked) if url.startswith("river?since=")]
        later = asked[held[0] :] if held else []
        return any(url.startswith("span?") for url in later) and not under

    page.on("request", begun)
    page.on("requestfinished", over)
    page.on("requestfailed", over)
    act()
    until(is_over, "the fixed time is answered")
    page.remove_listener("request", begun)


SEEN = """hidden => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


# -- live ----------------------------------------------------------------------------------------


def test_what_is_stored_while_it_is_open_appears(tmp_path: Path, looks: Looks) -> None:
    made, end = recent(tmp_path)
    with served(made) as address:
        page = looks.open(address)
        expect(page.locator("body")).to_have_attribute("data-live", "live")
        expect(page.locator("#status")).to_contain_text("live, ")
        is_total(page, made.total())
        page.evaluate("window.same = true")
        before = made.total()
        made.add(QUICK.windows(end, end + 10 * SECONDS))
        assert made.total() > before
        is_total(page, made.total())
        assert sum(row[2] for row in talkers(page)) > 0
        assert page.evaluate("window.same")  # it has not been loaded again
        page.close()


def test_paused_it_asks_nothing_and_goes_on_when_told(tmp_path: Path, looks: Looks) -> None:
    made, end = recent(tmp_path)
    with served(made) as address:
        page = looks.open()
        page.clock.install()
        look(page, address)
        before = number(page, "bytes")
        settle(page, page.get_by_role("button", name="Pause").click)
        expect(page.locator("body")).to_have_attribute("data-live", "fixed")
        expect(page.locator("#status")).to_contain_text("fixed: ")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        made.add(QUICK.windows(end, end + 10 * SECONDS))
        page.clock.run_for(MINUTE)
        assert asked == []
        assert number(page, "bytes") == before < made.total()
        page.get_by_role("button", name="Live").click()
        expect(page.locator("body")).to_have_attribute("data-live", "live")
        is_total(page, made.total())
        page.close()


def test_paused_from_a_preset_it_goes_on_with_that(tmp_path: Path, looks: Looks) -> None:
    with dashboard(recent(tmp_path)[0]) as address:
        page = looks.open(f"{address}/?last=30d")
        page.get_by_role("button", name="Pause").click()
        page.wait_for_url("**since=**")
        page.get_by_role("button", name="Live").click()
        page.wait_for_url("**last=30d**")
        page.close()


def test_any_length_of_time_that_the_server_takes(tmp_path: Path, looks: Looks) -> None:
    with dashboard(recent(tmp_path)[0]) as address:
        page = looks.open(f"{address}/?last=1h30m")
        expect(page).to_have_title(re.compile("^last 1h30m, "))
        page.close()


def test_a_tab_that_is_not_seen_asks_nothing(tmp_path: Path, looks: Looks) -> None:
    made, _ = recent(tmp_path)
    with served(made) as address:
        page = looks.open()
        page.clock.install()
        look(page, address)
        held: list[Route] = []
        page.route("**/api/v1/river?*", lambda route: held.append(route))
        page.clock.run_for(3 * SECONDS)
        until(lambda: page.evaluate("1") == 1 and len(held) == 1, "it asks while it is seen")
        page.evaluate(SEEN, True)
        with page.expect_response("**/api/v1/span?*"):  # the end of what was under way
            held[0].continue_()
        page.unroute("**/api/v1/river?*")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.clock.run_for(MINUTE)
        assert asked == []
        page.evaluate(SEEN, False)
        until(lambda: page.evaluate("1") == 1 and len(asked) > 2, "it asks again")
        page.close()


def test_what_another_span_cut_short_unseen_is_made_up_for_when_seen(
    shop: Shop, looks: Looks
) -> None:
    page = looks.open()
    held: list[Route] = []
    page.route("**/api/v1/span?*", lambda route: held.append(route), times=1)
    page.goto(shop.url())
    until(lambda: page.evaluate("1") == 1 and len(held) == 1, "the span is asked for")
    page.evaluate(SEEN, True)
    with page.expect_response("**/api/v1/span?*"):
        page.locator("#river-chart").press("Shift+ArrowLeft")
    page.locator("#kpi-bytes[data-value]").wait_for()
    expect(page.locator("#fleet-table tbody tr")).to_have_count(0)
    page.evaluate(SEEN, False)
    expect(page.locator("#fleet-table tbody tr")).to_have_count(len(HOSTS))


# -- nothing, nothing new, no answer ---------------------------------------------------------------


def test_an_empty_store_says_what_to_do(tmp_path: Path, looks: Looks) -> None:
    with served(store(tmp_path)) as address:
        page = looks.open(address, state="empty")
        expect(page.get_by_role("heading", name="No traffic in this time")).to_be_visible()
        expect(page.locator("#empty")).to_contain_text("Start a probe")
        page.get_by_role("button", name="Look further back").click()
        expect(page).to_have_url(f"{address}/?last=1h")
        page.close()


def test_filters_that_fit_nothing_can_be_removed(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url("&host=192.0.2.1"), state="empty")
    expect(page.get_by_role("heading", name="Nothing matches these filters")).to_be_visible()
    page.get_by_role("button", name="Remove all filters").click()
    page.locator("body[data-state=ready]").wait_for()
    is_total(page, shop.store.total())


def test_when_no_probe_delivers_the_page_says_so(tmp_path: Path, looks: Looks) -> None:
    made, _ = recent(tmp_path, ago_ms=5 * MINUTE)
    with served(made) as address:
        page = looks.open(address)
        banner = page.get_by_role("alert").first
        expect(banner).to_contain_text("None of the 8 probes has delivered since")
        expect(banner).to_contain_text("wakizashi doctor")
        expect(page.locator("body")).to_have_attribute("data-live", "stale")
        expect(page.locator("#status")).to_contain_text("stale: last window ")
        # Nobody can tell what is still to come: nothing is hatched, and nothing is said of it.
        expect(page.locator("#settled")).to_be_hidden()
        expect(page.locator("#river-note")).to_have_text(re.compile(r"steps of \d+\ss$"))
        page.close()


def test_one_silent_probe_is_named_and_no_alarm_for_all(tmp_path: Path, looks: Looks) -> None:
    end = milliseconds()
    fleet = replace(QUICK, silent="cache", silent_ms=3 * MINUTE)
    made = store(tmp_path, fleet.windows(end - 5 * MINUTE, end))
    with served(made) as address:
        page = looks.open(address)
        expect(page.locator("#fleet-table tr[data-status=silent] th")).to_have_text("shop/cache")
        expect(page.locator("#kpi-probes")).to_contain_text("1 silent")
        expect(page.locator("#banner")).to_be_hidden()
        page.close()


def test_a_backend_that_goes_is_told_and_the_picture_stays(
    tmp_path: Path, looks: Looks, start_redis: Callable[..., RedisServer]
) -> None:
    server = start_redis()
    config = tmp_path / "center-config.yaml"
    config.write_text("{}")
    keys = ("type=redis", f"redisConfig.url={server.url}")
    made = Store(config, tuple(f"backendConfig.{key}" for key in keys))
    end = milliseconds()
    made.add(QUICK.windows(end - MINUTE, end))
    size = made.total()
    with served(made) as address:
        page = looks.open(address)
        is_total(page, size)
        server.stop()
        banner = page.get_by_role("alert").first
        expect(banner).to_contain_text("No answer: ", timeout=20_000)
        expect(banner).to_contain_text("what you see is from before")
        expect(banner).to_contain_text(f"127.0.0.1:{server.port}")
        is_total(page, size)
        expect(page.locator("#river-chart canvas").first).to_be_visible()
        assert len(talkers(page)) == 25
        server.start()
        page.get_by_role("button", name="Retry now").click()
        expect(page.locator("#banner")).to_be_hidden(timeout=20_000)
        is_total(page, size)
        page.close()
    looks.failures_are_meant()


def test_a_dashboard_that_goes_is_told_with_what_to_look_at(tmp_path: Path, looks: Looks) -> None:
    made, _ = recent(tmp_path)
    with dashboard(made) as address:
        page = looks.open(address)
    banner = page.get_by_role("alert").first
    expect(banner).to_contain_text("is `wakizashi dashboard` still running?", timeout=20_000)
    expect(page.locator("#status")).to_contain_text("no answer; data of ")
    assert len(talkers(page)) == 25
    page.close()
    looks.failures_are_meant()


def test_a_store_that_is_not_there_yet(tmp_path: Path, looks: Looks) -> None:
    made, _ = recent(tmp_path)
    files = [*tmp_path.glob("wakizashi.db*")]
    (aside := tmp_path / "aside").mkdir()
    for file in files:
        shutil.move(file, aside)
    with served(made) as address:
        page = looks.open(address, state="error")
        banner = page.get_by_role("alert").first
        expect(banner).to_contain_text("start the center first")
        for file in files:
            shutil.move(aside / file.name, file)
        page.get_by_role("button", name="Retry now").click()
        is_total(page, made.total())
        expect(page.locator("#banner")).to_be_hidden()
        page.close()
    looks.failures_are_meant()


def test_a_slow_answer_is_waited_for_with_the_old_picture(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    held: list[Route] = []
    page.route("**/api/v1/span?*", lambda route: held.append(route))
    whole = number(page, "bytes")
    page.get_by_test_id("src").first.click()
    expect(page.locator("#progress")).to_be_visible()
    assert number(page, "bytes") == whole
    until(lambda: page.evaluate("1") == 1 and len(held) == 1, "the span is asked for")
    held[0].continue_()
    is_total(page, shop.store.total(where=[[{"srcIP": HOSTS["db"]}]]))
    expect(page.locator("#progress")).to_be_hidden()


def test_a_late_answer_of_other_filters_is_not_shown(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    held: list[Route] = []
    page.route("**/api/v1/talkers?*", lambda route: held.append(route))
    page.get_by_role("searchbox").fill("10.")
    until(lambda: page.evaluate("1") == 1 and len(held) == 1, "the search is asked for")
    source = talkers(page)[0][0]
    with page.expect_response("**/api/v1/span?*"):
        page.get_by_test_id("src").first.click()
    only = "table => [...table.tBodies[0].rows].every(row => row.dataset.src === '" + source + "')"
    table = page.locator("#talkers-table")
    until(lambda: bool(table.evaluate(only)), "only what is filtered")
    with page.expect_response("**/api/v1/talkers?*") as late:
        held[0].continue_()
    late.value.finished()
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    assert table.evaluate(only)


def test_while_the_first_answer_is_awaited(shop: Shop, looks: Looks) -> None:
    page = looks.open()
    held: list[Route] = []
    page.route("**/api/v1/river?*", lambda route: held.append(route))
    page.goto(shop.url())
    expect(page.locator("body")).to_have_attribute("data-state", "loading")
    expect(page.locator("#status")).to_have_text("waiting for data")
    expect(page.locator("#progress")).to_be_visible()
    held[0].continue_()
    page.locator("body[data-state=ready]").wait_for()


MOVING = """() => document.getAnimations().map(({ effect }) => [
  `${effect.target.id}${effect.pseudoElement ?? ""}`, effect.getTiming().delay >= 600,
  [...new Set(effect.getKeyframes().flatMap(Object.keys))]
    .filter(name => !["offset", "easing", "composite", "computedOffset"].includes(name)),
])"""


def test_what_moves_is_small_and_only_while_it_is_waited_for(shop: Shop, looks: Looks) -> None:
    """Where a browser draws in software, what moves takes the time of the first picture."""
    page = looks.open(reduced_motion="no-preference")
    held: list[Route] = []
    page.route("**/api/v1/river?*", lambda route: held.append(route))
    page.goto(f"{shop.address}/?last=15m")
    expect(page.locator("#progress")).to_be_visible()
    assert page.evaluate(MOVING) == [["progress::after", True, ["opacity"]]]
    box = page.locator("#progress").bounding_box()
    assert box is not None
    assert box["height"] <= 2
    held[0].continue_()
    page.locator("body[data-live=stale]").wait_for()
    expect(page.locator("#progress")).to_be_hidden()
    assert page.evaluate(MOVING) == []


def test_a_live_page_that_stands_still_moves_nothing(tmp_path: Path, looks: Looks) -> None:
    with served(recent(tmp_path)[0]) as address:
        page = looks.open(address, reduced_motion="no-preference")
        page.locator("#status[data-kind=live]").wait_for()
        # Of the line of progress it may have one now and then.
        until(lambda: page.evaluate(MOVING) == [], "nothing moves")
        page.close()


# -- names from strangers ----------------------------------------------------------------------

IMAGE = "<img src=x onerror=document.title='run'>"
SCRIPT = "\"><script>document.title='run'</script>"


def test_names_are_text_wherever_they_are_shown(tmp_path: Path, looks: Looks) -> None:
    end = SINCE + 3 * MINUTE
    windows = [
        replace(
            window,
            probe=IMAGE,
            records=tuple(record._replace(probe=IMAGE) for record in window.records),
            ledgers=tuple(replace(ledger, probe=IMAGE) for ledger in window.ledgers),
        )
        for window in Fleet().windows(SINCE, end)
        if window.probe == "shop/db"
    ]
    made = store(tmp_path, windows)
    names = names_file(tmp_path)
    names.write_text(f"{HOSTS['db']} {SCRIPT}\n{HOSTS['backup']} =1+1\n")
    with served(made, names) as address:
        url = f"{address}/?since={SINCE}&until={end}&find=%3Cimg%20src%3Dx%3E"
        page = looks.open(f"{url}&tables=river,flows,matrix&probe={IMAGE}&by=probes")
        expect(page.locator("#talkers-note")).to_have_text("nothing matches “<img src=x>”")
        look(page, f"{address}/?since={SINCE}&until={end}&probe={IMAGE}&service={SCRIPT}")
        expect(page.get_by_test_id("chip").first).to_contain_text(IMAGE)
        expect(page.locator("#river-legend")).to_contain_text(f"{SCRIPT} → =1+1")
        expect(page.get_by_test_id("src").first).to_contain_text(SCRIPT)
        expect(page.locator("#fleet-table")).to_contain_text(IMAGE)
        tip = page.locator("#tip")
        page.locator("#river-chart").hover(position={"x": 300, "y": 150})
        expect(tip).to_contain_text(SCRIPT)
        page.locator("#flows-chart").hover()
        expect(tip).to_contain_text(SCRIPT)
        page.locator("#matrix-chart").focus()
        page.keyboard.press("ArrowDown")
        expect(tip).to_contain_text(IMAGE)
        with page.expect_download() as download:
            page.locator("#csv").click()
        lines = Path(download.value.path()).read_text().splitlines()
        assert any(line.endswith(",'=1+1") for line in lines)
        assert not any(line.endswith(",=1+1") for line in lines)
        assert page.locator("img, main script").count() == 0
        expect(page).to_have_title(re.compile("wakizashi$"))
        page.close()


@pytest.mark.parametrize("text", [IMAGE, SCRIPT, "javascript:alert(1)"])
def test_a_url_with_markup_is_text_too(shop: Shop, looks: Looks, text: str) -> None:
    page = looks.open()
    page.goto(f"{shop.url()}&find={text}&probe={text}&service={text}")
    page.locator("body[data-state=empty]").wait_for()
    assert page.get_by_test_id("chip").first.locator("b").text_content() == text
    assert page.locator("img, main script").count() == 0
    expect(page).to_have_title(re.compile("wakizashi$"))
