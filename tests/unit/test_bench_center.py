"""The parts of ``bench/center`` that are functions of values. No figure is asserted anywhere."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.capture.results import BenchError
from bench.center import direct
from bench.center.fleet import Order, Report
from bench.center.load import orders, peak_a_second, together
from bench.center.measure import describe, windows_a_probe
from bench.center.process import Cpus, share_cpus
from bench.center.report import markdown
from bench.center.results import (
    CASES,
    Acks,
    Case,
    Direct,
    Fleet,
    Results,
    Run,
    acks,
    load,
    percentile,
    select_cases,
)
from bench.center.servers import disk_bytes
from bench.center.summary import direct_rows, rows
from bench.center.windows import (
    INTERVAL_MS,
    VARIANTS,
    Windows,
    first_start_ms,
    own_addresses,
    pool,
    probe_name,
)
from wakizashi import wire
from wakizashi.center.aggregate import aggregate
from wakizashi.model import Direction, Tally

START = 1_700_000_010_000

# -- what is sent -----------------------------------------------------------------------------


@pytest.mark.parametrize("records", [2, 200, 5_000])
@pytest.mark.parametrize("probe", [0, 1, 9_999])
def test_a_message_is_the_window_that_is_meant(records: int, probe: int) -> None:
    window = wire.decode([Windows(records, START).chunk(probe, 3)])
    own4, own6 = own_addresses(probe)
    peers = set(pool())
    assert (window.probe, window.number) == (probe_name(probe), 4)
    assert (window.start_ms, window.end_ms) == (START + 3 * INTERVAL_MS, START + 4 * INTERVAL_MS)
    assert len(window.flows) == records == len(aggregate(window).records)
    for flow in window.flows:
        out = flow.direction is Direction.OUT
        own, peer = (flow.source, flow.destination)[:: 1 if out else -1]
        assert own == (own4 if len(own) == 4 else own6)
        assert peer in peers
    (device,) = window.devices
    assert device.primary_address == own4
    counted = Tally(sum(f.packets for f in window.flows), sum(f.size for f in window.flows))
    assert device.ledger.counted == device.ledger.accounted == device.ledger.device == counted


def test_a_probe_keeps_its_peers_while_sizes_change() -> None:
    windows = Windows(200, START)
    seen = [wire.decode([windows.chunk(5, number)]) for number in range(VARIANTS)]
    assert len({frozenset((f.source, f.destination) for f in w.flows) for w in seen}) == 1
    assert len({tuple(f.size for f in w.flows) for w in seen}) == VARIANTS
    other = wire.decode([windows.chunk(6, 0)])
    assert {f.source for f in other.flows} != {f.source for f in seen[0].flows}


def test_four_fifths_of_the_addresses_are_ipv4() -> None:
    lengths = [len(address) for address in pool()]
    assert len(set(pool())) == len(lengths)
    assert lengths.count(4) / len(lengths) == pytest.approx(0.8, abs=0.001)
    window = wire.decode([Windows(5_000, START).chunk(0, 0)])
    assert sum(len(f.source) == 4 for f in window.flows) / 5_000 == pytest.approx(0.8, abs=0.03)


def test_a_window_that_no_chunk_can_hold_is_refused() -> None:
    for wrong in (0, 3, wire.MAX_CHUNK_RECORDS + 2):
        with pytest.raises(ValueError, match="an even number"):
            Windows(wrong, START)


def test_windows_end_about_now_and_are_aligned() -> None:
    now = 1_700_000_012_345
    first = first_start_ms(now, 10)
    assert first % INTERVAL_MS == 0
    assert 0 <= now - (first + 10 * INTERVAL_MS) < INTERVAL_MS


def test_the_lines_are_those_of_the_same_windows() -> None:
    order = direct.Order(
        1, "/", probes=3, records=4_000, windows=2, first_start_ms=START, in_flight=1
    )
    bodies = [body.split(b"\n") for body in direct.bodies(order)]
    assert [len(lines) for lines in bodies] == [10_000, 10_000, 4_006]  # a ledger for each window
    assert len({line for lines in bodies for line in lines}) == 24_006


# -- who sends it -----------------------------------------------------------------------------


def test_a_fleet_is_shared_among_processes() -> None:
    whole = Order(
        1, 0, probes=6_000, records=200, first_start_ms=START, windows=1, delivering=1_000
    )
    parts = orders(whole)
    assert [part.probes for part in parts] == [2_000, 2_000, 2_000]
    assert [part.first_probe for part in parts] == [0, 2_000, 4_000]
    assert sum(part.delivering for part in parts) >= 1_000
    assert orders(replace(whole, probes=1)) == [replace(whole, probes=1)]


def test_reports_are_added_up() -> None:
    one = Report(started=5.0, ended=9.0, stored=3, ack_seconds=[0.1], connections=[7.2, 7.9])
    two = Report(started=4.0, ended=8.0, stored=4, lost=1, rejected="why", connections=[8.1])
    whole = together([one, two])
    assert (whole.started, whole.ended, whole.stored, whole.lost) == (4.0, 9.0, 7, 1)
    assert (whole.rejected, whole.ack_seconds) == ("why", [0.1])
    assert peak_a_second(whole.connections) == 2
    assert peak_a_second([]) == 0


def test_cpus_are_shared() -> None:
    assert share_cpus({3, 1, 2}) == Cpus(frozenset({1}), frozenset({2, 3}))
    assert share_cpus({1}) == Cpus(frozenset({1}), frozenset({1}))


def test_every_probe_sends_at_least_a_window() -> None:
    assert windows_a_probe(Case("nothing", 10_000, 200), 200_000) == 1
    assert windows_a_probe(Case("nothing", 100, 200), 2_000_000) == 100
    assert windows_a_probe(Case("nothing", 1, 5_000), 2_000_000) == 400
    assert windows_a_probe(Case("nothing", 1, 200), 2_000_000) == 2_000


def test_files_are_added_up(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"x" * 10_000)
    assert 10_000 <= disk_bytes(tmp_path) < 20_000


# -- figures ----------------------------------------------------------------------------------


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(value) for value in range(1, 201)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 100, 198, 200]
    assert percentile([7.0], 0.5) == 7.0
    assert percentile([], 0.5) == 0.0
    assert acks([3.0, 1.0, 2.0]) == Acks(2.0, 3.0, 3.0)


def made(backend: str, probes: int = 100, records: int = 200, **figures: float) -> Run:
    """A run of a million records in five seconds."""
    run = Run(
        case=Case(backend, probes, records),
        repetition=0,
        windows=1_000_000 // records,
        records=1_000_000,
        wire_bytes=26_400_000,
        wall_seconds=5.0,
        center_cpu_seconds=4.0,
        generator_cpu_seconds=1.0,
        rss_start=60 * 2**20,
        rss_connected=60 * 2**20 + 20_000 * probes,
        rss_end=80 * 2**20,
        rss_peak=90 * 2**20,
        acks=Acks(0.2, 0.25, 0.3),
    )
    return replace(run, **figures)  # type: ignore[arg-type]  # numbers all


def series() -> Results:
    """Some of everything."""
    return Results(
        machine={"kernel": "6.1", "cores": "2"},
        versions={"sqlite": "3.40.1"},
        settings={"records": 1_000_000, "repetitions": 2, "center_cpus": "0", "other_cpus": "1"},
        runs=[
            made("nothing"),
            made("nothing", wall_seconds=4.0),
            made("nothing", probes=10_000, retries=7),
            made("sqlite", disk_bytes=77_000_000),
            made("influxdb", disk_bytes=20_000_000, database_cpu_seconds=6.0, wall_seconds=10.0),
            Run(Case("redis", 100, 200), 0, fault="not available: no | such backend"),
        ],
        direct=[
            Direct("influxdb", 1, 0, 1_000_000, 5.0, 0.1, 5.5, Acks(0.1, 0.2, 0.3)),
            Direct("influxdb", 2, 0, fault="answers 500"),
        ],
        fleets=[
            Fleet(
                Case("nothing", 10_000, 200), 30, 1.0, 60,
                closed=20_000, stored=19_999, lost=1, retries=5, failures=6, connections=70,
                wall_seconds=80.0, center_cpu_seconds=20.0, acks=Acks(0.3, 9.0, 10.0),
                rss=((0.0, 240 * 2**20), (1.0, 500 * 2**20)),
                restarted_at=40.0, down_seconds=2.5, back_seconds=31.0, peak_connections=800,
            ),
            Fleet(Case("influxdb", 10_000, 200), 30, 30.0, 60, fault="influxd ended with 1"),
        ],
    )  # fmt: skip


def test_figures_of_a_case() -> None:
    by_case = {row.case: row for row in rows(series())}
    row = by_case[Case("nothing", 100, 200)]
    assert row.rate is not None
    assert (row.rate.low, row.rate.high) == (200_000, 250_000)
    assert row.a_cpu_second is not None
    assert row.a_cpu_second.median == 250_000
    assert row.connection_bytes is not None
    assert row.connection_bytes.median == 20_000
    assert row.points_a_series == 50
    sqlite = by_case[Case("sqlite", 100, 200)]
    assert sqlite.disk is not None
    assert sqlite.disk.median == 77.0
    assert by_case[Case("redis", 100, 200)].rate is None
    assert [row.rate is None for row in direct_rows(series())] == [False, True]


def test_the_table_shows_every_case_and_every_failure() -> None:
    text = markdown(series())
    assert "| nothing | 225,000 (200,000–250,000) | 250,000 | 4.00 |" in text
    assert "| InfluxDB 1.x | 100,000 | 250,000 | 4.00 | 6.00 |" in text
    assert r"| Redis | not available: no \| such backend |" in text
    assert "(7 asked to come again)" in text
    assert "| InfluxDB 1.x | 1 | 200,000 | – | 50 % | 5.50 | 100 | 200 |" in text
    assert "| InfluxDB 1.x | 2 | answers 500 |" in text
    assert "| SQLite | 100 | 200 | 50 | 77.0 | – |" in text
    assert (
        "| nothing | 10,000 | 30, 1 | 19,999 | 1 | 300 | 9,000 | 10,000 | 5, 6 | 25 % | 500 |"
        in text
    )
    assert "down 2.5 s, all back 31.0 s later, up to 800 connections tried a second" in text
    assert "| InfluxDB 1.x | 10,000 | 30, 30 | influxd ended with 1 |" in text
    for table in text.replace(r"\|", "").split("\n\n"):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, lines


def test_a_run_in_one_line() -> None:
    assert describe(made("sqlite")).startswith("sqlite/100/200: 200,000 records/s, 250,000 a CPU")
    assert describe(Run(Case("redis", 1, 200), 0, fault="no")) == "redis/1/200: no"


def test_cases_by_pattern() -> None:
    assert select_cases("sqlite/100/200") == (Case("sqlite", 100, 200),)
    assert select_cases("*/1/*, sqlite/1/200") == tuple(c for c in CASES if c.probes == 1)
    for wrong in ("sqlite", "oracle/*/*", "sqlite/2/200", ""):
        with pytest.raises(BenchError, match="names no case"):
            select_cases(wrong)


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    results = series()
    results.save(tmp_path / "deep" / "center.json")
    assert load(tmp_path / "deep" / "center.json") == results
    (tmp_path / "other.json").write_text('{"format": 99}')
    for wrong in ("other.json", "none.json"):
        with pytest.raises(BenchError, match="make bench-center"):
            load(tmp_path / wrong)


def test_the_same_results_are_the_same_picture() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extras bench and dev")
    from bench.center.plot import draw

    picture = draw(series())
    assert picture == draw(series())
    for text in (
        "InfluxDB 1.x",
        "bare client",
        "100 × 200: 200 k",
        "not available",
        "not measured",
    ):
        assert text in picture
