"""The dashboard's routes over a store in memory: numbers, names, errors, safety."""

import asyncio
import csv
import gc
import io
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.asgi import Answer, request
from tests.center_servers import until
from tests.center_windows import START
from tests.dashboard_data import END, NUMBER, SPAN, WINDOW, dashboard, windows
from tests.memory_backend import Memory
from wakizashi import query
from wakizashi.center.backend import Row, Where
from wakizashi.dashboard import gathering
from wakizashi.dashboard.answers import Answers
from wakizashi.dashboard.app import application
from wakizashi.dashboard.names import Labels
from wakizashi.dashboard.static import Static
from wakizashi.errors import Retryable, WakizashiError
from wakizashi.names import Names

DAY = 86_400_000


@pytest.fixture(params=[False, True], ids=["", "sums-here"])
def backend(request: pytest.FixtureRequest) -> Memory:
    return Memory(windows(), sums_here=request.param)


def by(backend: Memory, *fields: str, where: Where = ()) -> dict[tuple[str, ...], int]:
    """What ``wakizashi query --by`` says."""
    rows = backend.traffic(START, END, fields, where=where)
    return {tuple(str(row[name]) for name in fields): int(row["size"]) for row in rows}


async def get(url: str, **more: Any) -> Answer:
    return await request(dashboard(**more), url)


# -- the river -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields", "largest"),
    [
        ("pairs", ("srcIP", "dstIP"), "::1>10.0.3.1"),
        ("services", ("probeIP",), "10.0.0.1"),
        ("probes", ("probe",), "web"),
    ],
)
async def test_a_river_is_what_a_query_says(
    backend: Memory, name: str, fields: tuple[str, ...], largest: str
) -> None:
    found = (await get(f"/api/v1/river?{SPAN}&by={name}&top=2", backend=backend)).json
    truth = by(backend, *fields)
    order = sorted(truth.values(), reverse=True)
    assert [one["total"]["bytes"] for one in found["series"]] == order[:2]
    assert found["series"][0]["id"] == largest
    for one in found["series"]:
        key = tuple(one["key"].values())
        assert truth[key] == one["total"]["bytes"] == sum(one["bytes"])
    assert found["other"]["total"]["bytes"] == sum(order[2:])
    assert found["other"]["count"] == len(order) - 2
    assert found["total"]["bytes"] == sum(order)
    assert found["by"] == name and found["since"] == START and found["until"] == END


async def test_a_river_has_a_bucket_for_each_step(backend: Memory) -> None:
    found = (await get(f"/api/v1/river?{SPAN}&points=500")).json
    assert found["step"] == WINDOW  # not shorter than a window, though 500 would have room
    first = START // WINDOW * WINDOW
    assert found["times"] == list(range(first, END, WINDOW))
    lines = [*found["series"], found["other"]]
    whole = [sum(column) for column in zip(*(one["bytes"] for one in lines), strict=True)]
    truth = {int(row["timestamp"]): row for row in backend.traffic(START, END, (), step_ms=WINDOW)}
    assert whole == [int(truth[t]["size"]) if t in truth else 0 for t in found["times"]]


@pytest.mark.parametrize(
    ("now", "settled"),
    [
        (END + 10_000, END),
        (END + 10 * WINDOW, None),  # all are silent
    ],
)
async def test_a_river_is_settled_up_to_where_all_have_delivered(
    now: int, settled: int | None
) -> None:
    last = now + 1
    found = (await get(f"/api/v1/river?since={START}&until={last}", now_ms=now)).json
    assert found["settled"] == settled
    assert found["now"] == now


async def test_a_river_of_the_past_is_settled_by_what_came_later() -> None:
    found = (await get(f"/api/v1/river?since={START}&until={START + 5 * WINDOW}")).json
    assert found["settled"] == END


async def test_a_river_of_the_last_while_begins_with_a_whole_bucket(backend: Memory) -> None:
    now = END + 10_000
    found = (await get("/api/v1/river?last=5m&points=500", now_ms=now)).json
    since, until = found["since"], found["until"]
    assert found["times"][0] == since <= now + 1 - 300_000 < since + found["step"]
    assert until == now + 1
    (row,) = backend.traffic(since, since + WINDOW, (), step_ms=WINDOW)
    assert sum(one["bytes"][0] for one in [*found["series"], found["other"]]) == row["size"]


async def test_an_empty_river_is_a_river() -> None:
    found = (await get("/api/v1/river?last=1m", backend=Memory())).json
    assert found["series"] == [] and found["total"] == {"bytes": 0}
    assert found["other"]["count"] == 0 and found["settled"] is None
    assert len(found["times"]) == len(found["other"]["bytes"]) > 1


async def test_a_service_is_all_addresses_of_its_name(tmp_path: Path, backend: Memory) -> None:
    names = tmp_path / "names"
    names.write_text("10.0.0.0/30 shop\n")
    url = f"/api/v1/river?{SPAN}&by=services"
    found = (await get(url, backend=backend, names=names)).json
    truth = by(backend, "probeIP")
    assert {one["id"]: one["total"]["bytes"] for one in found["series"]} == {
        "shop": truth["10.0.0.1",] + truth["10.0.0.2",],
        "::1": truth["::1",],
    }
    only = (await get(f"{url}&service=shop", backend=backend, names=names)).json
    assert [one["id"] for one in only["series"]] == ["shop"]
    assert only["total"]["bytes"] == truth["10.0.0.1",] + truth["10.0.0.2",]
    one = (await get(f"{url}&service=10.0.0.2", backend=backend, names=names)).json
    assert one["total"]["bytes"] == truth["10.0.0.2",]
    none = (await get(f"{url}&service=nobody", backend=backend, names=names)).json
    assert none["total"]["bytes"] == 0


# -- the span --------------------------------------------------------------------------------


async def test_a_span_is_what_a_query_says(backend: Memory) -> None:
    found = (await get(f"/api/v1/span?{SPAN}&links=3&peers=2&rows=12", backend=backend)).json
    truth = by(backend, "srcIP", "dstIP")
    whole = sum(truth.values())
    assert found["total"]["bytes"] == whole
    assert found["pairs"] == len(truth)
    assert sum(link["bytes"] for link in found["flows"]["links"]) == whole
    assert sum(cell[2] for cell in found["matrix"]["cells"]) == whole
    assert sum(one["bytes"] for one in found["matrix"]["probes"]) == whole
    assert sum(one["bytes"] for one in found["matrix"]["peers"]) == whole
    table = found["talkers"]
    assert [row["bytes"] for row in table["rows"]] == sorted(truth.values(), reverse=True)[:12]
    assert 12 < table["matching"] == len(truth)
    assert sum(row["bytes"] for row in table["rows"]) + table["other"]["bytes"] == whole
    for row in table["rows"]:
        assert truth[row["srcIP"], row["dstIP"]] == row["bytes"] == sum(row["spark"])
        assert row["share"] == row["bytes"] / whole
        assert row["rate"] == row["bytes"] / (NUMBER * WINDOW / 1000)
        assert len(row["spark"]) == len(table["times"])
    seen = {(row["srcIP"], row["dstIP"]): row["probes"] for row in table["rows"]}
    assert seen["10.0.0.1", "10.0.0.2"] == ["db", "web"]


async def test_talkers_alone_are_those_of_the_span() -> None:
    url = f"{SPAN}&rows=3&sort=src&order=asc&find=0.0"
    alone = (await get(f"/api/v1/talkers?{url}")).json
    assert alone["talkers"] == (await get(f"/api/v1/span?{url}")).json["talkers"]
    assert set(alone) == {"since", "until", "now", "talkers"}


@pytest.mark.parametrize(
    ("filters", "where"),
    [
        ("probe=web", [[{"probe": "web"}]]),
        ("probe=web&probe=db", [[{"probe": "web"}, {"probe": "db"}]]),
        ("host=10.0.0.2", [[{"srcIP": "10.0.0.2"}, {"dstIP": "10.0.0.2"}]]),
        ("src=10.0.0.2", [[{"srcIP": "10.0.0.2"}]]),
        ("dst=10.0.0.2", [[{"dstIP": "10.0.0.2"}]]),
        ("service=10.0.0.2", [[{"probeIP": "10.0.0.2"}]]),
        ("src=0:0::1", [[{"srcIP": "::1"}]]),
        ("probe=db&src=10.0.0.2", [[{"probe": "db"}], [{"srcIP": "10.0.0.2"}]]),
    ],
)
@pytest.mark.parametrize("route", ["span", "river"])
async def test_filters(backend: Memory, filters: str, where: Where, route: str) -> None:
    found = (await get(f"/api/v1/{route}?{SPAN}&{filters}", backend=backend)).json
    truth = sum(by(backend, "probe", where=where).values())
    assert found["total"]["bytes"] == truth
    assert 0 < truth < sum(by(backend, "probe").values())


async def test_names_come_before_addresses(tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text("10.0.0.1 nginx-1\n10.0.0.2\tdb.example db\n")
    found = (await get(f"/api/v1/span?{SPAN}&find=NGINX", names=names)).json
    assert {"nginx-1"} == {
        row["src"] if row["srcIP"] == "10.0.0.1" else row["dst"] for row in found["talkers"]["rows"]
    }
    nodes = {node["id"]: node["label"] for node in found["flows"]["nodes"]}
    assert nodes["s:10.0.0.1"] == nodes["d:10.0.0.1"] == "nginx-1"
    river = (await get(f"/api/v1/river?{SPAN}", names=names)).json
    assert "nginx-1 → db.example" in {one["label"] for one in river["series"]}
    assert (await get("/api/v1/about", names=names)).json["names"] == {"dns": False, "file": True}


@pytest.mark.parametrize("by_name", ["pairs", "services", "probes"])
async def test_a_long_span_is_read_in_halves_that_are_the_whole(
    backend: Memory, by_name: str
) -> None:
    middle = START + WINDOW * NUMBER // 2
    span = f"since={middle - 2 * DAY}&until={middle + 2 * DAY}"
    whole = sum(by(backend, "probe").values())
    river = (await get(f"/api/v1/river?{span}&by={by_name}&top=2", backend=backend)).json
    assert river["total"]["bytes"] == whole
    short = (await get(f"/api/v1/river?{SPAN}&by={by_name}&top=2", backend=backend)).json
    assert [(one["id"], one["total"]) for one in river["series"]] == [
        (one["id"], one["total"]) for one in short["series"]
    ]
    found = (await get(f"/api/v1/span?{span}", backend=backend)).json
    assert found["total"]["bytes"] == whole
    for row in found["talkers"]["rows"]:
        assert sum(row["spark"]) == row["bytes"]
    lines = (await get(f"/api/v1/export.csv?{span}", backend=backend)).text
    assert lines == (await get(f"/api/v1/export.csv?{SPAN}", backend=backend)).text


async def test_where_sums_are_made_here_records_are_read_once() -> None:
    for sums_here, times in ((False, 3), (True, 1)):
        backend = Memory(windows(), sums_here=sums_here)
        await get(f"/api/v1/river?{SPAN}", backend=backend)
        assert backend.asked_for_traffic == times


@pytest.mark.parametrize("url", [f"river?{SPAN}", f"span?{SPAN}"])
async def test_more_courses_than_are_kept_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    whole = (await get(f"/api/v1/{url}", backend=Memory(windows()))).json
    monkeypatch.setattr(gathering, "MOST_KEPT", 3 * NUMBER)
    backend = Memory(windows(), sums_here=True)
    assert (await get(f"/api/v1/{url}", backend=backend)).json == whole
    assert backend.asked_for_traffic == 2


@pytest.mark.parametrize(
    ("days", "later", "step"),
    [
        (2, (), DAY // 4),
        (5, (), DAY // 4),  # its last days have nothing
        (5, (4 * DAY,), 15 * 60_000),  # and here they have short ones: the least for 500 buckets
    ],
)
async def test_the_end_of_a_long_span_tells_how_long_its_windows_are(
    days: int, later: tuple[int, ...], step: int
) -> None:
    first, *_ = windows()
    made = [replace(first, ledgers=tuple(replace(one, duration=DAY // 4) for one in first.ledgers))]
    for time in later:
        ledgers = tuple(replace(one, timestamp=START + time) for one in first.ledgers)
        made.append(replace(first, start_ms=START + time, records=(), ledgers=ledgers))
    url = f"/api/v1/river?since={START}&until={START + days * DAY}&points=500"
    assert (await get(url, backend=Memory(made))).json["step"] == step


@pytest.mark.parametrize("route", ["river", "span", "talkers", "export.csv"])
async def test_each_answer_looks_whether_the_names_have_changed(
    route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Labels] = []
    monkeypatch.setattr(Labels, "refresh", lambda self: looks.append(self))
    assert (await get(f"/api/v1/{route}?{SPAN}")).status == 200
    assert len(looks) == 1


@pytest.mark.parametrize(("find", "asked"), [("", False), ("&find=web", True)])
async def test_only_to_find_a_name_all_are_asked_for(find: str, asked: bool) -> None:
    names = Names(lambda _: "", threads=0)
    answers = Answers(
        Memory(windows()), Labels(None, names), table="traffic", clock=lambda: END + 10_000
    )
    served = application(answers, Static(), "127.0.0.1")
    assert (await request(served, f"/api/v1/talkers?{SPAN}&rows=1{find}")).status == 200
    assert ("10.0.0.9" in names._wanted.queue) is asked


# -- the fleet -------------------------------------------------------------------------------


async def test_the_fleet() -> None:
    found = (await get(f"/api/v1/fleet?{SPAN}")).json
    assert [one["name"] for one in found["probes"]] == ["db", "v6", "web"]
    v6 = found["probes"][1]
    assert v6["status"] == "ok" and v6["last"] == END and v6["lag"] == 10_000
    assert (v6["window"], v6["windows"], v6["missing"]) == (WINDOW, NUMBER - 1, 1)
    assert v6["dropped"] == {"bytes": 60 * (NUMBER - 1), "packets": NUMBER - 1}
    assert v6["coverage"] == 1.0
    assert [device["name"] for device in v6["devices"]] == ["eth0"]
    assert v6["devices"][0]["counted"] == v6["counted"]
    only = (await get(f"/api/v1/fleet?{SPAN}&probe=db")).json
    assert [one["name"] for one in only["probes"]] == ["db"]


async def test_a_probe_whose_windows_are_longer_than_the_while_is_of_the_fleet() -> None:
    now = END + WINDOW
    found = (await get("/api/v1/fleet?last=10s", now_ms=now)).json
    assert [(one["name"], one["status"]) for one in found["probes"]] == [
        ("db", "ok"),
        ("v6", "ok"),
        ("web", "ok"),
    ]
    fixed = (await get(f"/api/v1/fleet?since={now - 10_000}&until={now}", now_ms=now)).json
    assert fixed["probes"] == []


async def test_a_fleet_of_the_past_says_how_far_its_probes_are_today() -> None:
    found = (await get(f"/api/v1/fleet?since={START}&until={START + WINDOW}")).json
    assert {(one["windows"], one["last"], one["status"]) for one in found["probes"]} == {
        (1, END, "ok")
    }


# -- export ----------------------------------------------------------------------------------


async def test_an_export_is_what_a_query_writes(backend: Memory) -> None:
    answer = await get(f"/api/v1/export.csv?{SPAN}", backend=backend)
    lines = list(csv.reader(io.StringIO(answer.text)))
    rows: list[Row] = sorted(
        backend.traffic(START, END, ("srcIP", "dstIP")), key=lambda row: -int(row["size"])
    )
    out = io.StringIO()
    query.write(rows, ("srcIP", "dstIP"), "csv", out)
    told = list(csv.reader(io.StringIO(out.getvalue())))
    assert lines[0] == [*told[0], "srcName", "dstName"]
    assert sorted(lines[1:]) == sorted([*line, "", ""] for line in told[1:])
    assert [int(line[2]) for line in lines[1:]] == [int(line[2]) for line in told[1:]]
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment;")


async def test_an_export_is_sent_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (await get(f"/api/v1/export.csv?{SPAN}")).text
    monkeypatch.setattr("wakizashi.dashboard.answers.EXPORT_LINES", 3)
    assert (await get(f"/api/v1/export.csv?{SPAN}")).text == whole
    assert (await get("/api/v1/export.csv", backend=Memory())).text.count("\n") == 1


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)"])
async def test_a_name_is_no_formula(tmp_path: Path, name: str) -> None:
    names = tmp_path / "names"
    names.write_text(f"10.0.0.1 {name}\n")
    text = (await get(f"/api/v1/export.csv?{SPAN}", names=names)).text
    assert f",'{name}" in text
    assert f",{name}" not in text


# -- errors ----------------------------------------------------------------------------------


async def test_a_wrong_parameter_is_told() -> None:
    answer = await get("/api/v1/river?last=5")
    assert answer.status == 400
    assert answer.fault == "last: '5' is no span of time; write 90s, 10m, 1h30m or 7d"


@pytest.mark.parametrize("route", ["river", "span", "talkers", "fleet", "export.csv"])
@pytest.mark.parametrize("kind", [Retryable, WakizashiError])
async def test_a_backend_that_is_away_says_so(
    backend: Memory, route: str, kind: type[WakizashiError]
) -> None:
    backend.trouble = kind("backend: http://influx:8086: refused; start it")
    answer = await get(f"/api/v1/{route}", backend=backend)
    assert answer.status == 503
    assert answer.fault == "backend: http://influx:8086: refused; start it"


async def test_after_trouble_the_next_question_is_asked_anew(backend: Memory) -> None:
    served = dashboard(backend)
    backend.trouble = Retryable("away")
    assert (await request(served, f"/api/v1/span?{SPAN}")).status == 503
    backend.trouble = None
    assert (await request(served, f"/api/v1/span?{SPAN}")).status == 200


async def test_a_defect_is_told_in_one_line(
    backend: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    backend.trouble = KeyError("a\nb")
    with caplog.at_level(logging.ERROR):
        answer = await get("/api/v1/span", backend=backend)
    assert answer.status == 500
    assert "unexpected KeyError" in answer.fault and "defect" in answer.fault
    assert len(caplog.records) == 1


async def test_what_is_not_there() -> None:
    answer = await get("/nothing")
    assert (answer.status, answer.fault) == (404, "/nothing: there is nothing; the page is at /")
    answer = await request(dashboard(), "/api/v1/about", method="POST")
    assert answer.status == 405 and "use GET" in answer.fault
    assert (await request(dashboard(), "/healthz", method="HEAD")).status == 200


# -- one answer for all ----------------------------------------------------------------------


async def test_equal_questions_share_an_answer(backend: Memory) -> None:
    served = dashboard(backend)
    url = f"/api/v1/span?{SPAN}"
    await request(served, url)
    once, backend.asked = backend.asked, 0
    fresh = dashboard(backend)
    answers = await asyncio.gather(*(request(fresh, url) for _ in range(8)))
    assert backend.asked == once
    assert len({answer.body for answer in answers}) == 1
    await request(fresh, url)  # within the second that an answer is good for
    assert backend.asked == once
    await request(fresh, f"{url}&links=39")
    assert backend.asked == 2 * once


class Stuck(Memory):
    """Answers when it is let go."""

    def __init__(self) -> None:
        super().__init__(windows())
        self.go = threading.Event()
        self.waiting = 0

    def _ask(self) -> None:
        self.waiting += 1
        assert self.go.wait(20)
        super()._ask()


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    made = Stuck()
    yield made
    made.go.set()


async def test_others_are_answered_while_a_backend_is_slow(stuck: Stuck) -> None:
    served = dashboard(stuck)
    slow = asyncio.create_task(request(served, f"/api/v1/span?{SPAN}"))
    while not stuck.waiting:
        await asyncio.sleep(0)
    assert (await request(served, "/healthz")).status == 200
    assert (await request(served, "/api/v1/about")).status == 200
    stuck.go.set()
    assert (await slow).status == 200


async def test_who_goes_away_does_not_take_the_answer_from_the_others(stuck: Stuck) -> None:
    served, url = dashboard(stuck), f"/api/v1/span?{SPAN}"
    first, second = (asyncio.create_task(request(served, url)) for _ in range(2))
    while not stuck.waiting:
        await asyncio.sleep(0)
    first.cancel()
    stuck.go.set()
    assert (await second).status == 200


async def test_the_line_has_an_end(stuck: Stuck) -> None:
    served = dashboard(stuck)
    urls = [f"/api/v1/span?{SPAN}&links={n}" for n in range(1, 66)]
    tasks = [asyncio.create_task(request(served, url)) for url in urls]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    (answer,) = (task.result() for task in done)
    assert answer.status == 503 and "64 questions wait" in answer.fault
    assert stuck.waiting <= 2 * 4  # two readings of each of those whose turn it is
    stuck.go.set()
    assert [task.result().status for task in (await asyncio.wait(tasks))[0]].count(200) == 64


async def test_exports_wait_for_their_turn_too(stuck: Stuck) -> None:
    served = dashboard(stuck)
    url = f"/api/v1/export.csv?{SPAN}"
    tasks = [asyncio.create_task(request(served, url)) for _ in range(9)]
    while stuck.waiting < 4:
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert stuck.waiting == 4
    stuck.go.set()
    assert {answer.status for answer in await asyncio.gather(*tasks)} == {200}


async def test_exports_stand_in_the_same_line(stuck: Stuck) -> None:
    served = dashboard(stuck)
    urls = [f"/api/v1/export.csv?{SPAN}"] * 40 + [
        f"/api/v1/span?{SPAN}&rows={n}" for n in range(1, 31)
    ]
    tasks = [asyncio.create_task(request(served, url)) for url in urls]
    done, _ = await asyncio.wait(tasks, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result().status for task in done} == {503}
    stuck.go.set()
    assert [answer.status for answer in await asyncio.gather(*tasks)].count(200) == 64


async def test_a_failure_that_nobody_waits_for_is_no_news(
    stuck: Stuck, caplog: pytest.LogCaptureFixture
) -> None:
    task = asyncio.create_task(request(dashboard(stuck), f"/api/v1/span?{SPAN}"))
    while not stuck.waiting:
        await asyncio.sleep(0)
    task.cancel()
    stuck.trouble = Retryable("away")
    stuck.go.set()
    others = [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]
    await asyncio.wait(others)
    del others, task
    gc.collect()
    assert caplog.records == []


# -- safety ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listen", "host", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8080", 200),
        ("127.0.0.1", "localhost:8080", 200),
        ("127.0.0.1", "LOCALHOST", 200),
        ("127.0.0.1", "[::1]:8080", 200),
        ("::1", "[::1]:8080", 200),
        ("127.0.0.1", "evil.example:8080", 400),
        ("127.0.0.1", "127.0.0.1.evil.example", 400),
        ("127.0.0.1", "[127.0.0.1.evil.example]", 400),
        ("127.0.0.1", "", 400),
        ("localhost", "evil.example", 400),
        ("0.0.0.0", "monitoring.example:8080", 200),
    ],
)
async def test_on_loopback_only_this_machine_is_asked_for(
    listen: str, host: str, status: int
) -> None:
    for url in ("/healthz", "/api/v1/about", f"/api/v1/export.csv?{SPAN}"):
        answer = await request(dashboard(listen=listen), url, host=host)
        assert answer.status == status
        if status == 400:
            assert "open http://localhost" in answer.fault


@pytest.mark.parametrize(
    ("listen", "bound", "host", "status"),
    [
        ("127.1", "127.0.0.1", "evil.example:8080", 400),
        ("127.1", "127.0.0.1", "127.1:8080", 200),
        ("vm-1", "127.0.1.1", "evil.example", 400),
        ("vm-1", "127.0.1.1", "VM-1:8080", 200),
        ("vm-1", "::ffff:127.0.0.1", "evil.example", 400),
        ("vm-1", "10.0.0.7", "monitoring.example", 200),
    ],
)
async def test_a_name_of_loopback_is_loopback(
    listen: str, bound: str, host: str, status: int
) -> None:
    served = dashboard(listen=listen, bound=bound)
    assert (await request(served, "/api/v1/about", host=host)).status == status


async def test_nobody_is_sent_elsewhere() -> None:
    for url in ("/api/v1/river/", "/static/main.js/", "/healthz/"):
        answer = await request(dashboard(), url, host="evil.example")
        assert answer.status in (400, 404) and "location" not in answer.headers


@pytest.mark.parametrize("url", ["/healthz", "/api/v1/about", "/nothing", "/api/v1/span?x=1"])
async def test_every_answer_bears_its_headers(url: str) -> None:
    headers = (await get(url)).headers
    policy = headers["content-security-policy"]
    assert policy.startswith(
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    )
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


async def test_answers_are_packed_for_who_takes_it() -> None:
    url = f"/api/v1/span?{SPAN}"
    plain = await get(url)
    assert "content-encoding" not in plain.headers
    packed = await request(dashboard(), url, accept_encoding="br, gzip;q=0.8")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert packed.json == plain.json
    assert len(packed.body) < len(plain.body) / 3
    refused = await request(dashboard(), url, accept_encoding="gzip;q=0.0, br")
    assert "content-encoding" not in refused.headers


# -- files -----------------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "vendor").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "vendor" / "big.js").write_text("let a = 1;\n" * 500)
    (folder / "vendor" / "big.LICENSE").write_text("as you like")
    (folder / "dot.png").write_bytes(b"\x89PNG")
    (tmp_path / "secret").write_text("secret")
    return folder


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/vendor/big.js", "text/javascript; charset=utf-8"),
        ("/static/vendor/big.LICENSE", "text/plain; charset=utf-8"),
        ("/static/dot.png", "image/png"),
    ],
)
async def test_files_have_their_types_and_are_sent_once(page: Path, url: str, kind: str) -> None:
    served = dashboard(static=page)
    first = await request(served, url)
    assert first.status == 200 and first.headers["content-type"] == kind
    assert first.headers["cache-control"] == "no-cache"
    again = await request(served, url, if_none_match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")


async def test_a_new_release_is_seen_at_once(page: Path) -> None:
    served, url = dashboard(static=page), "/static/vendor/big.js"
    first = await request(served, url, accept_encoding="gzip")
    assert first.headers["content-encoding"] == "gzip" and len(first.body) < 500
    (page / "vendor" / "big.js").write_text("let a = 2;\n")
    second = await request(served, url, if_none_match=first.headers["etag"])
    assert (second.status, second.text) == (200, "let a = 2;\n")


@pytest.mark.parametrize(
    "name",
    ["../secret", "vendor/../../secret", "/etc/passwd", "vendor", "", "a\0b", "link", "a" * 300],
)
async def test_nothing_outside_of_the_folder_is_found(page: Path, name: str) -> None:
    (page / "link").symlink_to(page.parent / "secret")
    assert (await request(dashboard(static=page), f"/static/{name}")).status == 404


async def test_names_of_the_resolver_come_with_the_next_answer() -> None:
    names = Names(lambda address: f"host-{address}", threads=1)
    answers = Answers(
        Memory(windows()), Labels(None, names), table="traffic", clock=lambda: END + 10_000
    )
    served = application(answers, Static(), "127.0.0.1")
    first = (await request(served, f"/api/v1/span?{SPAN}")).json
    assert first["talkers"]["rows"][0]["srcIP"] in first["talkers"]["rows"][0]["src"]
    until(lambda: names.peek("10.0.0.1") != "", "the name")
    second = (await request(served, f"/api/v1/span?{SPAN}&rows=99")).json
    assert "host-10.0.0.1" in {row["src"] for row in second["talkers"]["rows"]}
