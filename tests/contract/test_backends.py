"""What every backend holds; what it reads beyond that is in ``test_reading.py``."""

import random
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.center_backends import END, Settings, expected, ledgers, opened, rows
from tests.center_servers import InfluxServer, free_port
from tests.center_windows import START, ip, window
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backend import Backend
from wakizashi.center.isolate import isolate
from wakizashi.errors import Permanent, Retryable, WakizashiError
from wakizashi.model import Direction, Flow, StoredWindow, Tally


def some_windows() -> list[StoredWindow]:
    windows = []
    for number in range(4):
        for probe, tags in (("ns/a pod,=x", (("env", "a b"), ("x-y", "ü=,"))), ("b", ())):
            flows = tuple(
                Flow(0, Direction.OUT, ip(1), ip(n), 1000 * number + n, 1) for n in range(2, 6)
            )
            v6 = Flow(0, Direction.IN, bytes(15) + b"\x02", bytes(15) + b"\x01", 77, 1)
            windows.append(aggregate(window(number, (*flows, v6), probe=probe, tags=tags)))
    return windows


def test_what_was_written_is_read(backend: Backend) -> None:
    windows = some_windows()
    backend.check()
    backend.write(windows)
    assert rows(backend) == expected(*windows)
    assert ledgers(backend) == sorted(
        (record for stored in windows for record in stored.ledgers),
        key=lambda record: (record.timestamp, record.probe, record.device),
    )


def test_lost_bytes_and_merged_windows_are_read(backend: Backend) -> None:
    stored = [
        aggregate(window(number, lost=Tally(number, 10 * number), windows=number or 1))
        for number in range(4)
    ]
    backend.write(stored)
    assert ledgers(backend) == [record for merged in stored for record in merged.ledgers]
    assert [record.windows for record in ledgers(backend)] == [1, 1, 2, 3]
    assert ledgers(backend)[3].ledger.lost == Tally(3, 30)


def test_writing_again_in_any_order_stores_the_same(backend: Backend) -> None:
    windows = some_windows()
    backend.write(windows)
    shuffler = random.Random(3)
    for _ in range(3):
        again = shuffler.sample(windows, len(windows))
        for stored in again:
            backend.write([stored])
        backend.write(again[:3] + again[:3])
    assert rows(backend) == expected(*windows)
    assert len(ledgers(backend)) == len(windows)


def test_since_is_included_and_until_is_not(backend: Backend) -> None:
    windows = [aggregate(window(number)) for number in range(3)]
    backend.write(windows)
    found = backend.traffic(START, START + 60_000)
    assert [row["timestamp"] for row in found] == [START, START + 30_000]
    assert [r.number for r in backend.ledgers(START + 1, START + 60_000)] == [1]


def test_sums_are_exact_beyond_53_bits(backend: Backend) -> None:
    big = 2**61 + 1
    backend.write([aggregate(window(number, size=big)) for number in range(3)])
    (row,) = backend.traffic(0, END, ["probe"])
    assert row == {"probe": "vm-1", "size": 3 * big, "packets": 3}
    assert type(row["size"]) is int


@pytest.mark.parametrize("by", [["srcIP", "dstIP"], ["probe"], ["dstIP"], ["probeIP", "probe"]])
def test_by(backend: Backend, by: list[str]) -> None:
    windows = some_windows()
    backend.write(windows)
    sums: dict[tuple[str, ...], list[int]] = {}
    for stored in windows:
        for record in stored.records:
            entry = sums.setdefault(tuple(getattr(record, key) for key in by), [0, 0])
            entry[0] += record.size
            entry[1] += record.packets
    found = list(backend.traffic(0, END, by))
    assert {
        tuple(str(row[key]) for key in by): [row["size"], row["packets"]] for row in found
    } == sums
    assert len(found) == len(sums)


def test_by_something_else(backend: Backend) -> None:
    with pytest.raises(ValueError, match="can't group by port"):
        list(backend.traffic(0, END, ["port"]))


def test_a_part_of_a_window_may_be_written_alone(backend: Backend) -> None:
    stored = some_windows()[0]
    backend.write([replace(stored, records=stored.records[:2], ledgers=())])
    assert rows(backend) == expected(replace(stored, records=stored.records[:2]))
    backend.write([replace(stored, records=stored.records[2:])])
    assert rows(backend) == expected(stored)


def test_an_empty_write(backend: Backend) -> None:
    backend.write([])
    backend.write([replace(aggregate(window()), records=(), ledgers=())])


def test_reading_by_another_process(place: tuple[str, Settings], backend: Backend) -> None:
    backend.write([aggregate(window())])
    with opened(*place, read_only=True) as reader:
        reader.check()
        assert rows(reader) == rows(backend) != []


def test_reading_what_is_not_there(place: tuple[str, Settings]) -> None:
    """Nothing is stored yet: what an operator sees who has just started everything."""
    with opened(*place, read_only=True) as reader:
        for question in questions(reader):
            is_told_to_wait(question)


def test_a_table_that_is_not_there(place: tuple[str, Settings], backend: Backend) -> None:
    backend.write([aggregate(window())])
    with opened(place[0], [*place[1], "table=other"], read_only=True) as reader:
        for question in questions(reader):
            assert "other" in is_told_to_wait(question)


def test_a_span_without_windows_is_an_empty_answer(backend: Backend) -> None:
    backend.write([aggregate(window())])
    for question in questions(backend, until_ms=START):
        assert list(question()) == []


def test_a_quiet_network_is_an_empty_answer(backend: Backend) -> None:
    quiet = replace(aggregate(window()), records=())
    backend.write([quiet])
    assert rows(backend) == []
    assert ledgers(backend) == list(quiet.ledgers)


def questions(backend: Backend, until_ms: int = END) -> tuple[Callable[[], Iterable[object]], ...]:
    return (
        lambda: backend.traffic(0, until_ms),
        lambda: backend.traffic(0, until_ms, ["probe"]),
        lambda: backend.traffic(0, until_ms, ["srcIP"], step_ms=60_000, where=[[{"probe": "b"}]]),
        lambda: backend.ledgers(0, until_ms),
        lambda: backend.ledger_sums(0, until_ms),
    )


def is_told_to_wait(question: Callable[[], Iterable[object]]) -> str:
    """The message."""
    with pytest.raises(WakizashiError, match=r"^backendConfig\.") as caught:
        list(question())
    said = str(caught.value)
    assert type(caught.value) is WakizashiError, "trying again by itself does not help"
    assert (
        "; if nothing has been stored yet, start the center first, then probes, and wait for the "
        "first window; else name " in said
    )
    assert said.endswith(" that the center writes")
    assert "\n" not in said
    return said


def test_describe_has_no_secrets(place: tuple[str, Settings]) -> None:
    name, settings = place
    secrets = [
        "influxConfig.password=hidden",
        "mongoConfig.mongoURI=mongodb://user:hidden@127.0.0.1/?appName=hidden",
    ]
    with opened(name, [*settings, *secrets]) as made:
        assert "hidden" not in made.describe


# -- influxdb --------------------------------------------------------------------------------


def test_influxdb_refused_connection() -> None:
    settings = [f"influxConfig.host=http://127.0.0.1:{free_port()}"]
    with opened("influxdb", settings) as made:
        with pytest.raises(Retryable, match="can't connect: connection refused; start InfluxDB"):
            made.write([aggregate(window())])


def test_influxdb_type_conflict_is_isolated(influxd: InfluxServer) -> None:
    name = f"w{uuid.uuid4().hex}"
    good, bad = aggregate(window(0)), aggregate(window(1))
    with opened("influxdb", [f"influxConfig.host={influxd.url}", f"database={name}"]) as made:
        made.write([good])
        # Another writer made `size` a float in the shard of the second window.
        far = START + 30 * 86_400_000
        influxd.write(name, f"traffic,probe=x size=1.5 {far}")
        records = tuple(r._replace(timestamp=far) for r in bad.records)
        bad = replace(bad, start_ms=far, records=records)
        with pytest.raises(Permanent, match="type conflict"):
            made.write([good, bad])
        isolated, count = isolate(made.write, [good, bad], "refused")
        assert list(isolated) == [("vm-1", far)]
        assert count == 1  # the ledger of that window is stored
        assert "type conflict" in isolated["vm-1", far]


def test_influxdb_limit_of_values_is_no_success(influxd: InfluxServer) -> None:
    def with_addresses(number: int, first: int) -> StoredWindow:
        flows = [
            Flow(0, Direction.OUT, ip(1), ip(n % 250, n // 250), 10, 1)
            for n in range(first, first + 1_100)
        ]
        return aggregate(window(number, tuple(flows)))

    settings = [f"influxConfig.host={influxd.url}", f"database=w{uuid.uuid4().hex}"]
    with opened("influxdb", settings) as made:
        made.write([with_addresses(0, 0)])  # InfluxDB looks at what was there before a write
        with pytest.raises(Retryable, match="max-values-per-tag"):
            made.write([with_addresses(1, 2_000)])


def test_influxdb_wrong_password(influxd_with_users: InfluxServer, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("wrong\n")
    settings = [
        f"influxConfig.host={influxd_with_users.url}",
        "influxConfig.user=admin",
        f"influxConfig.passwordFile={password}",
    ]
    with opened("influxdb", settings) as made:
        for attempt in (made.check, lambda: made.write([aggregate(window())])):
            with pytest.raises(Retryable, match=r"influxConfig\.user: 'admin'.*mend user and"):
                attempt()
        password.write_text("secret\n")  # mended while it runs
        made.check()
        made.write([aggregate(window())])
        assert rows(made) == expected(aggregate(window()))
