"""VictoriaMetrics through the backend `influxdb`: what docs/backends.md says of it."""

import json
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.center_servers import Victoria, victoria_at
from tests.center_windows import START, window
from wakizashi import wire
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backends.influxdb import Config, Influx
from wakizashi.center.metrics import Metrics
from wakizashi.center.series import SeriesWatch
from wakizashi.errors import Retryable, WakizashiError
from wakizashi.model import TALLIES

TAGS = (("env", "a b"), ("x-y", "ü=,"))
SERIES = 2 + 3 + 2 * len(TALLIES)
"""Of one record and one ledger: each field is a series."""


@pytest.fixture
def database() -> str:
    return f"w{uuid.uuid4().hex}"


@pytest.fixture
def backend(victoria: Victoria, database: str) -> Iterator[Influx]:
    made = Influx(Config(host=victoria.url), database, "traffic", 10)
    try:
        yield made
    finally:
        made.close()


def values(server: Victoria, database: str, name: str = "traffic_size") -> list[list[float]]:
    return [s["values"] for s in server.series(database) if s["metric"]["__name__"] == name]


def test_what_a_window_becomes(backend: Influx, victoria: Victoria, database: str) -> None:
    backend.check()
    backend.write([aggregate(window(probe="ns/a pod,=x", tags=TAGS, size=77))])
    series = {s["metric"].pop("__name__"): s for s in victoria.series(database)}
    labels = {
        "db": database,
        "probe": "ns/a pod,=x",
        "probeIP": "10.0.0.1",
        "srcIP": "10.0.0.1",
        "dstIP": "10.0.0.2",
        **dict(TAGS),
    }
    assert series["traffic_size"] == {"metric": labels, "values": [77], "timestamps": [START]}
    assert series["traffic_packets"]["values"] == [1]
    assert series["traffic_ledger_counted_bytes"]["metric"] == {
        "db": database,
        "probe": "ns/a pod,=x",
        "device": "eth0",
        **dict(TAGS),
    }
    assert len(series) == SERIES


def test_as_many_tags_as_a_probe_may_have(
    backend: Influx, victoria: Victoria, database: str
) -> None:
    tags = tuple((f"a{number:02}", "v") for number in range(wire.MAX_TAGS))
    backend.write([aggregate(window(tags=tags))])
    (found,) = (
        s["metric"] for s in victoria.series(database) if s["metric"]["__name__"] == "traffic_size"
    )
    names = {"__name__", "db", "probe", "probeIP", "srcIP", "dstIP", *dict(tags)}
    assert set(found) == names


def test_a_tag_named_db_takes_the_place_of_the_database(
    backend: Influx, victoria: Victoria, database: str
) -> None:
    backend.write([aggregate(window(tags=(("db", f"{database}-tag"),)))])
    assert victoria.series(database) == []
    assert values(victoria, f"{database}-tag") == [[100]]


def test_steps_as_long_as_their_range_count_every_window_once(
    backend: Influx, victoria: Victoria, database: str
) -> None:
    backend.write([aggregate(window(number, size=100 + number)) for number in range(20)])
    victoria.series(database)
    answer = json.loads(
        victoria.get(
            "/api/v1/query_range",
            query=f'sum by (srcIP) (sum_over_time(traffic_size{{db="{database}"}}[2m]))',
            start=str(START / 1000),
            end=str(START / 1000 + 840),
            step="2m",
            nocache="1",
        )
    )
    (series,) = answer["data"]["result"]
    assert series["metric"] == {"srcIP": "10.0.0.1"}
    sums = [int(value) for _, value in series["values"]]
    assert len(sums) > 4 and sum(sums) == sum(100 + number for number in range(20))


def test_packed_lines_are_understood(victoria: Victoria, database: str) -> None:
    backend = Influx(Config(host=victoria.url), database, "traffic", 10, compress=True)
    stored = [aggregate(window(number)) for number in range(50)]
    backend.write(stored)
    assert [len(found) for found in values(victoria, database)] == [50]
    backend.close()


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        (2**53, 2**53),
        (2**53 + 1, 2**53),
        (123_456_789_012_345, 123_456_789_012_345),
        (1_234_567_890_123_456_789, 1_234_567_890_123_456_768),
    ],
)
def test_integers_are_exact_up_to_53_bits(
    size: int, kept: int, backend: Influx, victoria: Victoria, database: str
) -> None:
    backend.write([aggregate(window(size=size))])
    assert values(victoria, database) == [[kept]]


def test_written_again_counts_once_with_the_flag(
    backend: Influx, victoria: Victoria, database: str
) -> None:
    for _ in range(3):
        backend.write([aggregate(window(0)), aggregate(window(1))])
        victoria.series(database)  # flushes: each time into a part of its own
    assert values(victoria, database) == [[100, 100]]


def test_written_again_counts_again_without_the_flag(tmp_path: Path) -> None:
    with victoria_at(tmp_path, "-retentionPeriod=10y") as server:
        backend = Influx(Config(host=server.url), "w", "traffic", 10)
        for _ in range(3):
            backend.write([aggregate(window())])
            server.series("w")
        backend.close()
        assert values(server, "w") == [[100, 100, 100]]


def test_beyond_the_retention_nothing_is_stored_and_nothing_said(tmp_path: Path) -> None:
    with victoria_at(tmp_path, "-retentionPeriod=1d") as server:
        backend = Influx(Config(host=server.url), "w", "traffic", 10)
        backend.write([aggregate(window())])
        backend.close()
        assert server.series("w") == []
        ignored = [
            line for line in server.get("/metrics").splitlines() if "small_timestamp" in line
        ]
        assert ignored == [f'vm_rows_ignored_total{{reason="small_timestamp"}} {SERIES}']


def test_an_ack_of_it_does_not_outlive_a_kill(tmp_path: Path) -> None:
    with victoria_at(tmp_path, "-retentionPeriod=10y") as server:
        backend = Influx(Config(host=server.url), "w", "traffic", 10)
        backend.write([aggregate(window())])
        server.stop(signal.SIGKILL)
        server.start()
        assert server.series("w") == []
        backend.write([aggregate(window())])
        server.stop()  # but an orderly stop
        server.start()
        assert values(server, "w") == [[100]]
        backend.close()


def test_wrong_password(tmp_path: Path) -> None:
    with victoria_at(tmp_path, "-httpAuth.username=u", "-httpAuth.password=p") as server:
        backend = Influx(Config(host=server.url, user="u"), "w", "traffic", 10)
        with pytest.raises(Retryable, match="refuses it"):
            backend.check()
        with pytest.raises(Retryable, match="refuses it"):
            backend.write([aggregate(window())])
        backend.close()


def test_reading_names_the_way(backend: Influx) -> None:
    backend.write([aggregate(window())])
    for attempt in (
        lambda: list(backend.traffic(0, 2**50)),
        lambda: list(backend.traffic(0, 2**50, ["probe"])),
        lambda: list(backend.ledgers(0, 2**50)),
    ):
        with pytest.raises(WakizashiError, match=r"ask it for traffic_size in PromQL, see docs"):
            attempt()


def test_its_series_are_not_known(backend: Influx, caplog: pytest.LogCaptureFixture) -> None:
    backend.write([aggregate(window())])
    assert backend.series() is None
    SeriesWatch(backend, Metrics()).look()
    assert caplog.messages == []
