"""What a real InfluxDB answers, and what the backend makes of it."""

import asyncio
import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.center_backends import opened
from tests.center_servers import InfluxServer, until
from tests.center_windows import START, ip, window
from tests.fault.test_center import Center
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backend import Series
from wakizashi.center.backends.influxdb import Config, Influx
from wakizashi.center.influx.lines import encode_lines
from wakizashi.center.isolate import isolate, points
from wakizashi.center.metrics import Metrics
from wakizashi.center.series import SeriesWatch
from wakizashi.errors import Permanent, Retryable
from wakizashi.model import Direction, Flow, StoredWindow, Tally

DAY = 86_400_000
LATER = 2**43
"""Milliseconds, after every window."""


@pytest.fixture
def database() -> str:
    return f"w{uuid.uuid4().hex}"


@pytest.fixture
def backend(influxd: InfluxServer, database: str) -> Iterator[Influx]:
    made = Influx(Config(host=influxd.url), database, "traffic", 10)
    try:
        yield made
    finally:
        made.close()


def at(stored: StoredWindow, start_ms: int) -> StoredWindow:
    """The same window at another time."""
    return replace(
        stored,
        start_ms=start_ms,
        records=tuple(record._replace(timestamp=start_ms) for record in stored.records),
        ledgers=tuple(replace(ledger, timestamp=start_ms) for ledger in stored.ledgers),
    )


def addresses(sources: int, destinations: int = 1, *, number: int = 0) -> StoredWindow:
    """A window with all pairs of so many addresses."""
    return aggregate(
        window(
            number,
            tuple(
                Flow(0, Direction.OUT, ip(s % 250, s // 250), ip(d % 250, 200 + d // 250), 10, 1)
                for s in range(sources)
                for d in range(destinations)
            ),
        )
    )


def starts(backend: Influx) -> list[int]:
    return [int(row["timestamp"]) for row in backend.traffic(0, LATER)]


def now_ms() -> int:
    return time.time_ns() // 1_000_000 // 30_000 * 30_000


# -- points at fault ---------------------------------------------------------------------------


def test_beyond_the_retention_policy(backend: Influx, influxd: InfluxServer, database: str) -> None:
    influxd.query(f'CREATE DATABASE "{database}" WITH DURATION 2d')
    old, new = aggregate(window(0)), at(aggregate(window(1)), now_ms())
    with pytest.raises(Permanent, match=r"points beyond retention policy dropped=2"):
        backend.write([old, new])
    assert starts(backend) == [new.start_ms], "the good ones are stored"
    isolated, count = isolate(backend.write, [old, new], "refused")
    assert list(isolated) == [("vm-1", old.start_ms)] and count == 2
    assert "retention" in isolated["vm-1", old.start_ms]


def test_several_faults_in_one_write_are_all_found(
    backend: Influx, influxd: InfluxServer, database: str
) -> None:
    influxd.query(f'CREATE DATABASE "{database}" WITH DURATION 30d SHARD DURATION 1d')
    influxd.query(f'CREATE RETENTION POLICY "x" ON "{database}" DURATION 1d REPLICATION 1')
    today = now_ms()
    influxd.write(database, f"traffic,probe=x size=1.5 {today - 3 * DAY}")
    old = aggregate(window(0))
    conflict = replace(at(aggregate(window(1)), today - 3 * DAY), ledgers=())
    good = [at(aggregate(window(number)), today - number * DAY) for number in range(3)]
    windows = [good[0], old, good[1], conflict, good[2]]
    with pytest.raises(Permanent) as told:
        backend.write(windows)
    assert ("retention" in str(told.value)) != ("type conflict" in str(told.value)), "one of them"
    isolated, count = isolate(backend.write, windows, "refused")
    assert count == points(old) + 1
    assert "retention" in isolated["vm-1", old.start_ms]
    assert "type conflict" in isolated["vm-1", conflict.start_ms]
    assert sorted(set(starts(backend)) - {today - 3 * DAY}) == sorted(w.start_ms for w in good)


def test_a_limit_behind_another_fault_is_no_success(
    backend: Influx, influxd: InfluxServer, database: str
) -> None:
    backend.write([addresses(1_000)])
    influxd.write(database, f"traffic,probe=x size=1.5 {START + 30 * DAY}")
    conflict = replace(at(aggregate(window(1)), START + 30 * DAY), ledgers=())
    full = aggregate(window(2, (Flow(0, Direction.OUT, ip(9, 99), ip(2), 5, 1),)))
    for _ in range(10):  # which one it tells first differs
        with pytest.raises((Permanent, Retryable)) as told:
            backend.write([full, conflict])
        if isinstance(told.value, Permanent):
            with pytest.raises(Retryable, match="max-values-per-tag.*raise that limit"):
                isolate(backend.write, [full, conflict], str(told.value))


def test_a_number_that_can_not_be_parsed(backend: Influx) -> None:
    good, other = aggregate(window(0)), aggregate(window(1))
    bad = replace(other, records=(other.records[0]._replace(size=2**63),))
    with pytest.raises(Permanent, match="unable to parse.*out of range"):
        backend.write([good, bad])
    isolated, count = isolate(backend.write, [good, bad], "refused")
    assert list(isolated) == [("vm-1", bad.start_ms)] and count == 1
    assert starts(backend) == [good.start_ms]


# -- trouble that can be mended ----------------------------------------------------------------


def test_too_many_series_is_no_success(backend: Influx) -> None:
    backend.write([addresses(70, 70)])
    with pytest.raises(Retryable, match="max-series-per-database.*raise that limit"):
        backend.write([addresses(90, 60, number=1)])


def test_without_its_default_retention_policy(
    backend: Influx, influxd: InfluxServer, database: str
) -> None:
    influxd.query(f'CREATE DATABASE "{database}"')
    influxd.query(f'DROP RETENTION POLICY "autogen" ON "{database}"')
    with pytest.raises(Retryable, match="answers 500: retention policy not found: autogen"):
        backend.write([aggregate(window())])


def writes_of(backend: Influx, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that write, as they are sent."""
    sent: list[str] = []
    real = backend._request

    def request(url: str, *arguments: Any, **more: Any) -> Any:
        sent.extend([url] * (url == "write"))
        return real(url, *arguments, **more)

    monkeypatch.setattr(backend, "_request", request)
    return sent


def test_a_body_that_is_too_large_goes_in_parts(
    backend: Influx, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.write([aggregate(window(7, probe="makes-the-database"))])
    sent = writes_of(backend, monkeypatch)
    backend.write([addresses(900, 5)])
    assert len(sent) > 2  # the whole, then parts of it
    assert len(starts(backend)) == 4_501


def test_packed_lines_are_understood(
    influxd: InfluxServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Influx(Config(host=influxd.url), database, "traffic", 10, compress=True)
    influxd.query(f'CREATE DATABASE "{database}"')
    sent = writes_of(backend, monkeypatch)
    backend.write([addresses(900, 5)])  # 450 kB, packed within the 300 kB that the server permits
    assert len(sent) == 1
    assert len(starts(backend)) == 4_500
    backend.close()


def test_users_with_less_than_all_rights(influxd_with_users: InfluxServer, database: str) -> None:
    query = influxd_with_users.query
    query("CREATE USER joe WITH PASSWORD 'joe'")
    config = Config(host=influxd_with_users.url, user="joe", password=SecretStr("joe"))
    backend = Influx(config, database, "traffic", 10)
    stored = aggregate(window())
    with pytest.raises(Retryable, match=r"user: 'joe'.*\(403: .*'CREATE DATABASE .*grant it"):
        backend.write([stored])
    query(f'CREATE DATABASE "{database}"')
    with pytest.raises(Retryable, match=r"user: 'joe'.*\(403: .*not authorized to write"):
        backend.write([stored])
    query(f'GRANT ALL ON "{database}" TO joe')  # mended while it runs
    backend.write([stored])
    assert starts(backend) == [START]
    series = backend.series()
    assert series is not None and (series.count, series.tightest) == (2, None)
    query(f'REVOKE ALL ON "{database}" FROM joe')
    watch_quietly(backend)
    query("DROP USER joe")
    with pytest.raises(Retryable, match=r"user: 'joe'.*\(401: .*mend user and password"):
        backend.write([stored])
    backend.close()


def test_who_only_reads_needs_no_more_than_read(
    influxd_with_users: InfluxServer, database: str
) -> None:
    query, server = influxd_with_users.query, f"influxConfig.host={influxd_with_users.url}"
    query("CREATE USER ann WITH PASSWORD 'ann'")
    admin = ["influxConfig.user=admin", "influxConfig.password=secret", f"database={database}"]
    with opened("influxdb", [server, *admin]) as center:
        center.write([aggregate(window())])
    user = ["influxConfig.user=ann", "influxConfig.password=ann", f"database={database}"]
    with opened("influxdb", [server, *user], read_only=True) as reader:
        wanted = rf"user: 'ann'.*\(403: .*or grant it READ on {database}$"
        with pytest.raises(Retryable, match=wanted):
            list(reader.traffic(0, LATER, ["probe"]))
        query(f'GRANT READ ON "{database}" TO ann')
        reader.check()
        assert len(list(reader.traffic(0, LATER, ["probe"]))) == 1
        assert list(reader.traffic(0, START, ["probe"])) == []
    with opened("influxdb", [server, *user]) as center:
        with pytest.raises(Retryable, match=rf"\(403: .*or grant it ALL on {database}$"):
            center.write([aggregate(window())])
    query("DROP USER ann")


# -- the budget of series ----------------------------------------------------------------------


def watch_quietly(backend: Influx) -> None:
    """Nothing is known, and nothing is said."""
    metrics = Metrics()
    SeriesWatch(backend, metrics).look()
    text = metrics.render().decode()
    assert "\nwakizashi_center_series NaN\n" in text
    assert "\nwakizashi_center_series_used_ratio NaN\n" in text


def test_a_warning_before_the_values_of_a_tag_are_too_many(
    backend: Influx, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    watch = SeriesWatch(backend, metrics)
    backend.write([addresses(700)])
    watch.look()
    assert caplog.messages == []
    assert metrics.registry.get_sample_value("wakizashi_center_series_used_ratio") == 0.7
    backend.write([addresses(800, number=1)])
    watch.look()
    (message,) = caplog.messages
    assert (
        "800 values of tag probeIP in measurement traffic, and max-values-per-tag is 1000"
        in (message)
        or "800 values of tag srcIP in measurement traffic, and max-values-per-tag is 1000"
        in message
    )
    assert "raise it in InfluxDB's [data] section" in message
    assert caplog.records[0].levelno == logging.WARNING
    assert metrics.registry.get_sample_value("wakizashi_center_series_used_ratio") == 0.8
    assert metrics.registry.get_sample_value("wakizashi_center_series") == 801


def test_a_warning_before_the_series_are_too_many(
    backend: Influx, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend.write([addresses(70, 60)])
    SeriesWatch(backend, Metrics()).look()
    (message,) = caplog.messages
    assert f"series in database {database}, and max-series-per-database is 5000" in message
    series = backend.series()
    assert series is not None and series.count == pytest.approx(4_201, rel=0.02)  # an estimate


def test_a_server_that_is_down_is_not_told_twice(
    influxd: InfluxServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backend = Influx(Config(host="http://127.0.0.1:1"), "w", "traffic", 1)
    watch_quietly(backend)
    backend.close()
    assert caplog.messages == []


def test_looking_takes_a_hundredth_of_the_time_at_most() -> None:
    now = 0.0
    pauses: list[float] = []

    class Slow(Influx):
        def series(self) -> Series | None:
            nonlocal now
            now += 3.0
            return Series(7, None)

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise asyncio.CancelledError

    metrics = Metrics()
    backend = Slow(Config(), "w", "traffic", 1)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(SeriesWatch(backend, metrics, clock=lambda: now, sleep=sleep).loop())
    backend.close()
    assert pauses == [300.0, 300.0]
    assert metrics.registry.get_sample_value("wakizashi_center_series") == 7


def test_a_center_looks(
    backend: Influx, influxd: InfluxServer, database: str, tmp_path: Path
) -> None:
    backend.write([aggregate(window())])
    center = Center(tmp_path)
    settings = (f"influxConfig.host={influxd.url}", f"database={database}", "type=influxdb")
    try:
        center.start(*(f"backendConfig.{setting}" for setting in settings))
        until(
            lambda: "\nwakizashi_center_series 2.0\n" in center.get("/metrics")[1],
            "the series are counted",
        )
    finally:
        assert center.stop() == 0


def test_ledgers_from_before_losses_and_merged_windows_are_read(
    influxd: InfluxServer, backend: Influx, database: str
) -> None:
    old, new = aggregate(window(3)), aggregate(window(5, lost=Tally(1, 60), windows=2))
    backend.write([replace(old, ledgers=())])  # makes the database
    kept = ",".join(
        field
        for field in encode_lines([old], "traffic").splitlines()[1].split(" ")[1].split(",")
        if not field.startswith(("windows", "lost_"))
    )
    influxd.write(database, f"traffic_ledger,probe=vm-1,device=eth0 {kept} {old.start_ms}")
    assert list(backend.ledgers(0, LATER)) == list(old.ledgers)  # the columns are not there
    backend.write([new])
    assert list(backend.ledgers(0, LATER)) == [*old.ledgers, *new.ledgers]  # they are null
