"""How an audit is read, and how it is told."""

import io
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.audit_data import (
    SECONDS,
    START,
    STEP,
    A,
    B,
    audited,
    balanced,
    ledgers,
    record,
    rows,
    window,
)
from wakizashi import cli
from wakizashi.audit import reading
from wakizashi.audit.findings import KINDS
from wakizashi.audit.report import document, lines, verdict
from wakizashi.center.backend import Backend, Row, open_backend
from wakizashi.center.config import load_center
from wakizashi.model import LedgerRecord, StoredWindow, Tally

ROOT = Path(__file__).parents[2]


def bad_and_good() -> list[StoredWindow]:
    """A gap, a loss, and two probes that see each other."""
    lost = balanced(Tally(10_000, 1_000_000), lost=Tally(2, 120))
    windows = [window(n, probe="b", records=[record("b", 0, A, B, 990_000, at=B)]) for n in (1, 2)]
    for n in (1, 3):
        windows.append(
            window(n, probe="a", records=[record("a", 0, A, B, 1_000_000)], ledgers={"eth0": lost})
        )
    return windows


# -- JSON and table --------------------------------------------------------------------------


def test_the_json_document() -> None:
    report = audited(bad_and_good())
    found = json.loads(json.dumps(document(report, "SQLite at x")))
    assert {k: v for k, v in found.items() if k not in ("probes", "pairs", "findings")} == {
        "version": 1,
        "backend": "SQLite at x",
        "since": START,
        "until": START + 3 * STEP,
        "addsUp": False,
        "faults": 3,
        "counts": {"missing_windows": 1, "lost": 2},
    }
    assert found["findings"][0] == {
        "kind": "missing_windows",
        "fault": True,
        "probe": "a",
        "device": None,
        "since": START + STEP,
        "until": START + 2 * STEP,
        "packets": 0,
        "bytes": 0,
        "numbers": [2, 2],
        "text": "1 missing between the windows 1 and 3",
        "lookAt": KINDS["missing_windows"].look_at,
    }
    first = found["probes"][0]
    assert {k: v for k, v in first.items() if k != "devices"} == {
        "probe": "a",
        "windows": 2,
        "since": START,
        "until": START + 3 * STEP,
        "points": 2,
        "stored": {"packets": 20_000, "bytes": 2_000_000},
    }
    (device,) = first["devices"]
    zero = {"packets": 0, "bytes": 0}
    assert device == {
        "device": "eth0",
        "windows": 2,
        "ledger": {
            "device": {"packets": 20_004, "bytes": 2_000_240},
            "counted": {"packets": 20_000, "bytes": 2_000_000},
            "own": zero,
            "non_ip": zero,
            "dropped": zero,
            "other": zero,
            "lost": {"packets": 4, "bytes": 240},
        },
        "unexplained": zero,
        "coverage": {"packets": 1.0, "bytes": 1.0},
        "countedShare": {"packets": 0.9998, "bytes": 0.99988},
    }
    assert found["pairs"] == [
        {
            "sender": "a",
            "receiver": "b",
            "srcIP": A,
            "dstIP": B,
            "since": START,
            "until": START + STEP,
            "watchedMs": STEP,
            "sent": {"packets": 10_000, "bytes": 1_000_000},
            "received": {"packets": 9_900, "bytes": 990_000},
            "difference": {"packets": 100, "bytes": 10_000},
            "ratio": {"packets": 0.99, "bytes": 0.99},
            "differs": False,
        }
    ]


def test_a_device_where_nothing_passed_has_no_share() -> None:
    (probe,) = document(audited([window(1, records=[])]), "x")["probes"]
    assert probe["devices"][0]["coverage"] == {"packets": None, "bytes": None}


def test_the_table() -> None:
    text = "\n".join(lines(audited(bad_and_good()), "SQLite at x"))
    assert text.startswith("SQLite at x, 2023-11-14T22:13:30.000Z to 2023-11-14T22:15:00.000Z\n")
    assert "probes: 2, windows: 4, points of traffic: 4\n" in text
    row = "a      eth0  2,000,240  2,000,000    0       0        0   240            0  100.000 %"
    assert row in text
    assert "a       b         10.0.0.1  10.0.0.2  1,000,000   990,000  99.000 %" in text
    assert (
        "FAULT missing_windows: a, 2023-11-14T22:14:00.000Z to 2023-11-14T22:14:30.000Z "
        "(number 2): 1 missing between the windows 1 and 3; they wait in the probe's dumpDir"
    ) in text
    assert "FAULT lost: a eth0, " in text
    assert text.endswith("\ndoes not add up: 3 faults")
    assert verdict(audited([window(1)])) == "all adds up"


def test_what_is_not_told_is_counted_in_the_table() -> None:
    text = "\n".join(lines(audited([window(n) for n in range(1, 110, 2)]), "x"))
    assert text.count("FAULT missing_windows: vm-1") == 50
    assert "FAULT missing_windows: and 4 more" in text


def test_every_kind_and_field_is_documented() -> None:
    text = (ROOT / "docs" / "audit.md").read_text()
    for name, kind in KINDS.items():
        assert f"| `{name}` | {'fault' if kind.fault else 'note'} |" in text, name

    def names(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield key
                yield from names(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from names(inner)

    report = audited(bad_and_good())
    fields = set(names(document(report, "x"))) - set(KINDS)
    assert len(fields) > 40
    assert [name for name in sorted(fields) if f"`{name}`" not in text] == []


# -- reading ---------------------------------------------------------------------------------


class Memory(Backend):
    """A backend whose content may change between readings."""

    def __init__(self, *contents: Sequence[StoredWindow]) -> None:
        self.contents = list(contents)
        self.asked: list[int] = []

    def write(self, windows: Sequence[StoredWindow]) -> None:
        raise NotImplementedError

    def traffic(
        self, since_ms: int, until_ms: int, by: Sequence[str] = (), **more: Any
    ) -> Iterator[Row]:
        content = self.contents[0]
        if not by and len(self.contents) > 1:  # the last of a reading
            self.contents.pop(0)
        yield from (r for r in rows(content) if since_ms <= r["timestamp"] < until_ms)

    def ledgers(self, since_ms: int, until_ms: int) -> Iterator[LedgerRecord]:
        self.asked.append(since_ms)
        found = ledgers(self.contents[0])
        yield from (r for r in found if since_ms <= r.timestamp < until_ms)

    def check(self) -> None:
        raise NotImplementedError

    @property
    def describe(self) -> str:
        return "memory"

    def close(self) -> None:
        """Nothing to close."""


NOW = START + 4 * STEP


def test_a_window_that_came_while_it_was_read_is_no_fault() -> None:
    all_there = [window(n) for n in (1, 2, 3, 4)]
    halfway = [*all_there[:1], *all_there[2:]]
    backend = Memory(halfway, all_there)
    report = reading.read(backend, START, NOW)
    assert report.adds_up and not report.findings.told
    assert len(backend.asked) == 2
    assert not reading.read(Memory(halfway), START, NOW).adds_up
    once = Memory(all_there)
    assert reading.read(once, START, NOW).adds_up
    assert len(once.asked) == 1


def test_what_is_about_to_expire_is_not_looked_at() -> None:
    whole = [window(n) for n in (1, 2, 3, 4)]
    whole[0] = whole[0].__class__(whole[0].probe, whole[0].start_ms, (), (), whole[0].ledgers)
    report = reading.read(Memory(whole), START, NOW, kept_ms=START + STEP)
    assert report.adds_up
    assert [f.kind for f in report.findings.told] == ["expiring"]
    assert not reading.read(Memory(whole), START, NOW, kept_ms=START - 1).adds_up


@pytest.mark.parametrize("edge", range(0, 2 * STEP + 2_000, 1_000))
def test_the_edge_of_the_span_makes_no_finding(edge: int) -> None:
    merged = window(4, position=2, windows=3, duration_ms=3 * STEP)
    whole = [window(1), merged, window(5), window(6)]
    report = reading.read(Memory(whole), START + edge, START + 6 * STEP)
    assert report.adds_up
    assert {f.kind for f in report.findings.told} <= {"merged"}


# -- the command -----------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> list[str]:
    return [f"backendConfig.sqliteConfig.path={tmp_path}/w.db"]


def store(settings: list[str], windows: Sequence[StoredWindow]) -> None:
    backend = open_backend(load_center(None, settings, {}).backendConfig)
    backend.write(windows)
    backend.close()


def run(settings: list[str], *arguments: str) -> tuple[int, str, str]:
    options = [part for setting in settings for part in ("--set", setting)]
    result = CliRunner().invoke(cli.command, ["audit", *options, *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now is when the third window has ended."""
    monkeypatch.setattr(time, "time_ns", lambda: (START + 3 * STEP) * 1_000_000)


@pytest.mark.usefixtures("shifted")
def test_the_command(database: list[str]) -> None:
    store(database, [window(n) for n in (1, 2, 3)])
    code, out, err = run(database, "--last", f"{3 * SECONDS}s")
    assert (code, err) == (0, "")
    assert out.endswith("\nall adds up\n")
    code, out, err = run(database, "--last", f"{2 * SECONDS}s", "--format", "json")
    assert (code, err) == (0, "")
    assert [probe["windows"] for probe in json.loads(out)["probes"]] == [2]
    store(database, [window(6, position=3)])
    code, out, err = run(database, "--format", "json")
    assert (code, err) == (1, "wakizashi: error: does not add up: 1 fault\n")
    assert json.loads(out)["counts"] == {"missing_windows": 1}


@pytest.mark.usefixtures("shifted")
def test_the_command_keeps_off_what_expires(database: list[str]) -> None:
    store(database, [window(n) for n in (1, 2, 3)])
    ttl = "backendConfig.sqliteConfig.ttl=60"
    code, out, _ = run([*database, ttl], "--format", "json")
    assert code == 0
    found = json.loads(out)
    assert [probe["windows"] for probe in found["probes"]] == [1]
    assert found["counts"] == {"expiring": 1}
    # A tenth of the ttl, which is less than the margin.
    assert found["findings"][0]["until"] == START + 3 * STEP - 60_000 + 6_000


def test_the_command_without_a_database(database: list[str]) -> None:
    code, out, err = run(database)
    assert (code, out) == (1, "")
    assert "there is no such file" in err
    assert run(database, "--last", "soon")[0] == 2


def test_write_goes_where_it_is_told() -> None:
    out = io.StringIO()
    reading.write(audited([window(1)]), "x", "table", out)
    assert out.getvalue().endswith("\nall adds up\n")
