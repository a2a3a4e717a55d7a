"""The tree reads as the pipeline: who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "wakizashi").rglob("*.py"))
    if "v1" not in path.parts
}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside of functions, with the names taken from it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(prefix: str) -> set[str]:
    """The modules that import ``prefix`` or something below it."""
    return {
        module
        for module, path in MODULES.items()
        if any(name == prefix or name.startswith(prefix + ".") for name in imports(path))
    }


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 30
    assert "wakizashi.probe.transmit" in importers("wakizashi.v1")


def test_probe_and_center_never_import_each_other() -> None:
    assert not [m for m in importers("wakizashi.center") if m.startswith("wakizashi.probe")]
    assert not [m for m in importers("wakizashi.probe") if m.startswith("wakizashi.center")]


def test_only_three_modules_speak_protobuf() -> None:
    assert importers("wakizashi.v1") == {
        "wakizashi.wire",
        "wakizashi.probe.transmit",
        "wakizashi.center.ingest",
    }


def test_only_two_engines_import_scapy_and_only_when_used() -> None:
    assert importers("scapy") == {
        "wakizashi.probe.engines.scapy",
        "wakizashi.probe.engines.replay",
    }
    for module in importers("scapy"):
        tree = ast.parse(MODULES[module].read_text())
        assert not any(
            "scapy" in ast.dump(n)
            for n in tree.body
            if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("scapy")
        )


def test_foreign_databases_stay_in_their_backend() -> None:
    center = "wakizashi.center"
    assert importers("influxdb") == {f"{center}.backends.influxdb"}
    assert importers("redis") == {f"{center}.redis.nodes"}
    assert importers("pymongo") == {f"{center}.backends.mongodb", f"{center}.mongo.errors"}
    assert importers("bson") == {f"{center}.backends.mongodb"}
    assert importers("sqlite3") == {
        f"{center}.backends.sqlite",
        f"{center}.sqlite.reading",
        f"{center}.sqlite.retention",
    }


@pytest.mark.parametrize(
    ("room", "backend"),
    [("influx", "influxdb"), ("mongo", "mongodb"), ("redis", "redis"), ("sqlite", "sqlite")],
)
def test_what_a_backend_is_made_of_is_its_own(room: str, backend: str) -> None:
    users = importers(f"wakizashi.center.{room}")
    assert {name for name in users if not name.startswith(f"wakizashi.center.{room}.")} == {
        f"wakizashi.center.backends.{backend}"
    }


def test_only_the_reader_of_an_audit_reads_a_backend() -> None:
    users = {name for name in importers("wakizashi.center") if name.startswith("wakizashi.audit")}
    assert users == {"wakizashi.audit.reading"}
    assert not [name for name in importers("wakizashi.probe") if name.startswith("wakizashi.audit")]


def test_a_look_of_the_doctor_is_at_one_daemon() -> None:
    """What knows both loads the configurations; nothing but the command line needs the doctor."""
    room = "wakizashi.doctor"
    probe, center = (
        {name for name in importers(f"wakizashi.{side}") if name.startswith(f"{room}.")}
        for side in ("probe", "center")
    )
    assert probe & center == {f"{room}.subjects"}
    assert {f"{room}.contact", f"{room}.way", f"{room}.capturing"} <= probe
    assert {f"{room}.storing"} <= center
    users = {name for name in importers(room) if not name.startswith(room)}
    assert users == {"wakizashi.cli"}


def test_top_needs_no_center_and_nothing_needs_it_but_the_command_line() -> None:
    room = "wakizashi.top"
    assert not [name for name in importers("wakizashi.center") if name.startswith(f"{room}.")]
    assert {name for name in importers(room) if not name.startswith(room)} == {"wakizashi.cli"}


def test_a_dashboard_reads_what_a_center_stores_and_needs_no_more_of_it() -> None:
    room = "wakizashi.dashboard"
    assert {name for name in importers(room) if not name.startswith(room)} <= {
        "wakizashi.cli",
        "wakizashi.demo",
    }
    assert not [name for name in importers("wakizashi.probe") if name.startswith(room)]
    for module in importers("wakizashi.center"):
        if module.startswith(room):
            taken = {name for name in imports(MODULES[module]) if "wakizashi.center" in name}
            rooms = {".".join(name.split(".")[:3]) for name in taken}
            assert rooms <= {"wakizashi.center.backend", "wakizashi.center.config"}, module


def test_only_its_routes_and_its_process_know_what_serves_the_dashboard() -> None:
    """Who has not the extra has all the rest, and hears what to install."""
    room = "wakizashi.dashboard"
    assert importers("starlette") == {f"{room}.app", f"{room}.run"}
    assert importers("uvicorn") == {f"{room}.run"}
    tree = ast.parse(MODULES[f"{room}.run"].read_text())
    at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [node for node in at_once if "uvicorn" in ast.dump(node)]
    assert not [node for node in at_once if "starlette" in ast.dump(node)]
    assert importers(f"{room}.app") == {f"{room}.run"}


def test_libraries_never_import_a_command_line() -> None:
    for cli in ("wakizashi.cli", "wakizashi.probe.cli", "wakizashi.center.cli"):
        assert all(module.endswith("__main__") for module in importers(cli)), cli


def test_only_command_lines_exit() -> None:
    exits = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("sys.exit", "exit", "quit", "os._exit")
    }
    assert {m for m in exits if not m.endswith("cli")} == {"wakizashi.lifecycle"}
