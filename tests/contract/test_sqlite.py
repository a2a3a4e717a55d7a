"""What SQLite has beside the contract: one center a file, a bounded log, retention, its layout."""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.center_backends import END, expected, ledgers, opened, rows
from tests.center_windows import START, ip, window
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backends import sqlite
from wakizashi.center.backends.sqlite import Config, Sqlite
from wakizashi.center.isolate import isolate
from wakizashi.center.sqlite import reading, retention
from wakizashi.center.sqlite.tables import Tables
from wakizashi.errors import Permanent, Retryable, WakizashiError
from wakizashi.model import LATER_FIELDS, Direction, Flow, StoredWindow, Tally

DAY = 86_400


def stored(number: int, records: int = 1, probe: str = "vm-1") -> StoredWindow:
    """The ``number``-th window of a probe, with that many records."""
    flows = [
        Flow(0, Direction.OUT, ip(1), ip(n % 250, n // 250), 1000 + n, 1) for n in range(records)
    ]
    return aggregate(window(number, tuple(flows), probe=probe))


def settings(folder: Path, *more: str) -> list[str]:
    return [f"sqliteConfig.path={folder}/w.db", *(f"sqliteConfig.{setting}" for setting in more)]


class Clock:
    """Unix time in seconds; begins with the first window."""

    def __init__(self) -> None:
        self.now = START / 1000

    def __call__(self) -> float:
        return self.now


@contextmanager
def with_clock(folder: Path, clock: Clock, **config: int) -> Iterator[Sqlite]:
    made = Sqlite(Config(path=folder / "w.db", **config), "traffic", 5, clock=clock)
    try:
        yield made
    finally:
        made.close()


def count(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(f"file:{folder}/w.db?mode=ro", uri=True)) as reader:
        (number,) = reader.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(number)


def size(folder: Path, suffix: str = "") -> int:
    return (folder / f"w.db{suffix}").stat().st_size


# -- the file --------------------------------------------------------------------------------


def test_path_that_can_not_be(tmp_path: Path) -> None:
    with opened("sqlite", [f"sqliteConfig.path={tmp_path}/no/w.db"]) as made:
        for attempt in (made.check, lambda: made.write([stored(0)])):
            with pytest.raises(Retryable, match=r"sqliteConfig\.path: .*no/w\.db.*exists"):
                attempt()
        (tmp_path / "no").mkdir()
        made.write([stored(0)])  # mended while it ran


def test_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "w.db").write_text("hello, this is no database " * 100)
    with opened("sqlite", settings(tmp_path)) as made:
        with pytest.raises(Retryable, match="not a database; name another file"):
            made.write([stored(0)])


@pytest.mark.parametrize("layout", [0, 2])
def test_file_of_another_layout_is_refused_and_left_alone(tmp_path: Path, layout: int) -> None:
    with closing(sqlite3.connect(tmp_path / "w.db")) as other:
        other.execute("CREATE TABLE traffic (timestamp, size)")
        other.execute(f"PRAGMA user_version = {layout}")
    before = (tmp_path / "w.db").read_bytes()
    message = rf"sqliteConfig\.path: .*\(user_version {layout}; this one has 1\); name another"
    with opened("sqlite", settings(tmp_path)) as made:
        for attempt in (made.check, lambda: made.write([stored(0)])):
            with pytest.raises(Retryable, match=message):
                attempt()
        with pytest.raises(WakizashiError, match=message) as caught:
            rows(made)
        assert not isinstance(caught.value, Retryable)
        assert (tmp_path / "w.db").read_bytes() == before
        (tmp_path / "w.db").rename(tmp_path / "old.db")
        made.write([stored(0)])
        assert rows(made) == expected(stored(0))


OLD_NUMBERS = ", ".join(
    f"{tally}_{unit} INTEGER NOT NULL"
    for tally in ("device", "counted", "own", "non_ip", "dropped", "other")
    for unit in ("packets", "bytes")
)
OLD_FILE = f"""
    CREATE TABLE traffic_window (id INTEGER PRIMARY KEY, timestamp INTEGER, probe TEXT NOT NULL,
        tags TEXT NOT NULL, UNIQUE (timestamp, probe));
    CREATE TABLE traffic_record (window INTEGER NOT NULL, probeIP TEXT NOT NULL, srcIP TEXT NOT NULL,
        dstIP TEXT NOT NULL, size INTEGER NOT NULL, packets INTEGER NOT NULL,
        PRIMARY KEY (window, probeIP, srcIP, dstIP)) WITHOUT ROWID;
    CREATE TABLE traffic_device (window INTEGER NOT NULL, device TEXT NOT NULL,
        number INTEGER NOT NULL, duration INTEGER NOT NULL, {OLD_NUMBERS},
        PRIMARY KEY (window, device)) WITHOUT ROWID;
    CREATE VIEW traffic AS SELECT timestamp, probe, probeIP, srcIP, dstIP, size, packets, tags
        FROM traffic_window JOIN traffic_record ON window = id WHERE timestamp IS NOT NULL;
    CREATE VIEW traffic_ledger AS SELECT timestamp, probe, device, number, duration,
        {OLD_NUMBERS.replace(" INTEGER NOT NULL", "")}, tags
        FROM traffic_window JOIN traffic_device ON window = id WHERE timestamp IS NOT NULL;
    PRAGMA user_version = 1;
    INSERT INTO traffic_window VALUES (1, {START}, 'vm-1', '{{}}');
    INSERT INTO traffic_record VALUES (1, '10.0.0.1', '10.0.0.1', '10.0.0.0', 1000, 1);
    INSERT INTO traffic_device VALUES (1, 'eth0', 0, 30000, 1, 1000, 1, 1000, 0, 0, 0, 0, 0, 0, 0, 0);
"""
"""The file of a center from before the ledger's ``windows`` and ``lost``."""


def test_file_from_before_losses_and_merged_windows_is_read_and_goes_on(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "w.db")) as old:
        old.executescript(OLD_FILE)
    before = (tmp_path / "w.db").read_bytes()
    with opened("sqlite", settings(tmp_path), read_only=True) as reader:
        assert rows(reader) == expected(stored(0))
        assert ledgers(reader) == list(stored(0).ledgers)
    assert (tmp_path / "w.db").read_bytes() == before
    later = aggregate(window(5, lost=Tally(1, 60), windows=3))
    with opened("sqlite", settings(tmp_path)) as made:
        made.write([later])
    with opened("sqlite", settings(tmp_path)) as again:
        again.write([stored(6)])
        assert rows(again) == expected(stored(0), later, stored(6))
        assert ledgers(again) == [*stored(0).ledgers, *later.ledgers, *stored(6).ledgers]
    with closing(sqlite3.connect(tmp_path / "w.db")) as other:
        query = "SELECT number, windows, lost_bytes FROM traffic_ledger ORDER BY number"
        assert other.execute(query).fetchall() == [(0, 1, 0), (5, 3, 60), (6, 1, 0)]
        # The release before names its columns, and so can be gone back to.
        other.execute("INSERT INTO traffic_window VALUES (9, 9, 'vm-1', '{}')")
        names = f"window, device, number, duration, {OLD_NUMBERS.replace(' INTEGER NOT NULL', '')}"
        other.execute(f"INSERT INTO traffic_device ({names}) VALUES (9, 'eth0'{', 7' * 14})")
        assert other.execute(query).fetchall()[-1] == (7, 1, 0)


def test_second_center_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "w.db")
    with opened("sqlite", settings(tmp_path)) as first:
        for name in ("w.db", "link.db"):
            message = rf"sqliteConfig\.path: .*{name} is in use by another center; stop that one"
            with pytest.raises(WakizashiError, match=message):
                with opened("sqlite", [f"sqliteConfig.path={tmp_path}/{name}"]):
                    pass
        first.write([stored(0)])
        with opened("sqlite", settings(tmp_path), read_only=True) as reader:
            assert rows(reader) == expected(stored(0))
            with pytest.raises(Permanent, match="for reading only"):
                reader.write([stored(1)])
    with opened("sqlite", settings(tmp_path)) as second:
        second.write([stored(1)])
        assert rows(second) == expected(stored(0), stored(1))


def test_second_center_that_started_before_its_folder_was_there(tmp_path: Path) -> None:
    path = [f"sqliteConfig.path={tmp_path}/later/w.db"]
    with opened("sqlite", path) as first, opened("sqlite", path) as second:
        (tmp_path / "later").mkdir()
        first.write([stored(0)])
        with pytest.raises(Retryable, match="is in use by another center"):
            second.write([stored(1)])
        first.close()
        second.write([stored(1)])


def test_no_word_for_what_went_into_a_removed_file(tmp_path: Path) -> None:
    with opened("sqlite", settings(tmp_path)) as made:
        made.write([stored(0)])
        for name in ("w.db", "w.db-wal", "w.db-shm"):
            (tmp_path / name).unlink()
        with pytest.raises(Retryable, match=r"sqliteConfig\.path: .*No such file"):
            made.write([stored(1)])
        made.write([stored(1)])
        assert rows(made) == expected(stored(1))


def test_no_word_for_what_went_into_a_replaced_file(tmp_path: Path) -> None:
    with opened("sqlite", settings(tmp_path)) as made:
        made.write([stored(0)])
        for name in ("w.db", "w.db-wal", "w.db-shm"):
            (tmp_path / name).unlink()
        (tmp_path / "w.db").touch()
        with pytest.raises(Retryable, match="was replaced by another file"):
            made.write([stored(1)])
        made.write([stored(1)])
        assert rows(made) == expected(stored(1))


def test_number_that_does_not_fit(tmp_path: Path) -> None:
    good, other = stored(0), stored(1)
    bad = replace(other, records=(other.records[0]._replace(size=2**63),))
    with opened("sqlite", settings(tmp_path)) as made:
        with pytest.raises(Permanent, match="64 bits"):
            made.write([good, bad])
        isolated, number = isolate(made.write, [good, bad], "refused")
        assert list(isolated) == [("vm-1", bad.start_ms)] and number == 1
        assert rows(made) == expected(good)


def test_a_longer_window_of_the_same_start_takes_its_place(tmp_path: Path) -> None:
    with opened("sqlite", settings(tmp_path)) as made:
        made.write([aggregate(window(0, size=100))])
        longer = aggregate(window(0, size=150, tags=(("env", "b"),)))
        made.write([longer])
        assert rows(made) == expected(longer)
        assert ledgers(made) == list(longer.ledgers)
    with closing(sqlite3.connect(tmp_path / "w.db")) as shell:
        assert shell.execute("SELECT tags FROM traffic").fetchall() == [('{"env": "b"}',)]


def test_people_can_query_it(tmp_path: Path) -> None:
    with opened("sqlite", settings(tmp_path)) as made:
        made.write([aggregate(window(0, tags=(("env", "prod"),)))])
    with closing(sqlite3.connect(tmp_path / "w.db")) as shell:
        query = "SELECT probe, srcIP, dstIP, size, tags ->> 'env' FROM traffic"
        assert shell.execute(query).fetchall() == [("vm-1", "10.0.0.1", "10.0.0.2", 100, "prod")]
        query = "SELECT probe, device, duration, counted_bytes FROM traffic_ledger"
        assert shell.execute(query).fetchall() == [("vm-1", "eth0", 30_000, 100)]


# -- reading ---------------------------------------------------------------------------------


def test_sums_are_exact_beyond_63_bits(tmp_path: Path) -> None:
    big = 2**63 - 1
    with opened("sqlite", settings(tmp_path)) as made:
        made.write([aggregate(window(number, size=big)) for number in range(3)])
        (row,) = made.traffic(0, END, ["probe"])
        (bucket,) = made.traffic(0, END, step_ms=END)
        (ledger,) = made.ledger_sums(0, END)
    assert row == {"probe": "vm-1", "size": 3 * big, "packets": 3}
    assert bucket == {"timestamp": 0, "size": 3 * big, "packets": 3}
    assert ledger.ledger.counted == Tally(3, 3 * big)


def test_slices_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = [stored(n, n % 9 + 1, f"vm-{probe}") for n in range(20) for probe in range(3)]
    with opened("sqlite", settings(tmp_path)) as made:
        made.write(windows)
        whole = [list(made.traffic(START, END, by)) for by in ([], ["probe"], ["dstIP", "srcIP"])]
        bys: list[list[str]] = [[], ["probe"], ["dstIP", "srcIP"]]
        buckets = [list(made.traffic(START, END, by, step_ms=90_000)) for by in bys]
        devices = list(made.ledger_sums(START, END))
        assert [len(found) for found in buckets[:2]] == [8, 24]
        assert expected(*windows) == rows(made)
        for slice_rows in (1, 3, 7):
            monkeypatch.setattr(reading, "SLICE_ROWS", slice_rows)
            monkeypatch.setattr(reading, "SUM_ROWS", 10 * slice_rows)
            again = [
                list(made.traffic(START, END, by)) for by in ([], ["probe"], ["dstIP", "srcIP"])
            ]
            assert again == whole
            assert [list(made.traffic(START, END, by, step_ms=90_000)) for by in bys] == buckets
            assert list(made.ledger_sums(START, END)) == devices
            assert len(ledgers(made)) == len(windows)
            some = [row["timestamp"] for row in made.traffic(START + 30_000, START + 60_000)]
            assert some == [START + 30_000] * 6


def test_a_sum_does_not_keep_the_process_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truly, on = reading.sums, set()

    def sums(*arguments: Any) -> reading.Totals:
        on.add(threading.current_thread())
        return truly(*arguments)

    monkeypatch.setattr(reading, "sums", sums)
    with opened("sqlite", settings(tmp_path)) as made:
        made.write([stored(n) for n in range(4)])
        assert list(made.traffic(START, END, ["probe"]))
    assert len(on) == 2
    assert all(thread.daemon for thread in on - {threading.current_thread()})


def test_every_statement_uses_an_index(tmp_path: Path) -> None:
    tables = Tables("traffic")
    with closing(sqlite3.connect(tmp_path / "w.db")) as connection:
        for statement in tables.create:
            connection.execute(statement)
        statements = [text for text in vars(tables).values() if isinstance(text, str)]
        statements = [
            text for text in statements if text.startswith(("SELECT", "UPDATE", "DELETE"))
        ]
        statements += [
            tables.records(""),
            tables.device_sums(list(LATER_FIELDS)),
            tables.devices([]),
        ]
        for keys in (["timestamp"], ["probe"], ["srcIP", "dstIP"]):
            statements.append(tables.sums(keys, "", ["size"], halves=True))
        assert len(statements) > 10
        # And what people ask.
        statements.append("SELECT sum(size) FROM traffic WHERE timestamp >= ? AND timestamp < ?")
        for statement in statements:
            plan = connection.execute(
                f"EXPLAIN QUERY PLAN {statement}", [1] * statement.count("?")
            ).fetchall()
            scans = [
                step
                for *_, step in plan
                if step.startswith("SCAN") and "CONSTANT" not in step and "(subquery" not in step
            ]
            assert plan and not scans, (statement, scans)


# -- the log ---------------------------------------------------------------------------------


def test_a_reader_that_thinks_does_not_let_the_log_grow(tmp_path: Path) -> None:
    with opened("sqlite", settings(tmp_path)) as made:
        first = stored(0, 9_000)
        devices = tuple(replace(first.ledgers[0], device=f"eth{n}") for n in range(9))
        made.write([replace(first, ledgers=devices)])
        with opened("sqlite", settings(tmp_path), read_only=True) as reader:
            reads = [
                reader.traffic(0, END),
                reader.traffic(0, END, ["dstIP"]),
                reader.ledgers(0, END),
            ]
            for read in reads:
                next(iter(read))
            for number in range(1, 26):
                made.write([stored(number, 9_000)])
                assert size(tmp_path, "-wal") < 6 * 2**20
            assert size(tmp_path) > 7 * 2**20
            # Those that were there when it began are read to the end, and those that came since.
            assert sum(1 for _ in reads[0]) == 26 * 9_000 - 1


def test_the_log_starts_over_as_soon_as_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limit = 256 * 2**10
    monkeypatch.setattr(sqlite, "WAL_LIMIT_BYTES", limit)
    monkeypatch.setattr(sqlite, "_CHECKPOINT_MS", 1)
    with opened("sqlite", settings(tmp_path)) as made:
        made.write([stored(0, 1_000)])
        with closing(sqlite3.connect(tmp_path / "w.db", isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM traffic").fetchall()
            with caplog.at_level(logging.WARNING):
                for number in range(1, 20):
                    made.write([stored(number, 1_000)])
            assert size(tmp_path, "-wal") > 2 * limit
            assert [record.getMessage() for record in caplog.records] == [
                f"backendConfig.sqliteConfig.path: {tmp_path}/w.db-wal grows beyond {limit} bytes: "
                "a reader keeps a transaction open; if this is told again, end the program that does"
            ]
            other.execute("ROLLBACK")
            made.write([stored(20)])
            made.write([stored(21)])
            assert size(tmp_path, "-wal") <= limit
        assert len(rows(made)) == 20_000 + 2


# -- retention -------------------------------------------------------------------------------


def test_what_is_older_than_ttl_goes(tmp_path: Path) -> None:
    clock = Clock()
    with with_clock(tmp_path, clock, ttl=60) as made:
        first = [stored(number, 3, probe) for number in range(3) for probe in ("a", "b")]
        made.write(first)
        clock.now += 90.001
        made.write([stored(3, 3, "a")])
        kept = [*first[4:], stored(3, 3, "a")]  # 30 s and 60 s go, whole timestamps
        clock.now -= 0.001
        assert rows(made) == expected(*first[2:], stored(3, 3, "a"))
        assert {r.timestamp for r in ledgers(made)} == {START + 30_000 * n for n in (1, 2, 3)}
        clock.now += 30
        made.write([stored(4, 3, "a")])
        assert rows(made) == expected(*kept, stored(4, 3, "a"))
        assert count(tmp_path, "traffic_window") == 4
        assert count(tmp_path, "traffic_device") == 4
        assert count(tmp_path, "traffic_record") == 12


def test_a_late_window_is_taken_and_goes(tmp_path: Path) -> None:
    clock = Clock()
    clock.now += 3_000
    with with_clock(tmp_path, clock, ttl=60) as made:
        made.write([stored(100)])
        made.write([stored(0)])
        assert rows(made) == expected(stored(100))
        assert count(tmp_path, "traffic_record") == 1


def test_a_wrong_clock_alone_removes_nothing(tmp_path: Path) -> None:
    clock = Clock()
    with with_clock(tmp_path, clock, ttl=DAY) as made:
        made.write([stored(0)])
        clock.now += 3650 * DAY  # the center's
        made.write([stored(1)])
        assert rows(made) == expected(stored(0), stored(1))
        clock.now -= 3650 * DAY
        made.write([stored(30_000)])  # a probe's
        assert rows(made) == expected(stored(0), stored(1), stored(30_000))


def test_expired_rows_go_a_few_with_each_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SWEEP_ROWS", 10)
    clock = Clock()
    windows = [
        stored(number, records, probe)
        for number, records in enumerate((4, 35, 3, 1, 12, 10))
        for probe in ("a", "b")
    ]
    with with_clock(tmp_path, clock, ttl=60) as made:
        made.write(windows)
        clock.now += 1_000
        late = [stored(40, 1, f"late-{n}") for n in range(20)]
        before = count(tmp_path, "traffic_record")
        for number, new in enumerate(late):
            made.write([new])
            after = count(tmp_path, "traffic_record")
            assert before + 1 - 10 <= after
            before = after
            # What has expired is gone from every answer, all windows of a timestamp together.
            found = rows(made)
            times = {row["timestamp"] for row in made.traffic(0, END)}
            there = [w for w in windows if w.start_ms in times]
            assert found == expected(*there, *late[: number + 1])
        assert rows(made) == expected(*late)
        assert count(tmp_path, "traffic_record") == len(late)
        assert count(tmp_path, "traffic_window") == len(late)


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    clock = Clock()
    with with_clock(tmp_path, clock, ttl=300) as made:
        sizes = []
        for number in range(60):
            clock.now += 30
            made.write([stored(number, 1_000)])
            sizes.append(size(tmp_path) + size(tmp_path, "-wal"))
        assert len(rows(made)) == 11_000
    assert max(sizes[40:]) <= max(sizes[:40]) and size(tmp_path) < 2 * 2**20


def test_limit_removes_the_oldest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limit = 2**20
    with opened("sqlite", settings(tmp_path, "limit=1MiB")) as made, caplog.at_level(30):
        for number in range(60):
            made.write([stored(number, 1_000)])
        found = sorted({int(row["timestamp"]) for row in made.traffic(0, END)})
        assert found == [START + 30_000 * n for n in range(60 - len(found), 60)]
        assert 15 < len(found) < 60
        assert [r.timestamp for r in ledgers(made)] == found
    assert size(tmp_path) < limit + 2**17
    (record,) = caplog.records
    assert "sqliteConfig.limit" in record.getMessage() and "raise limit" in record.getMessage()
