"""The dashboard's page for every reader: light and dark, narrow, by keyboard, by ear."""

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.browser import MINUTE, SINCE, Looks, Shop, look, served, store
from tests.fleet_data import HOSTS
from tests.page_reading import chips

NARROW: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
}
OPEN = "&tables=river,flows,matrix"
CONTROLS = """() => [...document.querySelectorAll(
  "a[href], button, input, select, summary, [tabindex]:not([tabindex='-1'])")]
  .filter(node => !node.disabled && node.checkVisibility({visibilityProperty: true}))"""


# -- light and dark ------------------------------------------------------------------------------


def brightness(page: Page) -> float:
    """Of the ground, 0 to 255."""
    ground: float = page.evaluate(
        "() => { const text = getComputedStyle(document.body).backgroundColor;"
        " const [r, g, b] = text.match(/[\\d.]+/g).map(Number); return (r + g + b) / 3; }"
    )
    return ground


def ink(page: Page) -> int:
    """How bright the names on the flows' canvas are: 0 to 765."""
    colour: str = page.evaluate(
        "() => echarts.getInstanceByDom(document.getElementById('flows-chart'))"
        ".getModel().getSeriesByIndex(0).getData().getItemModel(0).get(['label', 'color'])"
    )
    return sum(bytes.fromhex(colour.removeprefix("#")))


def test_light_and_dark_as_the_system_prefers(shop: Shop, looks: Looks) -> None:
    light = looks.open(shop.url())
    dark = looks.open(shop.url(), color_scheme="dark")
    assert brightness(light) > 200
    assert brightness(dark) < 60
    # What is drawn on canvases follows: the names of the flows are in the ink of the theme.
    assert ink(light) < 200 < 500 < ink(dark)
    light.emulate_media(color_scheme="dark")
    expect(light.locator("html")).to_have_attribute("data-theme", "dark")
    assert brightness(light) < 60
    assert ink(light) > 500


def test_the_toggle_has_precedence_and_is_kept(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    page.get_by_role("button", name="Dark or light").click()
    assert brightness(page) < 60
    page.reload()
    page.locator("body[data-state=ready]").wait_for()
    assert brightness(page) < 60
    page.emulate_media(color_scheme="dark")
    page.emulate_media(color_scheme="light")
    assert brightness(page) < 60
    page.keyboard.press("t")
    assert brightness(page) > 200
    assert "theme" not in page.url


def test_nothing_moves_where_motion_is_unwelcome(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(), reduced_motion="reduce")
    moving = page.evaluate(
        "() => [...document.querySelectorAll('*')].filter(node => {"
        " const { transitionDuration, animationDuration } = getComputedStyle(node);"
        " return Math.max(...`${transitionDuration},${animationDuration}`.split(',')"
        ".map(parseFloat)) > 0.01; }).map(node => node.outerHTML.slice(0, 80))"
    )
    assert moving == []
    assert page.evaluate("document.getAnimations().length") == 0


# -- narrow ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["", OPEN, f"&src={HOSTS['db']}&from={SINCE}&to={SINCE + MINUTE}"])
def test_a_telephone_scrolls_down_and_never_sideways(shop: Shop, looks: Looks, more: str) -> None:
    page = looks.open(shop.url(more), **NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("innerWidth") == 390  # it has not been zoomed out to fit
    cut = page.evaluate(
        f"async () => {{ const found = [];"
        f" for (const node of ({CONTROLS})()) {{"
        f"  if (node.closest('.hush') || node.matches('.skip')) continue;"
        f"  node.scrollIntoView({{block: 'center', inline: 'center'}});"
        f"  const box = node.getBoundingClientRect();"
        f"  const part = node.closest('.scroll, .as-table, .segments');"
        f"  const left = box.left < -1, right = box.right > 391;"
        f"  if ((left || right) && node !== part && !(part && box.width > 390))"
        f"   found.push(node.outerHTML.slice(0, 120)); }} return found; }}"
    )
    assert cut == []


def test_the_narrowest_has_room_for_the_longest_numbers(shop: Shop, looks: Looks) -> None:
    """Of 320 pixels; a coverage of nearly all is the longest text at the top."""
    page = looks.open()

    def nearly_all(route: Route) -> None:
        answer = route.fetch().json()
        answer["total"]["coverage"] = 0.999999
        route.fulfill(json=answer)

    page.route("**/api/v1/fleet?*", nearly_all)
    page.set_viewport_size({"width": 320, "height": 640})
    for more in ("", OPEN):
        look(page, shop.url(more))
        expect(page.locator("#kpi-coverage b")).to_have_text(">\u202f99.99\u202f%")
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        outside = (
            "all => all.filter(one => one.getBoundingClientRect().right"
            " > one.closest('div').getBoundingClientRect().right).map(one => one.innerText)"
        )
        assert page.locator("#kpis b").evaluate_all(outside) == []


def test_a_telephone_can_filter_and_give_up(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(), **NARROW)
    page.locator(f"tr[data-src='{HOSTS['db']}']").first.get_by_test_id("src").tap()
    page.get_by_test_id("chip").wait_for()
    assert chips(page) == [f"src {HOSTS['db']}"]
    page.get_by_test_id("chip-remove").tap()
    expect(page.locator("#chips")).to_be_hidden()


def test_a_telephone_has_the_name_and_the_state_in_one_line(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url(), **NARROW)
    tops = [
        page.locator(part).evaluate("node => node.getBoundingClientRect().top")
        for part in (".wordmark", "#status", "#help")
    ]
    assert max(tops) - min(tops) < 20


@pytest.mark.parametrize("width", [320, 360, 390, 641, 1024, 1181, 1440])
def test_no_head_of_the_talkers_is_cut_and_names_have_room(
    shop: Shop, looks: Looks, width: int
) -> None:
    page = looks.open(shop.url(), viewport={"width": width, "height": 900})
    heads = page.locator("#talkers-table thead th:visible")
    cut = (
        "heads => heads.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
    )
    assert heads.evaluate_all(cut) == []
    widths = heads.evaluate_all("heads => heads.slice(0, 2).map(one => one.offsetWidth)")
    assert min(widths) >= 95
    words = page.get_by_role("button", name="Packets", exact=True).locator("span")
    if width > 640:
        ends = [
            node.evaluate(
                "node => { const all = document.createRange();"
                " all.selectNodeContents(node); return all.getBoundingClientRect().right; }"
            )
            for node in (words, page.locator("#talkers-table tbody .w-packets").first)
        ]
        assert abs(ends[0] - ends[1]) <= 1


def test_long_names_are_cut_in_the_middle(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    assert page.evaluate(
        """async () => {
          const { fit } = await import("/static/chart.js");
          const pen = { measureText: (text) => ({ width: text.length }) };
          return [20, 10, 2, 0].map((width) => fit(pen, "customer-gateway-387", width));
        }"""
    ) == ["customer-gateway-387", "custom…387", "c…", "…"]


# -- by keyboard -------------------------------------------------------------------------------------


def focused(page: Page) -> dict[str, Any]:
    """What has the focus: its place among all controls, and how that is seen."""
    found: dict[str, Any] = page.evaluate(
        f"() => {{ const node = document.activeElement; const all = ({CONTROLS})();"
        " const style = getComputedStyle(node);"
        " const thumb = node.matches('input[type=range]')"
        "  ? getComputedStyle(node, '::-webkit-slider-thumb') : style;"
        " const box = node.getBoundingClientRect();"
        " const drawn = (one) => one.outlineStyle !== 'none' && parseFloat(one.outlineWidth) >= 1;"
        " return { index: all.indexOf(node), what: node.outerHTML.slice(0, 100),"
        "  ring: node.matches('input[type=range]') || drawn(style) || drawn(thumb)"
        "   || style.boxShadow !== 'none',"
        "  hidden: Boolean(node.closest('.hush')) || box.width < 8 || box.height < 8,"
        "  inside: box.bottom > 0 && box.top < innerHeight }; }"
    )
    return found


@pytest.mark.parametrize("more", ["", OPEN])
def test_tab_reaches_every_control_and_shows_where_it_is(
    shop: Shop, looks: Looks, more: str
) -> None:
    page = looks.open(shop.url(f"{more}&src={HOSTS['db']}"))
    count = page.evaluate(f"({CONTROLS})().filter(node => !node.closest('.hush')).length")
    reached: list[dict[str, Any]] = []
    for _ in range(count + 1):
        page.keyboard.press("Tab")
        here = focused(page)
        if here["index"] < 0:
            break
        reached.append(here)
    assert [one["what"] for one in reached if not one["ring"]] == []
    assert [one["what"] for one in reached if one["hidden"] or not one["inside"]] == []
    order = [one["index"] for one in reached]
    assert order == sorted(order)
    assert len(set(order)) == count


def test_the_skip_link_is_first(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the traffic")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_keys_are_told_and_do_what_is_told(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("stack by pairs, services, probes")
    expect(dialog).to_contain_text("1 – 7the last 1m, 15m, 1h, 6h, 24h, 7d, 30d")
    page.keyboard.press("b")  # not while a dialog is open
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="pairs")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("b")
    expect(page.get_by_role("button", name="services")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("b2")  # is typed
    expect(page.get_by_role("searchbox")).to_have_value("b2")
    page.keyboard.press("Escape")
    for key, last in (("1", "1m"), ("3", "1h"), ("7", "30d")):
        page.keyboard.press(key)
        page.wait_for_url(f"**last={last}**")
    page.keyboard.press("p")
    page.wait_for_url("**since=**")


def test_a_time_of_one_s_own_by_keyboard(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    page.get_by_role("button", name="custom").press("Enter")
    dialog = page.get_by_role("dialog", name="A time of your own")
    dialog.get_by_label("Since").fill("2023-11-14T22:30:00")
    dialog.get_by_label("Until").fill("2023-11-14T22:20:00")
    dialog.get_by_role("button", name="Show").press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("choose an earlier since")
    dialog.get_by_label("Since").fill("2023-11-14T22:16:00")
    dialog.get_by_role("button", name="Show").press("Enter")
    expect(dialog).to_be_hidden()
    page.wait_for_url(f"**since={SINCE + MINUTE}&until={SINCE + 5 * MINUTE}")
    size = shop.store.total(SINCE + MINUTE, SINCE + 5 * MINUTE)
    expect(page.locator("#kpi-bytes")).to_have_attribute("data-value", str(size))


def test_a_column_sorted_by_keyboard(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    button = page.locator("#talkers-table").get_by_role("button", name="Destination")
    button.focus()
    page.keyboard.press("Enter")
    head = page.locator("#talkers-table").get_by_role("columnheader", name="Destination")
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(page.get_by_test_id("dst").first).to_contain_text("api-1")
    expect(button).to_be_focused()  # new rows have not taken it away


def test_rows_that_go_or_move_leave_the_focus_where_it_is(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    assert page.evaluate(
        """async () => {
          const { el, keyed } = await import("/static/dom.js");
          const list = el("ol");
          document.body.append(list);
          const show = (keys) => keyed(list, [...keys], (key) => key, (key) => el("button", { text: key }), () => {});
          show("abcd");
          list.children[2].focus();
          const moves = [];
          new MutationObserver((all) => moves.push(...all)).observe(list, { childList: true });
          show("bcd");
          await null;
          const gone = moves.length;
          const found = [gone];
          for (const keys of ["dbc", "cdb", "bc", "xcyb"]) {
            show(keys);
            found.push([...list.children].map((node) => node.textContent).join(""), document.activeElement.textContent);
          }
          list.remove();
          return found;
        }"""
    ) == [1, "dbc", "c", "cdb", "c", "bc", "c", "xcyb", "c"]


def test_tables_have_captions_and_heads_for_who_hears_the_page(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    for name, columns in (
        ("Bytes by pair in steps of", 12),
        ("Flows, ", 4),
        ("What each probe saw of each peer", 4),
        ("Pairs of source and destination", 8),
        ("Probes: status, last window", 10),
    ):
        table = page.get_by_role("table", name=name)
        expect(table).to_have_count(1)
        expect(table.get_by_role("columnheader")).to_have_count(columns)
    expect(
        page.get_by_role("table", name="Flows, ").get_by_role("rowheader").first
    ).to_be_attached()
    button = page.locator("#flows").get_by_role("button", name="Table")
    button.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("table", name="Flows, ")).to_be_in_viewport()
    expect(page.locator("#flows-chart")).to_be_hidden()
    for landmark in (page.get_by_role("banner"), page.get_by_role("main")):
        expect(landmark).to_have_count(1)


# -- axe -------------------------------------------------------------------------------------------


def check(page: Page) -> None:
    """No serious or critical fault."""
    found = [
        f"{fault['id']}: {node['target']} {node['failureSummary']}"
        for fault in Axe().run(page).response["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
    assert found == []


@pytest.mark.parametrize(
    ("more", "how"),
    [
        ("", {}),
        ("", {"color_scheme": "dark"}),
        ("", NARROW),
        (OPEN, {}),
        (OPEN, {"color_scheme": "dark"}),
        (f"&by=services&from={SINCE}&to={SINCE + MINUTE}&src={HOSTS['db']}", {}),
        (f"&by=probes&probe=shop/db&host={HOSTS['db']}", {"color_scheme": "dark", **NARROW}),
    ],
    ids=["light", "dark", "narrow", "tables", "dark-tables", "chosen", "chosen-dark-narrow"],
)
def test_axe_finds_no_serious_fault(
    shop: Shop, looks: Looks, more: str, how: dict[str, Any]
) -> None:
    check(looks.open(shop.url(more), **how))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_with_nothing_to_show(
    shop: Shop, looks: Looks, scheme: str
) -> None:
    page = looks.open(shop.url("&host=192.0.2.1"), state="empty", color_scheme=scheme)
    check(page)
    look(page, shop.url("&host=nowhere&by=zzz"), state="error")
    page.locator("#retry").wait_for()
    page.locator("#address-dismiss").wait_for()
    check(page)
    looks.failures_are_meant()


def test_axe_finds_no_serious_fault_in_dialogs_or_banners(tmp_path: Path, looks: Looks) -> None:
    with served(store(tmp_path)) as address:
        page = looks.open(address, state="empty")
        check(page)
        for name, title in (("Keys", "Keys"), ("custom", "A time of your own")):
            page.get_by_role("button", name=name).click()
            page.get_by_role("dialog", name=title).wait_for()
            check(page)
            page.keyboard.press("Escape")
        page.close()
