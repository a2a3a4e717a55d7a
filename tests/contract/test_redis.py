"""What Redis alone needs: expiry, passwords, full memory, crashes, slots that move."""

import json
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from tests.center_backends import FOREVER, expected, ledgers, opened
from tests.center_servers import free_port, until
from tests.center_windows import START, ip, window
from tests.fault.test_center import Center, center, statuses
from tests.redis_servers import RedisServer, program
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backend import Backend
from wakizashi.center.isolate import isolate
from wakizashi.center.redis import hashes
from wakizashi.center.redis.hashes import PERIOD_MS, Keys, period
from wakizashi.center.redis.nodes import Nodes
from wakizashi.errors import Permanent, Retryable, WakizashiError
from wakizashi.model import Direction, Flow, StoredWindow

__all__ = ["center"]  # a fixture

ROOT = Path(__file__).parents[2]
StartRedis = Callable[..., RedisServer]


@contextmanager
def redis_at(url: str, *settings: str) -> Iterator[tuple[Backend, Keys]]:
    """A backend with a database name of its own, and the names of its keys."""
    keys = Keys(f"w{uuid.uuid4().hex}", "traffic")
    with opened(
        "redis", [f"redisConfig.url={url}", FOREVER, f"database={keys.database}", *settings]
    ) as backend:
        yield backend, keys


def rows(backend: Backend) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in backend.traffic(0, 2**50))


def flows(count: int) -> tuple[Flow, ...]:
    return tuple(Flow(0, Direction.OUT, ip(1), ip(n % 250, n // 250), 9, 1) for n in range(count))


def at(stored: StoredWindow, start_ms: int) -> StoredWindow:
    """The window, at another time."""
    return replace(
        stored,
        start_ms=start_ms,
        records=tuple(record._replace(timestamp=start_ms) for record in stored.records),
        ledgers=tuple(replace(record, timestamp=start_ms) for record in stored.ledgers),
    )


def now_ms() -> int:
    return time.time_ns() // 1_000_000


# -- what is there, and for how long ---------------------------------------------------------


def test_writing_thrice_sets_and_keeps_the_expiry(redis_server: RedisServer) -> None:
    stored = at(aggregate(window(tags=(("env", "prod"),))), now_ms() - 1_000_000)
    start = stored.start_ms
    with redis_at(redis_server.url, "redisConfig.ttl=3600") as (backend, keys):
        for _ in range(3):
            backend.write([stored])
            fields = redis_server.client.hgetall(keys.window("vm-1", start))
            assert fields == {b"@10.0.0.1 10.0.0.2": b"100 1"}
            moments = {
                keys.window("vm-1", start): start + 3_600_000,
                keys.ledger("vm-1", start): start + 3_600_000,
                keys.index("vm-1", period(start)): period(start) + PERIOD_MS + 3_600_000,
                keys.probes(period(start)): period(start) + PERIOD_MS + 3_600_000,
                keys.periods: -1,  # has none
            }
            found = {key: redis_server.client.pexpiretime(key) for key in moments}
            assert found == moments
        assert len(redis_server.client.keys(f"{keys.database}:*")) == len(moments)


def test_what_is_expired_leaves_no_key(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "PERIOD_MS", 500)
    with redis_at(redis_server.url, "redisConfig.ttl=60") as (backend, keys):
        old = at(aggregate(window()), now_ms() - 57_000)
        backend.write([old])
        pattern = f"{keys.database}:*"
        until(
            lambda: redis_server.client.keys(pattern) == [keys.periods.encode()], "all is expired"
        )
        assert rows(backend) == []
        until(lambda: now_ms() > old.start_ms + 61_000, "its period is over as well")
        new = at(aggregate(window()), now_ms())
        backend.write([new])
        hours = redis_server.client.zrange(keys.periods, 0, -1)
        assert [int(hour) for hour in hours] == [period(new.start_ms)]


def test_a_window_older_than_the_ttl_is_permanent(redis_server: RedisServer) -> None:
    old, new = (at(aggregate(window()), now_ms() - age) for age in (3_600_000, 3_590_000))
    with redis_at(redis_server.url, "redisConfig.ttl=3600") as (backend, _):
        with pytest.raises(Permanent, match=r"ttl: 3600: a window of 'vm-1' is older.*raise it"):
            backend.write([new, old])
        isolated, count = isolate(backend.write, [new, old], "refused")
        assert (list(isolated), count) == ([("vm-1", old.start_ms)], 2)
        assert rows(backend) == expected(new)


def test_a_window_is_small(redis_server: RedisServer) -> None:
    with redis_at(redis_server.url) as (backend, keys):
        backend.write([aggregate(window(n, flows(100))) for n in range(240)])
        used, encoding = (
            redis_server.client.memory_usage(keys.window("vm-1", START), samples=0),
            redis_server.client.object("encoding", keys.index("vm-1", period(START) + PERIOD_MS)),
        )
        assert used < 100 * 60
        assert encoding == b"listpack"


def test_oldest_first_over_hours_and_probes(redis_server: RedisServer) -> None:
    windows = [aggregate(window(n, probe=p)) for n in range(250) for p in ("a", "b")]
    with redis_at(redis_server.url) as (backend, _):
        backend.write(list(reversed(windows)))
        times = [int(row["timestamp"]) for row in backend.traffic(0, 2**50)]
        assert times == sorted(stored.start_ms for stored in windows)
        since, until_ms = windows[100].start_ms, windows[400].start_ms
        some = {json.dumps(row) for row in backend.traffic(since, until_ms)}
        assert len(some) == 300


@pytest.mark.parametrize("place", ["redis_server", "redis_cluster"])
def test_many_probes_take_few_round_trips(
    place: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = request.getfixturevalue(place)
    url = server.url if place == "redis_server" else f"redis+cluster://127.0.0.1:{server[0].port}"
    calls: list[object] = []
    call = Nodes.call

    def counted(self: Nodes, *args: Any) -> Any:
        calls.append(args)
        return call(self, *args)

    monkeypatch.setattr(Nodes, "call", counted)
    with redis_at(url) as (backend, _):
        backend.write([aggregate(window(n, probe=f"vm-{p}")) for p in range(500) for n in (0, 1)])
        assert len(calls) <= 10
        calls.clear()
        assert len(list(backend.traffic(0, 2**50))) == 1_000
        assert len(calls) <= 16


def test_a_key_that_holds_something_else(redis_server: RedisServer) -> None:
    with redis_at(redis_server.url) as (backend, keys):
        backend.write([aggregate(window())])
        for key in (keys.window("vm-1", START), keys.ledger("vm-1", START)):
            redis_server.client.hset(key, "x", "y")
        for read in (backend.traffic, backend.ledgers):
            with pytest.raises(WakizashiError, match=rf"{keys.database}:.*vm-1.*remove the key"):
                list(read(0, 2**50))


# -- a key of another type -------------------------------------------------------------------


def test_a_key_of_another_type_is_isolated(redis_server: RedisServer) -> None:
    good, bad = aggregate(window(0)), aggregate(window(1))
    with redis_at(redis_server.url) as (backend, keys):
        # In its transaction the commands around this one succeed.
        redis_server.client.set(keys.window("vm-1", bad.start_ms), "x")
        with pytest.raises(Permanent, match=r"has another type.*remove it"):
            backend.write([good, bad])
        isolated, count = isolate(backend.write, [good, bad], "refused")
        assert (list(isolated), count) == ([("vm-1", bad.start_ms)], 1)
        redis_server.client.delete(keys.window("vm-1", bad.start_ms))
        assert rows(backend) == expected(good)
        assert [record.number for record in ledgers(backend)] == [0, 1]


def test_a_window_is_stored_whole_or_not_at_all(start_redis: StartRedis) -> None:
    server = start_redis()
    keys = Keys("wakizashi", "traffic")
    # May set everything but the index, which comes last.
    allowed = [f"~{keys.window('vm-1', START)}", "~wakizashi:traffic_ledger:*"]
    allowed += [f"~{keys.periods}", "~wakizashi:traffic:probes:*", f"~{keys.window('bad', START)}"]
    server.client.execute_command("ACL", "SETUSER", "u", "on", ">p", "+@all", *allowed)
    user = ("redisConfig.user=u", "redisConfig.password=p", "database=wakizashi")
    with redis_at(server.url, *user) as (backend, _):
        with pytest.raises(Retryable, match="grant the user"):
            backend.write([aggregate(window())])
        assert not server.client.exists(keys.window("vm-1", START))
        # What may work later goes before what never will.
        server.client.set(keys.window("bad", START), "x")
        server.client.execute_command("ACL", "SETUSER", "u", f"~{keys.index('bad', period(START))}")
        bad = aggregate(window(probe="bad"))
        with pytest.raises(Permanent):
            backend.write([bad])
        with pytest.raises(Retryable, match="grant the user"):
            backend.write([bad, aggregate(window())])


@pytest.mark.parametrize("which", ["probes", "periods"])
def test_a_shared_key_of_another_type_quarantines_nothing(
    redis_server: RedisServer, which: str
) -> None:
    with redis_at(redis_server.url) as (backend, keys):
        key = keys.periods if which == "periods" else keys.probes(period(START))
        redis_server.client.set(key, "x")
        with pytest.raises(Retryable, match=f"{key}, or a key.*has another type.*remove it"):
            backend.write([aggregate(window())])
        redis_server.client.delete(key)
        backend.write([aggregate(window())])
        assert rows(backend) == expected(aggregate(window()))


# -- a server in trouble ---------------------------------------------------------------------


def test_full_memory_is_retryable_and_nothing_acknowledged_is_lost(start_redis: StartRedis) -> None:
    server = start_redis("--maxmemory", "2mb")
    windows = [aggregate(window(n, flows(500))) for n in range(110)]
    with redis_at(server.url) as (backend, _):
        acked = 0
        with pytest.raises(Retryable, match=r"maxmemory.*raise maxmemory, or shorten"):
            for stored in windows:
                backend.write([stored])
                acked += 1
        assert acked > 0
        # Each window is in a transaction: all of it, or nothing.
        assert rows(backend) == expected(*windows[:acked])
        with pytest.raises(Retryable, match="raise maxmemory"):
            backend.write(windows)
        server.client.config_set("maxmemory", 0)  # mended while it runs
        backend.write(windows)
        assert rows(backend) == expected(*windows)


def test_killed_and_restarted(start_redis: StartRedis) -> None:
    server = start_redis()
    first, second = aggregate(window(0)), aggregate(window(1))
    with redis_at(server.url) as (backend, _):
        backend.check()
        backend.write([first])
        server.stop(kill=True)
        for attempt in (lambda: backend.write([second]), lambda: rows(backend), backend.check):
            with pytest.raises(Retryable, match=r"can't connect.*start Redis there"):
                attempt()
        server.start()
        assert rows(backend) == expected(first)
        server.stop(kill=True)
        server.start()
        backend.write([second])  # with a connection that is dead: made anew at once
        assert rows(backend) == expected(first, second)


def test_a_server_that_hangs(start_redis: StartRedis) -> None:
    server = start_redis()
    with redis_at(server.url, "timeout=0.3") as (backend, _):
        backend.write([aggregate(window(0))])
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(Retryable, match=r"no answer within 0\.3 s.*backendConfig\.timeout"):
                backend.write([aggregate(window(1))])
        finally:
            server.process.send_signal(signal.SIGCONT)
        until(server.answers, "it goes on")
        backend.write([aggregate(window(1))])  # not the late answer of the first try
        assert len(rows(backend)) == 2


def test_wrong_password(start_redis: StartRedis, tmp_path: Path) -> None:
    server = start_redis("--requirepass", "secret", password="secret")
    password = tmp_path / "password"
    password.write_text("wrong\n")
    with redis_at(server.url, f"redisConfig.passwordFile={password}") as (backend, _):
        for attempt in (backend.check, lambda: backend.write([aggregate(window())])):
            with pytest.raises(Retryable, match="refuses the user.*mend user and password"):
                attempt()
        password.write_text("secret\n")  # mended while it runs
        backend.check()
        backend.write([aggregate(window())])
        assert rows(backend) == expected(aggregate(window()))
        password.unlink()
        server.client.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(Retryable, match=r"redisConfig\.passwordFile: .*make it readable"):
            backend.write([aggregate(window())])
    with redis_at(server.url) as (backend, _):
        with pytest.raises(Retryable, match="refuses the user.*Authentication required"):
            backend.write([aggregate(window())])
    with redis_at(f"redis://:secret@127.0.0.1:{server.port}") as (backend, _):
        backend.write([aggregate(window())])


def test_a_user_that_may_do_what_the_documentation_lists(start_redis: StartRedis) -> None:
    texts = [path.read_text() for path in (ROOT / "docs").glob("backends*.md")]
    (rule,) = re.findall(r"^ACL SETUSER (.+)$", "\n".join(texts), re.MULTILINE)
    server = start_redis()
    keys = Keys("wakizashi", "traffic")
    server.client.execute_command("ACL", "SETUSER", *rule.split())
    user, password = rule.split()[0], rule.split()[2].removeprefix(">")
    settings = [f"redisConfig.user={user}", f"redisConfig.password={password}"]
    settings += ["database=wakizashi"]
    with redis_at(server.url, *settings) as (backend, _):
        backend.check()
        backend.write([aggregate(window())])
        assert rows(backend) == expected(aggregate(window()))
        for forbidden in ("-info", "-config|get"):
            server.client.execute_command("ACL", "SETUSER", user, forbidden)
            backend.check()
        server.client.execute_command("ACL", "SETUSER", user, "-hset")
        with pytest.raises(Retryable, match="hset.*grant the user the commands"):
            backend.write([aggregate(window())])
    with redis_at(server.url, *settings[:2]) as (backend, _):
        with pytest.raises(Retryable, match="grant the user.*backendConfig.database"):
            backend.check()
    assert server.client.exists(keys.periods)


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        (("appendonly", "no"), "appendonly is off.*set appendonly yes and appendfsync always"),
        (("appendfsync", "everysec"), "appendfsync is everysec.*set appendfsync always"),
        (("maxmemory-policy", "allkeys-lru"), "maxmemory-policy is allkeys-lru.*noeviction"),
    ],
)
def test_settings_that_lose_windows_are_told(
    start_redis: StartRedis, setting: tuple[str, str], part: str
) -> None:
    server = start_redis("--maxmemory", "100mb")
    with redis_at(server.url) as (backend, _):
        backend.check()
        server.client.config_set(*setting)
        with pytest.raises(Retryable, match=part):
            backend.check()
        backend.write([aggregate(window())])


def test_a_replica(start_redis: StartRedis, redis_server: RedisServer) -> None:
    replica = start_redis("--replicaof", f"127.0.0.1 {redis_server.port}")
    with redis_at(replica.url) as (backend, _):
        for attempt in (backend.check, lambda: backend.write([aggregate(window())])):
            with pytest.raises(Retryable, match="it is a replica: name the primary"):
                attempt()


class _Refusing(socketserver.ThreadingTCPServer):
    """A server that answers every command with the same error."""

    daemon_threads = True

    def __init__(self, answer: str) -> None:
        super().__init__(("127.0.0.1", 0), _Refuses)
        self.answer = f"-{answer}\r\n".encode()
        self.connections = 0


class _Refuses(socketserver.StreamRequestHandler):
    server: _Refusing

    def handle(self) -> None:
        self.server.connections += 1
        for line in self.rfile:
            if line.startswith(b"*"):
                self.wfile.write(self.server.answer)


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        ("LOADING Redis is loading the dataset in memory", "once it has loaded its data"),
        ("MISCONF Errors writing to the AOF file: No space left on device", "make room on Redis"),
        ("CLUSTERDOWN The cluster is down", "the cluster lacks nodes"),
        ("NOREPLICAS Not enough good replicas to write.", "lower min-replicas-to-write"),
        ("ERR max number of clients reached", "raise maxclients"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "slots are on their way"),
        ("ERR unknown command", "is this a Redis of version 4.0"),
        ("HTTP/1.1 400", "is this a Redis of version 4.0"),
    ],
)
def test_what_a_server_answers(answer: str, part: str) -> None:
    with _Refusing(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            with redis_at(f"redis://127.0.0.1:{server.server_address[1]}") as (backend, _):
                with pytest.raises(Retryable, match=part) as caught:
                    backend.write([aggregate(window())])
                assert type(caught.value) is Retryable
                assert server.connections == 1  # the only retry loop is the store's
        finally:
            server.shutdown()
            thread.join()


def test_a_host_that_is_none() -> None:
    with redis_at(f"redis://127.0.0.1:{free_port()}") as (backend, _):
        with pytest.raises(Retryable, match=r"redisConfig\.url: redis://127.*can't connect"):
            backend.check()


# -- other ways to it ------------------------------------------------------------------------


def test_unix_socket(start_redis: StartRedis, tmp_path: Path) -> None:
    start_redis("--unixsocket", str(tmp_path / "r.sock"))
    with redis_at(f"unix://{tmp_path}/r.sock?db=3") as (backend, _):
        backend.check()
        backend.write([aggregate(window())])
        assert rows(backend) == expected(aggregate(window()))


def test_tls(start_redis: StartRedis, tmp_path: Path) -> None:
    openssl = program("openssl", "openssl")
    cert, key, port = tmp_path / "cert.pem", tmp_path / "key.pem", free_port()
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = [*make, *name, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    files = ("--tls-cert-file", str(cert), "--tls-key-file", str(key))
    start_redis("--tls-port", str(port), *files, "--tls-auth-clients", "no")
    url = f"rediss://127.0.0.1:{port}"
    with redis_at(f"{url}?ssl_ca_certs={cert}") as (backend, _):
        backend.write([aggregate(window())])
        assert rows(backend) == expected(aggregate(window()))
    with redis_at(url) as (backend, _):
        with pytest.raises(Retryable, match="can't connect.*certificate"):
            backend.write([aggregate(window())])


# -- a cluster -------------------------------------------------------------------------------


def test_a_server_taken_for_a_cluster_and_the_reverse(
    redis_server: RedisServer, redis_cluster: list[RedisServer]
) -> None:
    with redis_at(f"redis+cluster://127.0.0.1:{redis_server.port}") as (backend, _):
        with pytest.raises(Retryable, match="it is no cluster: write redis://"):
            backend.write([aggregate(window())])
    with redis_at(redis_cluster[0].url) as (backend, _):
        with pytest.raises(Retryable, match=r"write redis\+cluster://"):
            backend.write([aggregate(window(probe=f"vm-{n}")) for n in range(20)])


def test_the_windows_of_a_fleet_are_on_all_nodes(redis_cluster: list[RedisServer]) -> None:
    hosts = f"127.0.0.1:{free_port()},127.0.0.1:{redis_cluster[2].port}"  # the first is down
    with redis_at(f"redis+cluster://{hosts}") as (backend, keys):
        windows = [aggregate(window(n, probe=f"vm-{p}")) for p in range(60) for n in range(2)]
        backend.check()
        backend.write(windows)
        assert rows(backend) == expected(*windows)
        for node in redis_cluster:
            assert len(node.client.keys(f"{keys.database}:traffic:{{*")) > 30


def test_a_slot_that_moves(redis_cluster: list[RedisServer]) -> None:
    url = f"redis+cluster://127.0.0.1:{redis_cluster[0].port}"
    with redis_at(url) as (backend, keys):
        stored = aggregate(window(probe=f"moving-{uuid.uuid4().hex}"))
        slot = key_slot(keys.window(stored.probe, START).encode())
        backend.write([aggregate(window())])  # knows who has which slots
        ids = [node.client.execute_command("CLUSTER", "MYID") for node in redis_cluster]
        owned = [slot in range(*_slots(node)) for node in redis_cluster]
        old = owned.index(True)
        new = (old + 1) % 3
        setslot = ("CLUSTER", "SETSLOT", slot)
        redis_cluster[new].client.execute_command(*setslot, "IMPORTING", ids[old])
        redis_cluster[old].client.execute_command(*setslot, "MIGRATING", ids[new])
        with pytest.raises(Retryable, match="slots are on their way"):
            backend.write([stored])
        for number in (new, old, 3 - new - old):
            redis_cluster[number].client.execute_command(*setslot, "NODE", ids[new])
        backend.write([stored])  # is told so, asks anew, and writes in the same call
        assert rows(backend) == expected(aggregate(window()), stored)
        assert redis_cluster[new].client.exists(keys.window(stored.probe, START))


def _slots(node: RedisServer) -> tuple[int, int]:
    """The first range of slots of a node, as for ``range``."""
    for first, last, (_, port, *_), *_ in node.client.execute_command("CLUSTER", "SLOTS"):
        if port == node.port and last - first > 1_000:
            return first, last + 1
    raise AssertionError("a node without slots")


# -- all of it -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["redis_server", "redis_cluster"])
def test_from_a_delivery_to_a_query(
    place: str, request: pytest.FixtureRequest, center: Center
) -> None:
    server = request.getfixturevalue(place)
    url = server.url if place == "redis_server" else f"redis+cluster://127.0.0.1:{server[0].port}"
    name = f"w{uuid.uuid4().hex}"
    settings = ("type=redis", f"redisConfig.url={url}", FOREVER, f"database={name}")
    backend = [f"backendConfig.{setting}" for setting in settings]
    center.start(*backend)
    windows = [window(n, probe=f"vm-{p}") for n in range(5) for p in range(4)]
    for _ in range(2):  # delivered again
        assert statuses(center.deliver(*windows)) == ["STORED"] * 20
    query = [str(Path(sys.executable).with_name("wakizashi")), "query"]
    flags = [flag for setting in backend for flag in ("--set", setting)]
    done = subprocess.run(
        [*query, *flags, "--last", "9999d", "--by", "srcIP,dstIP", "--format", "json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        {"srcIP": "10.0.0.1", "dstIP": "10.0.0.2", "size": 2_000, "packets": 20}
    ]
    assert f"storing in Redis at {url}" in center.log()
    assert center.stop() == 0
