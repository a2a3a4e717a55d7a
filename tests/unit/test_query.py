"""What a query writes: rows as they come, and the same whatever they are kept in meanwhile."""

import csv
import io
import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.test_sqlite import stored
from wakizashi import query
from wakizashi.center.backends.sqlite import Config, Sqlite
from wakizashi.errors import Retryable, WakizashiError
from wakizashi.query import FIELDS, Row, export, write

ROWS: list[Row] = [
    dict(zip(FIELDS, (1_700_000_000_000 + n, f'vm "{n}"\n,ü', "a", "b", "c", n, 1), strict=True))
    for n in range(3)
]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_json_is_an_array_of_the_same_form_as_ever(number: int) -> None:
    out, expected = io.StringIO(), io.StringIO()
    write(iter(ROWS[:number]), (), "json", out)
    json.dump(ROWS[:number], expected, indent=1)
    assert out.getvalue() == expected.getvalue() + "\n"


@pytest.mark.parametrize("form", ["csv", "json"])
def test_rows_are_written_one_after_another(form: str) -> None:
    out = io.StringIO()
    written: list[int] = []

    def rows() -> Iterator[Row]:
        for row in ROWS:
            yield row
            written.append(out.getvalue().count("ü" if form == "csv" else "\\u00fc"))

    write(rows(), (), form, out)
    assert written == [1, 2, 3]


@pytest.fixture
def database(tmp_path: Path) -> list[str]:
    """Flags for a database with 1,000 records."""
    path = tmp_path / "w.db"
    made = Sqlite(Config(path=path), "traffic", 5)
    for number in range(10):
        made.write([stored(number, 100)])
    made.close()
    return [f"backendConfig.sqliteConfig.path={path}"]


def exported(database: list[str], form: str, by: tuple[str, ...] = ()) -> str:
    out = io.StringIO()
    export(None, last="5000w", by=by, form=form, overrides=database, out=out)
    return out.getvalue()


@pytest.mark.parametrize("form", query.FORMS)
@pytest.mark.parametrize("by", [(), ("dstIP",)])
def test_export_is_what_was_found_in_memory_or_in_a_file(
    database: list[str], monkeypatch: pytest.MonkeyPatch, form: str, by: tuple[str, ...]
) -> None:
    found = query.query(None, last="5000w", by=by, overrides=database)
    expected = io.StringIO()
    write(found, by, form, expected)
    assert len(found) == (100 if by else 1000)
    order = [-int(row["size"]) if by else int(row["timestamp"]) for row in found]
    assert order == sorted(order)
    assert exported(database, form, by) == expected.getvalue()
    monkeypatch.setattr(query, "KEPT_BYTES", 1)
    assert exported(database, form, by) == expected.getvalue()
    if form == "csv":
        assert len(list(csv.reader(io.StringIO(expected.getvalue())))) == len(found) + 1


@pytest.mark.parametrize("form", query.FORMS)
def test_what_is_not_read_to_its_end_is_not_written_in_part(
    database: list[str], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    def breaks(*_: object) -> Iterator[Row]:
        yield from ROWS
        raise Retryable("the server went away")

    monkeypatch.setattr(Sqlite, "traffic", breaks)
    out = io.StringIO()
    with pytest.raises(Retryable, match="went away"):
        export(None, last="1h", by=(), form=form, overrides=database, out=out)
    assert out.getvalue() == ""


@pytest.mark.parametrize("trouble", ["full", "nowhere"])
def test_no_room_for_what_was_read(
    database: list[str], monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(query, "KEPT_BYTES", 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if trouble == "full":
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (100_000, before[1])
        )  # less than the output, more than SQLite needs
    else:
        monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    try:
        with pytest.raises(WakizashiError, match="no room for what was read: .*; set TMPDIR"):
            exported(database, "json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("text", ["", "m", "1", "٣d", "9" * 5_000 + "d", "1s" * 151])
def test_what_is_no_span_of_time_is_told_in_short(text: str) -> None:
    with pytest.raises(query.QueryError, match="is no span of time; write 90s") as told:
        query.span_seconds(text)
    assert len(str(told.value)) < 400


def test_a_field_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(query.QueryError, match="--by: srcIP is there twice"):
        query.query(tmp_path / "none.yaml", last="1m", by=("srcIP", "probe", "srcIP"))
