"""What the dashboard's page says is what ``wakizashi query`` says, to the byte."""

import csv
import io
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browser import MINUTE, SINCE, UNTIL, WINDOW, Looks, Shop, Store, look, served, store
from tests.center_backends import SETTINGS
from tests.fleet_data import HOSTS, VISITORS, Fleet
from tests.page_reading import cells, number, talkers
from wakizashi.model import Ledger, LedgerRecord, StoredWindow, Tally, TrafficRecord

ADDRESSES = HOSTS | VISITORS


def heads(table: Locator) -> list[str]:
    return table.locator("thead th").all_text_contents()


def pairs(shop: Shop) -> dict[tuple[str, str], tuple[int, int]]:
    rows = shop.queried("srcIP,dstIP")
    return {(row["srcIP"], row["dstIP"]): (row["size"], row["packets"]) for row in rows}


def test_the_numbers_at_the_top(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    rows = shop.queried("srcIP,dstIP")
    whole = sum(row["size"] for row in rows)
    assert number(page, "bytes") == whole
    assert number(page, "pairs") == len(rows) == 66
    assert number(page, "rate") == round(whole / ((UNTIL - SINCE) / 1000))
    expect(page.locator("#kpi-coverage")).to_contain_text("every byte accounted for")


def few(records: Iterable[tuple[str, int]]) -> list[StoredWindow]:
    """A window of one probe: to whom, and how many bytes."""
    own = "10.0.0.1"
    found = tuple(TrafficRecord(SINCE, "a", own, own, to, size, 1) for to, size in records)
    sums = Tally(len(found), sum(record.size for record in found))
    ledger = LedgerRecord(SINCE, "a", "eth0", 0, WINDOW, Ledger(device=sums, counted=sums))
    return [StoredWindow("a", SINCE, (), found, (ledger,))]


def test_no_more_talkers_are_asked_for_than_the_server_gives(tmp_path: Path, looks: Looks) -> None:
    everybody = ((f"10.1.{number // 250}.{number % 250}", 2_000 - number) for number in range(1010))
    with served(store(tmp_path, few(everybody))) as address:
        page = looks.open(f"{address}/?since={SINCE}&until={SINCE + WINDOW}&rows=925")
        page.get_by_role("button", name="Show more of 1,010").click()
        expect(page.locator("#talkers-table tbody tr")).to_have_count(1000)
        expect(page.locator("#talkers-table tfoot")).to_contain_text("other (10)")
        expect(page.locator("#more")).to_be_hidden()
        expect(page.locator("#banner")).to_be_hidden()
        assert page.url.endswith("&rows=1000")
        page.close()


def test_a_rate_of_less_than_a_byte_is_not_nothing(tmp_path: Path, looks: Looks) -> None:
    windows = few((f"10.0.0.{size % 100}", size) for size in (2_001, 240, 42, 7))
    with served(store(tmp_path, windows)) as address:
        page = looks.open(f"{address}/?since={SINCE}&until={SINCE + 5_000_000}")
        expect(page.locator("#talkers-table tbody .w-rate")).to_have_text(
            ["0.4\u202fB/s", "0.05\u202fB/s", "<\u202f0.01\u202fB/s", "<\u202f0.01\u202fB/s"]
        )
        rate = page.locator("#kpi-rate")
        expect(rate.locator("b")).to_have_text("0.5B/s")
        assert float(rate.get_attribute("data-value") or "0") == 2_290 / 5_000
        expect(page.locator("#kpi-bytes b")).to_have_text("2.29kB")
        assert talkers(page)[3][2] == 7
        look(page, f"{address}/?since={SINCE}&until={SINCE + 500_000}")
        assert number(page, "rate") == 5
        expect(rate.locator("b")).to_have_text("5B/s")
        page.close()


def test_the_talkers_are_the_command_s_rows_in_its_order(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url("&rows=1000"))
    wanted = [
        (row["srcIP"], row["dstIP"], row["size"], row["packets"])
        for row in shop.queried("srcIP,dstIP")
    ]
    assert talkers(page) == wanted
    shown = page.locator("#talkers-table tbody tr").first
    expect(shown.get_by_test_id("src")).to_have_text("db10.20.3.41")
    expect(shown.get_by_test_id("dst")).to_have_text("backupfd20::61")


def test_fewer_talkers_and_all_others(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    assert len(talkers(page)) == 25
    expect(page.locator("#talkers-table tfoot")).to_contain_text("other (41)")
    page.get_by_role("button", name="Show more of 66").click()
    expect(page.locator("#talkers-table tbody tr")).to_have_count(66)
    expect(page.locator("#talkers-table tfoot")).to_be_hidden()


@pytest.mark.parametrize(
    ("by", "fields"), [("pairs", "srcIP,dstIP"), ("services", "probeIP"), ("probes", "probe")]
)
def test_the_river_s_table(shop: Shop, looks: Looks, by: str, fields: str) -> None:
    page = looks.open(shop.url(f"&by={by}&tables=river"))
    names = fields.split(",")
    rows = {tuple(row[name] for name in names): row["size"] for row in shop.queried(fields)}
    table = page.locator("#river-table")
    by_time = cells(table)
    assert len(by_time) == (UNTIL - SINCE) // WINDOW
    called = {address: name for name, address in ADDRESSES.items()}
    columns = list(zip(*by_time, strict=True))[1:]
    shown = dict(zip(heads(table)[1:], (sum(map(int, each)) for each in columns), strict=True))
    order = sorted(rows, key=lambda key: -rows[key])
    wanted = {" → ".join(called.get(part, part) for part in key): rows[key] for key in order[:10]}
    rest = order[10:]
    if rest:
        wanted[f"other ({len(rest)})"] = sum(rows[key] for key in rest)
    assert shown == wanted
    # And each of its lines is the sum of that time.
    parts = shop.store.traffic(SINCE, UNTIL, step_ms=WINDOW)
    sums = {int(row["timestamp"]): int(row["size"]) for row in parts}
    assert [sum(map(int, line[1:])) for line in by_time] == [sums[time] for time in sorted(sums)]


def test_the_legend_has_the_river_s_sums(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    found = page.get_by_test_id("series").evaluate_all(
        "items => items.map(item => [item.dataset.id, Number(item.dataset.bytes)])"
    )
    rows = shop.queried("srcIP,dstIP")
    wanted: list[list[Any]] = [[f"{r['srcIP']}>{r['dstIP']}", r["size"]] for r in rows[:10]]
    assert found == [*wanted, ["other", sum(row["size"] for row in rows[10:])]]


def test_the_flows_table(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url("&tables=flows"))
    truth, left = pairs(shop), Counter[str]()
    for (address, _), (sent, _) in truth.items():
        left[address] += sent
    shown = cells(page.locator("#flows-table"))
    rows = [(line[0], line[1], int(line[2]), int(line[3])) for line in shown]
    own = 0
    for source, destination, size, packets in rows:
        src, dst = ADDRESSES.get(source.split(" (")[0]), ADDRESSES.get(destination.split(" (")[0])
        if src and dst:
            own += 1
            assert (size, packets) == truth[src, dst]
            left[src] -= size
    assert own == 30
    for source, destination, size, _ in rows:  # the rest of each that has a node
        src = ADDRESSES.get(source.split(" (")[0])
        if src and destination == "other":
            assert left.pop(src) == size
    assert sum(row[2] for row in rows) == sum(size for size, _ in truth.values())
    assert sum(row[3] for row in rows) == sum(packets for _, packets in truth.values())


def test_the_matrix_s_table(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url("&tables=matrix"))
    called = {address: name for name, address in ADDRESSES.items()}
    wanted: Counter[tuple[str, str]] = Counter()
    for row in shop.queried("probe,probeIP,srcIP,dstIP"):
        peer = row["srcIP"] if row["dstIP"] == row["probeIP"] else row["dstIP"]
        wanted[called[peer], row["probe"]] += row["size"]
    shown = {(line[0], line[1]): int(line[2]) for line in cells(page.locator("#matrix-table"))}
    assert shown == dict(wanted)


def test_the_fleet_is_what_the_ledgers_say(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    rows = page.locator("#fleet-table tbody tr")
    expect(rows).to_have_count(len(HOSTS))
    for name in HOSTS:
        row = page.locator(f"#fleet-table tr[data-probe='shop/{name}']")
        expect(row).to_have_attribute("data-status", "silent")
        expect(row.locator("td").nth(3)).to_have_text("90")
        dropped = "0" if name != "queue" else "216\u202fkB"  # 40 packets in each of 6 windows
        expect(row.locator("td").nth(6)).to_have_text(dropped)
    row = page.locator("#fleet-table tr[data-probe='shop/db']")
    row.get_by_role("button", name="Devices of shop/db").click()
    device = page.locator("#fleet-table tr.device")
    expect(device.get_by_role("rowheader")).to_have_text("eth0")
    expect(device.locator("td").nth(5)).to_have_text("2.19\u202fGB")


def test_a_csv_export_is_the_command_s_and_has_names(shop: Shop, looks: Looks) -> None:
    page = looks.open(shop.url())
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == f"wakizashi-{SINCE}-{UNTIL}.csv"
    text = Path(download.value.path()).read_text()
    table = list(csv.reader(io.StringIO(text)))
    assert [row[:4] for row in table] == list(
        csv.reader(io.StringIO(shop.store.query("srcIP,dstIP", "csv")))
    )
    assert table[0][4:] == ["srcName", "dstName"]
    assert table[1][4:] == ["db", "backup"]


def test_a_csv_export_of_what_is_chosen(shop: Shop, looks: Looks) -> None:
    until = SINCE + 5 * MINUTE
    page = looks.open(shop.url(f"&from={SINCE}&to={until}&src={HOSTS['db']}"))
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    found = shop.store.traffic(SINCE, until, "dstIP", where=[[{"srcIP": HOSTS["db"]}]])
    assert {row["dstIP"]: int(row["size"]) for row in rows} == {
        row["dstIP"]: row["size"] for row in found
    }
    assert {row["srcName"] for row in rows} == {"db"}


@pytest.mark.parametrize("part", ["river", "flows", "matrix"])
def test_a_picture_can_be_kept(shop: Shop, looks: Looks, part: str) -> None:
    page = looks.open(shop.url())
    with page.expect_download() as download:
        page.locator(f"#{part}").get_by_test_id("png").click()
    assert download.value.suggested_filename == f"wakizashi-{part}.png"
    picture = Path(download.value.path()).read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    drawn = page.locator(f"#{part}-chart").bounding_box()
    assert drawn is not None
    assert width == pytest.approx(drawn["width"] + 40, abs=40)  # with a margin; without bars
    assert height > drawn["height"]  # with its title and legend
    assert len(picture) > 10_000  # there is something on it


@pytest.mark.parametrize("name", ["influxdb", "mongodb", "redis", "sqlite"])
def test_it_is_so_over_every_backend(
    name: str, tmp_path: Path, looks: Looks, request: pytest.FixtureRequest
) -> None:
    config = tmp_path / "center-config.yaml"
    config.write_text("{}")
    keys = (f"type={name}", *SETTINGS[name](request))
    store = Store(config, tuple(f"backendConfig.{key}" for key in keys))
    until = SINCE + 2 * MINUTE
    store.add(Fleet().windows(SINCE, until))
    shop = Shop(store, "")
    with served(store) as address:
        page = looks.open(f"{address}/?since={SINCE}&until={until}&rows=1000")
        rows = shop.queried("srcIP,dstIP")
        assert number(page, "bytes") == sum(row["size"] for row in rows) > 0
        assert sorted(talkers(page)) == sorted(tuple(row.values()) for row in rows)
        look(page, f"{address}/?since={SINCE}&until={until}&probe=shop/db")
        assert number(page, "bytes") == store.total(where=[[{"probe": "shop/db"}]])
        page.close()
