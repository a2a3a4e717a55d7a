"""The backend ``mongodb`` with a real server: mongod, or FerretDB 1 where there is none."""

import json
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.center_backends import END, Settings, expected, opened, rows
from tests.center_servers import free_port, until
from tests.center_windows import START, ip, window
from tests.fault.test_center import Center, statuses
from tests.mongo_servers import PASSWORD, USER, MongoServer
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backend import Backend
from wakizashi.center.isolate import isolate
from wakizashi.errors import Permanent, Retryable, WakizashiError
from wakizashi.model import Direction, Flow, Window


def settings(uri: str, *more: str) -> Settings:
    """A database of its own; what is stored is kept, and a slow machine does not matter."""
    ours = [f"mongoConfig.mongoURI={uri}", "mongoConfig.ttl=0", "timeout=60"]
    return [*ours, f"database=w{uuid.uuid4().hex}", *more]


def connected(uri: str) -> "MongoClient[dict[str, Any]]":
    return MongoClient(uri, timeoutMS=60_000)


def attempts(backend: Backend) -> tuple[Callable[[], object], ...]:
    return (
        backend.check,
        lambda: backend.write([aggregate(window())]),
        lambda: list(backend.traffic(0, END)),
        lambda: list(backend.traffic(0, END, ["probe"])),
        lambda: list(backend.ledgers(0, END)),
    )


def many(number: int = 0, flows: int = 30) -> Window:
    made = (Flow(0, Direction.OUT, ip(1), ip(n % 250, n // 250), n + 1, 1) for n in range(flows))
    return window(number, tuple(made))


# -- servers that are not there --------------------------------------------------------------


def test_refused_connection() -> None:
    port = free_port()
    uri = f"mongodb://ada:hid%21den@127.0.0.1:{port}/?appName=x"
    with opened("mongodb", settings(uri, "timeout=0.2")) as made:
        for attempt in attempts(made):
            with pytest.raises(Retryable) as caught:
                attempt()
            assert str(caught.value).startswith(
                f"backendConfig.mongoConfig.mongoURI: 127.0.0.1:{port}: can't connect: "
                f"127.0.0.1:{port}: [Errno 111] Connection refused; start MongoDB there"
            )
            assert "hid" not in str(caught.value)


def test_something_else_listens() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"mongodb://127.0.0.1:{silent.getsockname()[1]}"
        with opened("mongodb", settings(uri, "timeout=0.3")) as made:
            # pymongo gives up the server, or looking for one, whichever comes first.
            said = "(timed out|No servers found yet); start MongoDB there, or mend the URI"
            with pytest.raises(Retryable, match=said):
                made.write([aggregate(window())])


def test_options_that_pymongo_does_not_take() -> None:
    for option in ("w=-3", "tlss=true"):
        with opened("mongodb", settings(f"mongodb://127.0.0.1/?{option}")) as made:
            with pytest.raises(Retryable, match=r"mongoURI: 127\.0\.0\.1: .*; mend the URI"):
                made.check()
    uri = "mongodb://127.0.0.1/?authMechanismProperties=AWS_SESSION_TOKEN:hidden,x"
    with opened("mongodb", settings(uri)) as made:
        with pytest.raises(Retryable, match="options that pymongo does not take") as caught:
            made.check()
        assert "hidden" not in str(caught.value)


def test_killed_and_started_again(own_mongo: MongoServer) -> None:
    windows = [aggregate(window(n)) for n in range(3)]
    with opened("mongodb", settings(own_mongo.uri)) as made:
        made.write(windows[:1])
        own_mongo.stop(kill=True)
        with opened("mongodb", settings(own_mongo.uri, "timeout=0.2")) as other:
            with pytest.raises(Retryable, match="can't connect"):
                other.write(windows[1:])
        own_mongo.start()
        until(lambda: not fails(made, windows[1:]), "the server takes windows again")
        assert rows(made) == expected(*windows)


def fails(backend: Backend, windows: list) -> bool:
    try:
        backend.write(windows)
    except Retryable:
        return True
    return False


# -- users -----------------------------------------------------------------------------------


def test_wrong_password_and_then_the_right_one(
    mongo_with_users: MongoServer, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("wrong\n")
    user = [f"mongoConfig.user={USER}", f"mongoConfig.passwordFile={file}"]
    with opened("mongodb", settings(mongo_with_users.uri, *user)) as made:
        for attempt in attempts(made):
            with pytest.raises(Retryable, match=r"mongoConfig\.user: 'admin': .*mend user and"):
                attempt()
        file.unlink()
        with pytest.raises(Retryable, match=r"mongoConfig\.passwordFile: .*; make it readable"):
            made.check()
        file.write_text(f"{PASSWORD}\n")  # mended while it runs
        made.check()
        made.write([aggregate(window())])
        assert rows(made) == expected(aggregate(window()))


def test_who_only_reads_is_told_of_the_right_to_read(mongo_with_users: MongoServer) -> None:
    user = [f"mongoConfig.user={USER}", "mongoConfig.password=wrong"]
    place = settings(mongo_with_users.uri, *user)
    for read_only, role in ((True, "read"), (False, "readWrite")):
        with opened("mongodb", place, read_only=read_only) as made:
            with pytest.raises(Retryable, match=rf"or grant it {role} on "):
                made.check()


def test_users_in_the_uri(mongo_with_users: MongoServer) -> None:
    server = f"127.0.0.1:{mongo_with_users.port}"
    with opened("mongodb", settings(f"mongodb://{USER}:hidden@{server}")) as made:
        with pytest.raises(Retryable, match=r"mongoConfig\.user: 'admin': ") as caught:
            made.check()
        assert "hidden" not in str(caught.value) + made.describe
    with opened("mongodb", settings(f"mongodb://{USER}:{PASSWORD}@{server}")) as made:
        made.write([aggregate(window())])
    with opened("mongodb", settings(mongo_with_users.uri)) as made:  # nobody
        with pytest.raises(Retryable, match=r"mongoConfig\.user: '': .*\(13: "):
            made.write([aggregate(window())])


# -- what is stored --------------------------------------------------------------------------


def test_numbers_of_64_bits(mongo: str) -> None:
    record = aggregate(window(1)).records[0]
    good = replace(aggregate(window(1)), records=(record._replace(size=2**63 - 1, packets=2**33),))
    bad = replace(aggregate(window(2)), records=(record._replace(size=2**63),))
    with opened("mongodb", settings(mongo)) as made:
        with pytest.raises(Permanent, match="can't store it: MongoDB can only handle up to 8-byte"):
            made.write([good, bad])
        isolated, count = isolate(made.write, [good, bad], "refused")
        assert list(isolated) == [("vm-1", bad.start_ms)] and count == 1
        assert rows(made) == expected(good)


def test_sums_are_exact_beyond_64_bits(mongo: str) -> None:
    size = 2**63 - 1
    windows = [aggregate(window(n, size=size, probe=probe)) for n in range(3) for probe in "ab"]
    with opened("mongodb", settings(mongo)) as made:
        made.write([*windows, aggregate(window(probe="c", size=7))])
        found = list(made.traffic(0, END, ["probe"]))
    sums = {row["probe"]: (row["size"], row["packets"]) for row in found}
    assert sums == {"a": (3 * size, 3), "b": (3 * size, 3), "c": (7, 1)}
    assert all(type(row["size"]) is int for row in found)


def test_a_tag_with_dots_and_dollars(mongo: str) -> None:
    tags = (("a.b.c", "$x.y"), ("z", "=,"))
    ours = settings(mongo)
    with opened("mongodb", ours) as made:
        made.write([aggregate(window(tags=tags))])
    database = ours[3].removeprefix("database=")
    with connected(mongo) as client:
        for name in ("traffic", "traffic_ledger"):
            (document,) = client[database][name].find({"tags": "a.b.c=$x.y"})
            assert document["tags"] == ["a.b.c=$x.y", "z==,"]


def test_more_documents_again_than_ferretdb_has_connections(mongo: str) -> None:
    stored = aggregate(many(flows=150))
    with opened("mongodb", settings(mongo)) as made:
        made.write([stored])
        made.write([stored])
        assert rows(made) == expected(stored)


def test_the_same_windows_by_two_centers_at_once(mongo: str) -> None:
    windows = [aggregate(many(number)) for number in range(4)]
    ours = settings(mongo)
    barrier = threading.Barrier(2)
    wrong: list[WakizashiError] = []

    def center() -> None:
        with opened("mongodb", ours) as made:
            made.check()
            for stored in windows:
                barrier.wait(60)
                try:
                    until(lambda: not fails(made, [stored]), "written", 60)
                except WakizashiError as error:
                    wrong.append(error)

    threads = [threading.Thread(target=center) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    with opened("mongodb", ours) as made:
        assert rows(made) == expected(*windows)


def test_what_is_older_than_ttl_is_deleted(mongo: str) -> None:
    now = time.time_ns() // 1_000_000
    ours = settings(mongo)
    young = aggregate(window())
    records = tuple(record._replace(timestamp=now) for record in young.records)
    young = replace(young, start_ms=now, records=records, ledgers=())
    with opened("mongodb", ours) as made:
        made.write([aggregate(window())])
    with opened("mongodb", [*ours, "mongoConfig.ttl=3600"]) as made:
        made.write([young])
        names = ("traffic", "traffic_ledger")
        with connected(mongo) as client:
            database = client[ours[3].removeprefix("database=")]
            if "ferretdbVersion" in client.server_info():  # at once
                assert [row["timestamp"] for row in made.traffic(0, now + 1)] == [now]
                assert list(made.ledgers(0, now + 1)) == []
            else:  # MongoDB looks once a minute
                for name in names:
                    indexes = database[name].index_information()
                    assert indexes["timestamp_1"]["expireAfterSeconds"] == 3_600
            assert all("timestamp_1" in database[name].index_information() for name in names)


# -- a center --------------------------------------------------------------------------------


def query(center: Center, ours: Settings, *more: str) -> list[dict[str, str | int]]:
    flags = [f for s in ours for f in ("--set", f"backendConfig.{s}")]
    command = [str(Path(sys.executable).with_name("wakizashi")), "query", *flags]
    done = subprocess.run(
        [*command, "--last", "999w", "--format", "json", *more],
        cwd=center.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, str | int]] = json.loads(done.stdout)
    return found


def test_a_center_stores_what_probes_deliver(mongo: str, tmp_path: Path) -> None:
    ours = ["type=mongodb", *settings(mongo)]
    center = Center(tmp_path)
    try:
        center.start(*(f"backendConfig.{setting}" for setting in ours))
        windows = [many(number) for number in range(3)]
        for delivery in (windows, windows[::-1]):
            assert statuses(center.deliver(*delivery)) == ["STORED"] * 3
        assert center.stop() == 0
    finally:
        if center.process is not None:
            center.process.kill()
            center.process.wait(10)
    assert "storing in MongoDB at 127.0.0.1" in center.log()
    assert "Traceback" not in center.log() and "Warning" not in center.log()
    assert not list((tmp_path / "recovery").glob("*.window"))
    assert len(query(center, ours)) == 90
    assert {row["timestamp"] for row in query(center, ours)} == {w.start_ms for w in windows}
    total = sum(flow.size for w in windows for flow in w.flows)
    assert query(center, ours, "--by", "probe") == [{"probe": "vm-1", "size": total, "packets": 90}]


def test_a_center_outlives_its_mongodb(own_mongo: MongoServer, tmp_path: Path) -> None:
    ours = ["type=mongodb", *settings(own_mongo.uri), "timeout=2"]
    center = Center(tmp_path)
    try:
        center.start(*(f"backendConfig.{setting}" for setting in ours))
        assert statuses(center.deliver(window(0))) == ["STORED"]
        own_mongo.stop(kill=True)
        assert statuses(center.deliver(window(1))) == ["STORED"]  # in the recovery directory
        folder = tmp_path / "recovery"
        assert len(list(folder.glob("*.window"))) == 1
        own_mongo.start()
        until(lambda: not list(folder.glob("*.window")), "the window is posted again", 60)
        assert center.stop() == 0
    finally:
        if center.process is not None:
            center.process.kill()
            center.process.wait(10)
    assert f"mongoURI: 127.0.0.1:{own_mongo.port}: " in center.log()
    assert "takes windows again" in center.log() and "Traceback" not in center.log()
    assert [row["timestamp"] for row in query(center, ours)] == [START, START + 30_000]
