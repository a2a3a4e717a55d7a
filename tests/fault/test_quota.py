"""A probe whose center is away for longer than ``dumpLimit`` lasts: resolution is lost, bytes are not."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.center_servers import free_port, until
from tests.daemons import Link, is_ready, need_root, running, scrape, veth
from wakizashi.model import TALLIES


@pytest.fixture(autouse=True)
def needs_root() -> None:
    need_root()


@pytest.fixture
def link() -> Iterator[Link]:
    with veth("wkq") as made:
        yield made


def metrics(port: int) -> dict[str, float]:
    found = re.findall(r"^wakizashi_probe_(\w+) ([0-9.e+]+)$", scrape(port), re.MULTILINE)
    return {name: float(value) for name, value in found}


Ledgers = list[dict[str, int]]


def stored(path: Path) -> tuple[int, int, Ledgers]:
    """Packets and bytes of traffic, and the ledgers in their order."""
    if not path.exists():
        return 0, 0, []
    fields = ["number", "windows", *(f"{t}_{u}" for t in TALLIES for u in ("packets", "bytes"))]
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        tables = database.execute("SELECT name FROM sqlite_master").fetchall()
        if ("traffic_ledger",) not in tables or ("traffic",) not in tables:
            return 0, 0, []
        packets, octets = database.execute(
            "SELECT coalesce(sum(packets), 0), coalesce(sum(size), 0) FROM traffic"
        ).fetchone()
        rows = database.execute(
            f"SELECT {', '.join(fields)} FROM traffic_ledger ORDER BY number"
        ).fetchall()
    return packets, octets, [dict(zip(fields, row, strict=True)) for row in rows]


def total(ledgers: Ledgers, tally: str) -> tuple[int, int]:
    return sum(x[f"{tally}_packets"] for x in ledgers), sum(x[f"{tally}_bytes"] for x in ledgers)


def keys(folder: Path, link: Link, port: int, limit: int) -> dict[str, Any]:
    return {
        "name": "p",
        "centerAddr": f"127.0.0.1:{port}",
        "dumpDir": str(folder / "dump"),
        "networkDevs": [link.name],
        "capInterval": 1,
        "uploadRetry": 0,
        "dumpLimit": limit,
        "healthPort": free_port(),
    }


def center(folder: Path, port: int) -> Any:
    return running(
        "center",
        folder,
        host="127.0.0.1",
        port=port,
        healthPort=free_port(),
        recoverDir=str(folder / "recovery"),
        backendConfig={"type": "sqlite", "sqliteConfig": {"path": str(folder / "x.db")}},
    )


def test_every_byte_is_stored_though_windows_were_merged(tmp_path: Path, link: Link) -> None:
    port = free_port()
    probe = keys(tmp_path, link, port, limit=1500)
    health = probe["healthPort"]
    with running("probe", tmp_path, **probe):
        until(lambda: is_ready(health), "the probe to capture")

        def merged() -> bool:
            link.send(5)
            return metrics(health).get("windows_merged_total", 0) >= 6

        until(merged, "windows to be merged", seconds=60)
        assert metrics(health)["pending_bytes"] <= 1500
        with center(tmp_path, port):
            until(
                lambda: metrics(health).get("windows_acked_total", 0) > 0,
                "windows to be delivered",
                seconds=60,
            )
            link.send(5)
    # The center is gone before the probe: what came last waits, and comes with the next start.
    with center(tmp_path, port), running("probe", tmp_path, **probe):
        until(
            lambda: total(stored(tmp_path / "x.db")[2], "device") == link.passed,
            "every window to be stored",
            seconds=60,
        )
    packets, octets, ledgers = stored(tmp_path / "x.db")
    assert (packets, octets) == link.passed == total(ledgers, "device")
    assert total(ledgers, "counted") == link.passed
    assert total(ledgers, "lost") == total(ledgers, "other") == total(ledgers, "dropped") == (0, 0)
    expected = 1
    for ledger in ledgers:
        assert ledger["number"] - ledger["windows"] + 1 == expected
        expected = ledger["number"] + 1
    assert max(ledger["windows"] for ledger in ledgers) > 1
    assert re.search(r"WARNING .*dumpLimit: .*; windows are merged", text_of(tmp_path))


def text_of(folder: Path) -> str:
    return (folder / "probe.log").read_text()


def test_what_nobody_takes_is_stored_as_lost(tmp_path: Path, link: Link) -> None:
    """The quota has no room for a window, and the center is away until after the end."""
    port = free_port()
    probe = keys(tmp_path, link, port, limit=10)
    with running("probe", tmp_path, **probe):
        until(lambda: is_ready(probe["healthPort"]), "the probe to capture")
        link.send(9)
    passed = link.passed
    assert passed == (9, 9 * 142)
    assert "lost: 1278 bytes in 9 packets of the last window" in text_of(tmp_path)
    with center(tmp_path, port), running("probe", tmp_path, **probe | {"dumpLimit": 10_000}):
        until(
            lambda: total(stored(tmp_path / "x.db")[2], "lost") == passed,
            "the loss to be stored",
            seconds=60,
        )
    packets, octets, ledgers = stored(tmp_path / "x.db")
    assert (packets, octets) == (0, 0)
    assert total(ledgers, "device") == total(ledgers, "lost") == passed
    assert [ledger["number"] for ledger in ledgers] == list(range(1, 1 + len(ledgers)))
