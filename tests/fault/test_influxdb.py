"""What an InfluxDB, or what is between, can do to a write: through the real store and backend.

The server is scripted and keeps points by identity. After the retry it holds
exactly what was sent: nothing is lost, nothing is there twice.
"""

import asyncio
import gzip
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from tests.center_servers import InfluxServer
from tests.center_windows import ip, window
from tests.influx_fake import Exchange, FakeInflux, fake_influx, points_of_windows
from tests.unit.test_store import Clock, files, opened, submit, until, value
from wakizashi import wire
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backends.influxdb import Config, Influx
from wakizashi.center.metrics import Metrics
from wakizashi.center.recovery import Recovery
from wakizashi.center.repost import Repost
from wakizashi.center.store import Status
from wakizashi.center.writer import LONGEST_ASKED_SECONDS, Writer
from wakizashi.errors import Permanent, Retryable
from wakizashi.model import Direction, Flow, Window

HTML = b"<html><head><title>502</title></head><body><h1>Bad Gateway</h1>nginx</body></html>"
LIMIT = 'partial write: max-values-per-tag limit exceeded (9/9): measurement="traffic" dropped=1'
CONFLICT = (
    'partial write: field type conflict: input field "size" on measurement "traffic" dropped=1'
)


@pytest.fixture
def fake() -> Iterator[FakeInflux]:
    with fake_influx() as server:
        yield server


@pytest.fixture
def backend(fake: FakeInflux) -> Iterator[Influx]:
    made = Influx(Config(host=fake.url), "wakizashi", "traffic", 5)
    try:
        yield made
    finally:
        made.close()


def many(number: int) -> Window:
    """A window whose lines are some 600 kB, more than sockets buffer."""
    flows = tuple(
        Flow(0, Direction.OUT, ip(n % 250, n // 250), ip(1, 255), n + 1, 1) for n in range(5_000)
    )
    return window(number, flows)


# -- what is tried again -----------------------------------------------------------------------


def commit_then_500(exchange: Exchange) -> None:
    exchange.commit(exchange.lines())
    exchange.answer(500, {"error": "timeout"})


def commit_then_hang(exchange: Exchange) -> None:
    exchange.commit(exchange.lines())
    exchange.server.over.wait(60)


def commit_then_reset(exchange: Exchange) -> None:
    exchange.commit(exchange.lines())
    exchange.reset()


def commit_a_part_then_limit(exchange: Exchange) -> None:
    exchange.commit(exchange.lines()[::2])
    exchange.answer(400, {"error": LIMIT})


def reset_within_the_body(exchange: Exchange) -> None:
    exchange.rfile.read(1_000)
    exchange.reset()


def reset_within_the_answer(exchange: Exchange) -> None:
    exchange.commit(exchange.lines())
    exchange.send_response(400)
    exchange.send_header("Content-Length", "1000")
    exchange.end_headers()
    exchange.wfile.write(b'{"error":"partial write: unable')
    exchange.reset()


def answering(status: int, body: object = b"", **headers: str) -> Callable[[Exchange], None]:
    def script(exchange: Exchange) -> None:
        exchange.lines()
        exchange.answer(status, body, **headers)

    script.__name__ = f"answer_{status}"
    return script


AGAIN = {
    "commit then 500": commit_then_500,
    "commit then hang": commit_then_hang,
    "commit then reset": commit_then_reset,
    "a part committed, then a limit": commit_a_part_then_limit,
    "reset within the body": reset_within_the_body,
    "reset within the answer": reset_within_the_answer,
    "a proxy's page": answering(502, HTML, Content_Type="text/html"),
    "a proxy's 400": answering(400, b"<h1>The plain HTTP request was sent to HTTPS port</h1>"),
    "a login page": answering(200, HTML, Content_Type="text/html"),
    "a redirect that ends well": answering(302, Location="/elsewhere"),
    "a redirect to nowhere": answering(301, Location="http://[bad"),
    "a redirect that keeps the method": answering(307, Location="/query"),
    "packed 503": answering(503, gzip.compress(b'{"error":"busy"}'), Content_Encoding="gzip"),
    "400 that can't be unpacked": answering(400, b"unable to parse", Content_Encoding="gzip"),
    "an answer in msgpack": answering(200, b"\xc1", Content_Type="application/x-msgpack"),
    "an unknown 400": answering(400, {"error": "gzip: invalid header"}),
    "a shard that goes": answering(
        400, {"error": "partial write: shard 7 is pending deletion dropped=3"}
    ),
    "wrong password": answering(401, {"error": "authorization failed"}),
    "no right": answering(403, {"error": "not authorized"}),
    "another server": answering(404, b"404 page not found"),
    "slow down": answering(429, {"error": "slow down"}, Retry_After="7"),
    "an empty 500": answering(500),
}


@pytest.mark.parametrize("name", AGAIN)
def test_tried_again_nothing_is_lost_and_nothing_twice(
    name: str, fake: FakeInflux, tmp_path: Path
) -> None:
    first, second = many(0), window(1)
    timeout = 0.2 if name == "commit then hang" else 5
    backend = Influx(Config(host=fake.url), "wakizashi", "traffic", timeout)

    async def main() -> None:
        clock = Clock()
        async with opened(backend, tmp_path, clock=clock) as (store, metrics):
            fake.script = [AGAIN[name]]
            (outcome,) = await submit(store, first)
            assert outcome.status is Status.STORED
            assert files(tmp_path) == 1, "it waits in the recovery directory"
            assert [path for path in fake.requests if path.startswith("GET")] == []
            clock.now += 3600
            await submit(store, second)  # the backend is seen to be back
            await until(lambda: files(tmp_path) == 0)
            assert value(metrics, "points_quarantined_total") == 0
            assert value(metrics, "backend_writes_total", outcome="retryable") == 1
        assert fake.points == points_of_windows(aggregate(first), aggregate(second))
        assert not (tmp_path / "bad").exists() or not files(tmp_path / "bad")

    try:
        asyncio.run(main())
    finally:
        backend.close()


def test_the_page_of_a_proxy_is_told_in_its_words(fake: FakeInflux, backend: Influx) -> None:
    fake.script = [AGAIN["a proxy's page"]]
    with pytest.raises(Retryable, match="answers 502: 502 Bad Gateway nginx; look at its log"):
        backend.write([aggregate(window())])


def test_a_redirect_names_where_to(fake: FakeInflux, backend: Influx) -> None:
    fake.script = [AGAIN["a redirect that ends well"]]
    with pytest.raises(Retryable, match="redirects to /elsewhere; name the address itself"):
        backend.write([aggregate(window())])


@pytest.mark.parametrize("host", ["http://a..b", f"http://{'x' * 70}", "http://a_b c"])
def test_a_host_that_can_not_be(host: str) -> None:
    backend = Influx(Config(host=host), "wakizashi", "traffic", 5)
    with pytest.raises(Retryable, match=r"influxConfig\.host: .*mend the address"):
        backend.write([aggregate(window())])
    backend.close()


def test_user_and_password_beyond_latin(influxd_with_users: InfluxServer) -> None:
    influxd_with_users.query("CREATE USER \"jürgen\" WITH PASSWORD 'pässwörd€' WITH ALL PRIVILEGES")
    config = Config(host=influxd_with_users.url, user="jürgen", password=SecretStr("pässwörd€"))
    backend = Influx(config, "wakizashi", "traffic", 5)
    backend.check()
    backend.close()


# -- what is not -------------------------------------------------------------------------------


def test_points_at_fault_are_set_apart(fake: FakeInflux, backend: Influx, tmp_path: Path) -> None:
    def refuse(exchange: Exchange) -> None:
        lines = exchange.lines()
        good = [line for line in lines if "srcIP=10.0.3.13 " not in line]
        exchange.commit(good)
        if len(good) == len(lines):
            exchange.answer(204)
        else:
            exchange.answer(400, {"error": CONFLICT})

    fake.otherwise = refuse

    async def main() -> None:
        async with opened(backend, tmp_path) as (store, metrics):
            outcomes = await submit(store, window(0), many(1), window(2))
            assert [o.status for o in outcomes] == [Status.STORED] * 3
            assert value(metrics, "points_quarantined_total") == 1
        assert files(tmp_path) == 0 and files(tmp_path / "bad") == 1

    asyncio.run(main())
    expected = points_of_windows(*(aggregate(w) for w in (window(0), many(1), window(2))))
    missing = set(expected) - set(fake.points)
    assert len(missing) == 1 and "srcIP=10.0.3.13 " in missing.pop()
    assert fake.points.items() <= expected.items()


def at_most(limit: int) -> Callable[[Exchange], None]:
    def script(exchange: Exchange) -> None:
        if int(exchange.headers["Content-Length"]) > limit:
            exchange.lines()
            exchange.answer(413, b"<h1>413 Request Entity Too Large</h1>")
        else:
            exchange.commit(exchange.lines())
            exchange.answer(204)

    return script


def test_too_large_is_halved_until_it_fits(
    fake: FakeInflux, backend: Influx, tmp_path: Path
) -> None:
    fake.otherwise = at_most(100_000)

    async def main() -> None:
        async with opened(backend, tmp_path) as (store, metrics):
            (outcome,) = await submit(store, many(0))
            assert outcome.status is Status.STORED and files(tmp_path) == 0
            assert value(metrics, "points_quarantined_total") == 0
            assert value(metrics, "backend_writes_total", outcome="ok") == 1

    asyncio.run(main())
    assert fake.points == points_of_windows(aggregate(many(0)))
    assert fake.commits == 8, "halves, quarters and eighths: none was written twice"


def test_a_single_point_too_large_is_permanent(fake: FakeInflux, backend: Influx) -> None:
    fake.otherwise = at_most(150)  # a ledger's line is longer, a record's is not
    stored = aggregate(window())
    with pytest.raises(Permanent, match="too large"):
        backend.write([stored])
    assert len(fake.points) == 1


# -- Retry-After -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
def test_a_longer_pause_that_was_asked_for_is_kept(
    status: int, fake: FakeInflux, backend: Influx, tmp_path: Path
) -> None:
    fake.script = [answering(status, {"error": "slow down"}, Retry_After="120")]

    async def main() -> None:
        clock = Clock()
        async with opened(backend, tmp_path, clock=clock, interval=10) as (store, _):
            await submit(store, window(0))
            clock.now += 119
            await submit(store, window(1))
            assert len(fake.requests) == 1, "nothing was asked within the pause"
            clock.now += 3
            await submit(store, window(2))
            await until(lambda: files(tmp_path) == 0)

    asyncio.run(main())
    expected = [aggregate(window(number)) for number in range(3)]
    assert fake.points == points_of_windows(*expected)


def make_writer(backend: Influx, clock: Clock) -> Writer:
    return Writer(backend, Metrics(), longest_pause_seconds=10, clock=clock, random=lambda: 1.0)


def test_a_pause_beyond_reason_is_cut(fake: FakeInflux, backend: Influx) -> None:
    fake.script = [answering(503, Retry_After="86400")]
    writer = make_writer(backend, Clock())
    with pytest.raises(Retryable):
        asyncio.run(writer.write([aggregate(window())]))
    assert writer.pause_seconds == LONGEST_ASKED_SECONDS + 1


def test_reposts_keep_the_pause_too(fake: FakeInflux, backend: Influx, tmp_path: Path) -> None:
    fake.script = [answering(429, Retry_After="120")]
    clock = Clock()
    recovery = Recovery(tmp_path, limit_bytes=2**20)
    recovery.open()
    recovery.save([(window(0), wire.encode(window(0)))])
    seen: list[int] = []

    async def sleep(seconds: float) -> None:
        seen.append(len(fake.requests))
        clock.now += 30

    async def main() -> None:
        repost = Repost(make_writer(backend, clock), recovery, interval_seconds=30, sleep=sleep)
        task = asyncio.create_task(repost.loop())
        await until(lambda: not recovery.waiting())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    recovery.close()
    assert seen[:5] == [1, 1, 1, 1, 1] and len(fake.requests) == 2
    assert fake.points == points_of_windows(aggregate(window(0)))


# -- packing -----------------------------------------------------------------------------------


def test_lines_are_packed_where_a_network_is_between(fake: FakeInflux) -> None:
    backend = Influx(Config(host=fake.url), "wakizashi", "traffic", 5, compress=True)
    backend.write([aggregate(many(0))])
    assert fake.packed == 1
    backend.write([aggregate(window(1))])
    assert fake.packed == 1, "less than a packet"
    backend.close()
    assert fake.points == points_of_windows(aggregate(many(0)), aggregate(window(1)))


def test_lines_to_this_machine_are_not_packed(fake: FakeInflux, backend: Influx) -> None:
    backend.write([aggregate(many(0))])
    assert fake.packed == 0 and fake.commits == 1


@pytest.mark.parametrize(
    ("host", "packed"),
    [
        ("127.0.0.9", False),
        ("[::1]", False),
        ("localhost", False),
        ("10.0.0.1", True),
        ("influx", True),
    ],
)
def test_which_hosts_are_this_machine(host: str, packed: bool) -> None:
    backend = Influx(Config(host=f"http://{host}:8086"), "wakizashi", "traffic", 5)
    assert backend.compresses is packed
    backend.close()


# -- reading -----------------------------------------------------------------------------------


def test_an_answer_is_read_in_large_parts(
    influxd: InfluxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small ones cost time with the square of a line's length; a line has 10,000 rows."""
    sizes: list[int] = []
    real = requests.Response.iter_content

    def iter_content(self: Any, chunk_size: int = 1, decode_unicode: bool = False) -> Any:
        sizes.append(chunk_size)
        return real(self, chunk_size, decode_unicode)

    backend = Influx(Config(host=influxd.url), f"w{uuid.uuid4().hex}", "traffic", 5)
    backend.write([aggregate(window())])
    monkeypatch.setattr(requests.Response, "iter_content", iter_content)
    assert len(list(backend.traffic(0, 2**43))) == 1
    backend.close()
    assert sizes == [2**20]
