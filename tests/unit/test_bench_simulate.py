"""The reckoning of ``docs/scaling.md``: queues, needs, and the page itself."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import simulate
from bench.capture.results import BenchError
from bench.center.results import Acks, Case, Direct, Fleet, Results, Run, load
from bench.queueing import Station, arrivals, wait

ROOT = Path(__file__).parents[2]

# -- queues -----------------------------------------------------------------------------------


def test_arrivals_are_seeded_and_stay_in_their_part_of_the_interval() -> None:
    came = arrivals(100, 30.0, 1.0, 3)
    assert came == arrivals(100, 30.0, 1.0, 3) == sorted(came)
    assert len(came) == 300
    assert all(moment % 30.0 <= 1.0 for moment in came)
    assert arrivals(2, 30.0, 0.0, 2) == [0.0, 0.0, 30.0, 30.0]


def test_a_window_alone_waits_for_its_group() -> None:
    found = wait([5.0], Station(200, 0.001, 0.00001), 30.0)
    assert found.acks.p50 == pytest.approx(0.001 + 0.2 + 201 * 0.00001)
    assert found.largest_queue == 1


def test_a_group_that_is_worth_a_write_is_written_at_once() -> None:
    """25 windows of 201 points are 5,025; of 26 the last waits for company."""
    found = wait([0.0] * 26, Station(200, 0.001), 30.0)
    assert found.acks.p50 == pytest.approx(0.025)
    assert found.acks.longest == pytest.approx(0.026 + 0.2)
    assert found.largest_queue == 26


def test_a_group_collects_while_one_is_written_and_one_waits() -> None:
    """A write takes 25 windows for 0.5 s; behind it 25, then as many as one write may take."""
    found = wait([0.0] * 99, Station(200, 0.001, 0.5 / (25 * 201)), 30.0)
    assert found.acks.p50 == pytest.approx(0.025 + 0.5 + 0.5)
    assert found.acks.longest == pytest.approx(0.025 + 0.5 + 0.5 + 49 * 0.02)


def test_a_large_window_is_a_write_of_its_own() -> None:
    found = wait([0.0, 0.0], Station(50_000, 0.1, 0.00001), 30.0)
    assert found.acks.longest == pytest.approx(0.1 + 2 * 50_001 * 0.00001)


def test_a_burst_is_worked_off_one_after_another() -> None:
    station = Station(200, 0.001)
    burst = wait(arrivals(10_000, 30.0, 0.0, 1), station, 5.0)
    assert burst.acks.p50 == pytest.approx(5.0, rel=0.02)
    assert burst.acks.longest == pytest.approx(10.0, rel=0.03)
    assert burst.largest_queue == 10_000
    assert burst.late_share == pytest.approx(0.5, abs=0.02)
    spread = wait(arrivals(10_000, 30.0, 30.0, 1), station, 5.0)
    assert spread.acks.p99 < 0.5
    assert spread.late_share == 0.0
    assert spread.largest_queue < 200


def test_a_slow_database_is_what_counts() -> None:
    station = Station(199, 0.001, 0.0001)
    found = wait(arrivals(500, 30.0, 0.0, 1), station, 30.0)
    assert found.acks.longest == pytest.approx(500 * 200 * 0.0001, rel=0.03)
    assert station.load(10.0) == pytest.approx((0.01, 0.2))


def test_nothing_came() -> None:
    assert wait([], Station(200, 0.001), 30.0).acks == Acks()


# -- needs ------------------------------------------------------------------------------------


def run(backend: str, **figures: float) -> Run:
    """A run with 10,000 probes: 250,000 records in a CPU second, 20 KiB a connection."""
    made = Run(
        case=Case(backend, 10_000, 200),
        repetition=0,
        windows=10_000,
        records=2_000_000,
        wire_bytes=2_000_000 * 26,
        wall_seconds=10.0,
        center_cpu_seconds=8.0,
        rss_start=60 * 2**20,
        rss_connected=60 * 2**20 + 10_000 * 20_480,
    )
    return replace(made, **figures)  # type: ignore[arg-type]  # numbers all


def series() -> Results:
    """Two databases, and a fleet."""
    long = run("influxdb", disk_bytes=2_000_000 * 5, windows=2_000_000)
    fleet = Fleet(Case("nothing", 1_000, 200), 30, 30.0, 30, acks=Acks(0.2, 0.3, 0.4))
    return Results(
        machine={"cores": "2"},
        runs=[
            run("nothing"),
            run("influxdb", disk_bytes=2_000_000 * 90, center_cpu_seconds=10.0),
            replace(long, case=Case("influxdb", 1, 200)),
            run("sqlite", disk_bytes=2_000_000 * 70, wall_seconds=40.0),
            Run(Case("redis", 10_000, 200), 0, fault="not available"),
        ],
        direct=[Direct("influxdb", n, 0, 1_000_000, 5.0 / n) for n in (1, 2)],
        fleets=[fleet, replace(fleet, fault="no"), replace(fleet, restarted_at=10.0)],
    )


def test_figures_are_those_of_most_probes_and_longest_series() -> None:
    known = simulate.figures(series())
    assert (known.bare, known.wire, known.connection_bytes) == (250_000, 26, 20_480)
    influx, sqlite = sorted(known.backends, key=lambda costs: costs.backend)
    assert (influx.records_a_core, influx.points_a_second, influx.disk) == (200_000, 400_000, 5)
    assert (sqlite.backend, sqlite.points_a_second, sqlite.disk) == ("sqlite", 50_000, 70)


def test_needs_of_three_fleets() -> None:
    text = simulate.needs(simulate.figures(series()))
    assert "| records a second | 667 | 66,667 | 6,666,667 |" in text
    assert "| InfluxDB 1.x: CPUs the centers use | 0.0033 | 0.33 | 33 |" in text
    assert "| InfluxDB 1.x: centers of one CPU | 1 | 1 | 67 |" in text
    assert "| InfluxDB 1.x: memory of each center, MiB | 62 | 255 | 352 |" in text
    assert "| InfluxDB 1.x: databases | 1 | 1 | 34 |" in text
    assert "| InfluxDB 1.x: disk a day, GB | 0.29 | 29 | 2,880 |" in text
    assert "| SQLite: databases | 1 | 3 | 268 |" in text


def test_the_tightest_limit_stands_first() -> None:
    lines = simulate.limits(simulate.figures(series())).splitlines()[2:]
    assert lines[0] == "| limits.bytesInFlight 8 MiB, all windows at once | 1,600 |"
    assert "| rate of one SQLite | 3,700 |" in lines
    values = [int(line.split("|")[2].replace(",", "")) for line in lines]
    assert values == sorted(values)


def test_what_a_database_can_not_take_is_not_simulated() -> None:
    lines = simulate.bursts(simulate.figures(series())).splitlines()[2:]
    assert len({line.count("|") for line in lines}) == 1
    assert all(("grows" in line) == ("SQLite" in line) for line in lines)


def test_fleets_in_peace_stand_beside_the_reckoning() -> None:
    results = series()
    (line,) = simulate.held(simulate.figures(results), results).splitlines()[2:]
    assert line.startswith("| nothing | 1,000 | 30, 30 | 0.")
    results.fleets.clear()
    assert "No fleet" in simulate.held(simulate.figures(results), results)


def test_without_the_bare_center_there_is_no_model() -> None:
    with pytest.raises(BenchError, match="make bench-center"):
        simulate.figures(Results(runs=[run("sqlite")]))


# -- the page ---------------------------------------------------------------------------------


def test_the_page_is_what_the_measured_figures_give() -> None:
    page = (ROOT / "docs/scaling.md").read_text()
    text = simulate.generated(load(ROOT / "bench/results/center.json"))
    assert simulate.replaced(page, text) == page, (
        "run `python -m bench.simulate --write docs/scaling.md`"
    )


def test_check_and_write(tmp_path: Path) -> None:
    page, results = tmp_path / "scaling.md", tmp_path / "center.json"
    series().save(results)
    page.write_text(f"# A page\n\n{simulate.BEGIN}\n\nbygone\n\n{simulate.END}\n\nThe end.\n")

    def command(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(simulate.command, ["--results", str(results), *words])
        return done.exit_code, done.output

    code, output = command("--check", str(page))
    assert code == 1
    assert "--write" in output
    assert command("--write", str(page))[0] == 0
    assert command("--check", str(page)) == (0, "")
    text = page.read_text()
    assert text.startswith("# A page\n")
    assert text.endswith(f"{simulate.END}\n\nThe end.\n")
    assert "bygone" not in text
    assert simulate.generated(series()) == simulate.generated(series())
    page.write_text("no marks")
    assert "lacks" in command("--check", str(page))[1]
