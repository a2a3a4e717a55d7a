"""A real center process on loopback, and what is done to it."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.center_servers import free_port, until
from tests.center_windows import ip, window
from wakizashi import wire
from wakizashi.center.backend import open_backend
from wakizashi.center.config import load_center
from wakizashi.model import Direction, Flow, Window
from wakizashi.v1 import traffic_pb2 as pb

METHOD = "/wakizashi.v1.TrafficCenter/Transmit"


def transmit(channel: grpc.Channel) -> "grpc.StreamStreamMultiCallable[bytes, bytes]":
    """The method, with raw bytes on both sides."""
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(METHOD)
    return call


class Center:
    """A center in a folder of its own; the same ports for its whole life."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.health = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *settings: str) -> list[str]:
        values = (f"port={self.port}", f"healthPort={self.health}", "recoverInterval=1", *settings)
        flags = [flag for setting in values for flag in ("--set", setting)]
        return [sys.executable, "-m", "wakizashi.center", *flags]

    def start(self, *settings: str) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(*settings), cwd=self.folder, stderr=log)
        until(lambda: self.get("/readyz")[0] == 200, "the center is ready")

    def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.health}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process = None
        return code

    def records(self) -> float:
        (value,) = re.findall(
            r"^wakizashi_center_records_total (\S+)", self.get("/metrics")[1], re.M
        )
        return float(value)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def send(self, messages: Sequence[bytes]) -> list[pb.WindowAck]:
        """One call on a connection of its own; the acks. Raises grpc.RpcError."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", options) as channel:
            call = transmit(channel)
            acks = call(iter(messages), timeout=20, wait_for_ready=True)
            return [pb.WindowAck.FromString(ack) for ack in acks]

    def deliver(self, *windows: Window) -> list[pb.WindowAck]:
        return self.send([chunk for w in windows for chunk in wire.encode(w)])

    def stored(self) -> list[str]:
        settings = [f"backendConfig.sqliteConfig.path={self.folder / 'wakizashi.db'}"]
        backend = open_backend(load_center(None, settings, {}).backendConfig, read_only=True)
        return sorted(json.dumps(row) for row in backend.traffic(0, 2**50))


@pytest.fixture
def center(tmp_path: Path) -> Iterator[Center]:
    made = Center(tmp_path)
    try:
        yield made
    finally:
        if made.process is not None:
            made.process.kill()
            made.process.wait(10)
    if (tmp_path / "log").exists():
        assert "Traceback" not in made.log()


def large(number: int) -> Window:
    flows = tuple(Flow(0, Direction.OUT, ip(1), ip(n % 250, n // 250), 9, 1) for n in range(6_000))
    return window(number, flows)


def statuses(acks: Sequence[pb.WindowAck]) -> list[str]:
    return [pb.WindowStatus.Name(ack.status).removeprefix("WINDOW_STATUS_") for ack in acks]


def test_delivery_is_stored_and_counted(center: Center) -> None:
    center.start()
    windows = [window(n) for n in range(50)] + [large(60)]
    acks = center.deliver(*windows)
    assert statuses(acks) == ["STORED"] * 51
    assert {ack.start_unix_ms for ack in acks} == {w.start_ms for w in windows}
    assert len(center.stored()) == 50 + 6_000
    metrics = center.get("/metrics")[1]
    assert 'wakizashi_center_windows_total{status="stored"} 51.0' in metrics
    assert "wakizashi_center_records_total 6050.0" in metrics
    assert center.stop() == 0
    assert "stopped" in center.log()


def test_garbage_rpc(center: Center) -> None:
    center.start()
    for garbage in (b"\xff\xff\xff garbage", b"", b"\x0a\x02a\n"):
        with pytest.raises(grpc.RpcError) as caught:
            center.send([*wire.encode(window(1)), garbage])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details()
    with pytest.raises(grpc.RpcError) as caught:
        center.send([bytes(5 * 2**20)])
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert statuses(center.deliver(window(2))) == ["STORED"]
    assert len(center.stored()) == 2  # the window before the garbage too


def test_a_bad_window_is_rejected_and_the_others_stored(center: Center) -> None:
    center.start()
    bad = pb.WindowChunk.FromString(wire.encode(large(1))[0])
    bad.records[7].packets = 0
    chunks = [bad.SerializeToString(), wire.encode(large(1))[1]]
    acks = center.send([*wire.encode(window(0)), *chunks, *wire.encode(window(2))])
    found = {ack.start_unix_ms: ack for ack in acks}
    assert len(acks) == 3
    assert statuses([found[window(n).start_ms] for n in range(3)]) == [
        "STORED",
        "REJECTED",
        "STORED",
    ]
    assert "records[7]" in found[window(1).start_ms].reason


def test_a_window_cut_off_leaves_nothing(center: Center) -> None:
    center.start()
    assert center.send(wire.encode(large(1))[:1]) == []
    with grpc.insecure_channel(f"127.0.0.1:{center.port}") as channel:
        call = transmit(channel)(iter(wire.encode(window(2))), timeout=20)
        call.cancel()
    assert statuses(center.deliver(large(1))) == ["STORED"]
    assert center.stop() == 0


def test_garbage_tcp(center: Center) -> None:
    center.start()
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 64, b"PRI * HTTP/2.0\r\n\r\nSM"):
        with socket.create_connection(("127.0.0.1", center.port), timeout=5) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(data)
    assert statuses(center.deliver(window())) == ["STORED"]
    assert center.stop() == 0


def deliver_each(center: Center, windows: Sequence[Window]) -> list[str]:
    """Each over a connection of its own, which the kernel deals out where centers share a port."""
    with ThreadPoolExecutor(20) as pool:
        return [status for acks in pool.map(center.deliver, windows) for status in statuses(acks)]


def test_two_centers_share_a_port_and_its_load(center: Center, tmp_path: Path) -> None:
    second = Center(tmp_path / "second")
    second.folder.mkdir()
    second.port = center.port
    center.start()
    second.start()
    try:
        windows = [window(0, probe=f"vm-{n}") for n in range(40)]
        assert deliver_each(center, windows) == ["STORED"] * 40
        shares = [center.records(), second.records()]
        assert sum(shares) == 40 and min(shares) > 0
        assert second.stop() == 0
        assert deliver_each(center, windows) == ["STORED"] * 40
        assert center.records() == shares[0] + 40
    finally:
        if second.process is not None:
            second.process.kill()
            second.process.wait(10)


def test_a_second_center_needs_a_health_port_and_a_directory_of_its_own(center: Center) -> None:
    center.start()
    done = subprocess.run(
        center.command(), cwd=center.folder, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1 and "recoverDir" in done.stderr
    done = subprocess.run(
        center.command("recoverDir=''", "backendConfig.sqliteConfig.path=own.db"),
        cwd=center.folder,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1 and "healthPort: can't listen" in done.stderr
    assert statuses(center.deliver(window())) == ["STORED"]


@pytest.mark.parametrize("key", ["port", "healthPort"])
def test_port_in_use(center: Center, key: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", center.port if key == "port" else center.health))
        taken.listen()
        done = subprocess.run(
            center.command(), cwd=center.folder, capture_output=True, text=True, timeout=30
        )
        number = taken.getsockname()[1]
    assert done.returncode == 1
    assert f"center: error: {key}: can't listen on 127.0.0.1:{number}" in done.stderr
    assert "choose another" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) < 5


def test_faulty_configuration(center: Center) -> None:
    done = subprocess.run(
        center.command("recoverIntervall=3", "backendConfig.type=influx"),
        cwd=center.folder,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 78
    assert "did you mean recoverInterval?" in done.stderr
    assert "backendConfig.type: 'influx'" in done.stderr


def test_killed_between_deliveries(center: Center) -> None:
    center.start()
    windows = [window(n) for n in range(5)] + [large(9)]
    assert statuses(center.deliver(*windows)) == ["STORED"] * 6
    before = center.stored()
    center.stop(signal.SIGKILL)
    assert center.stored() == before  # what was acknowledged is there
    center.start()
    assert statuses(center.deliver(*reversed(windows))) == ["STORED"] * 6
    assert center.stored() == before


def test_killed_in_the_middle_of_a_delivery(center: Center) -> None:
    center.start()
    windows = [large(n) for n in range(8)]
    acked: set[int] = set()
    with grpc.insecure_channel(f"127.0.0.1:{center.port}") as channel:
        messages = iter([chunk for w in windows for chunk in wire.encode(w)])
        call = transmit(channel)(messages, timeout=20)
        with pytest.raises(grpc.RpcError):
            for ack in call:
                acked.add(pb.WindowAck.FromString(ack).start_unix_ms)
                if center.process:
                    center.stop(signal.SIGKILL)
            raise grpc.RpcError  # all acks were under way already
    stored = {json.loads(row)["timestamp"] for row in center.stored()}
    assert acked and acked <= stored
    center.start()
    assert set(statuses(center.deliver(*windows))) == {"STORED"}
    assert len(center.stored()) == 8 * 6_000


@pytest.mark.parametrize("recovery", [True, False])
def test_backend_that_can_not_be_written(center: Center, recovery: bool) -> None:
    settings = ["backendConfig.sqliteConfig.path=./later/w.db"]
    if recovery:
        center.start(*settings)
        assert statuses(center.deliver(window(0), window(1))) == ["STORED"] * 2
        assert len(list((center.folder / "recovery").glob("*.window"))) == 2
    else:
        center.start(*settings, "recoverDir=''")
        acks = center.deliver(window(0))
        assert statuses(acks) == ["RETRY"]
        assert "sqliteConfig.path" in acks[0].reason and acks[0].retry_delay_ms > 0

        def not_ready() -> bool:  # for as long as the pause, which is over some time
            assert statuses(center.deliver(window(0))) == ["RETRY"]
            return center.get("/readyz")[0] == 503

        until(not_ready, "not ready after a failure")
    assert "sqliteConfig.path: later/w.db" in center.log()
    (center.folder / "later").mkdir()
    if recovery:
        folder = center.folder / "recovery"
        until(lambda: not list(folder.glob("*.window")), "the windows are posted again")
    else:
        # Without being asked: Kubernetes sends nothing to what is not ready.
        until(lambda: center.get("/readyz")[0] == 200, "ready again")
        until(lambda: statuses(center.deliver(window(0))) == ["STORED"], "stored in the end")
    assert center.stop() == 0


def test_stop_while_a_probe_holds_a_call(center: Center) -> None:
    center.start()
    with grpc.insecure_channel(f"127.0.0.1:{center.port}") as channel:
        first = wire.encode(window(0))
        gate = iter_until(lambda: center.process is None)
        call = transmit(channel)(chain(first, gate), timeout=30)
        assert pb.WindowAck.FromString(next(call)).status == pb.WINDOW_STATUS_STORED
        assert center.stop() == 0
        assert list(call) == []  # ended well, not broken off
    assert len(center.stored()) == 1


def test_grpc_health_service(center: Center) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    center.start()
    with grpc.insecure_channel(f"127.0.0.1:{center.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", "wakizashi.v1.TrafficCenter"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_second_signal_leaves_at_once(center: Center) -> None:
    center.start()
    with grpc.insecure_channel(f"127.0.0.1:{center.port}") as channel:
        gate = iter_until(lambda: center.process is None)
        call = transmit(channel)(chain(wire.encode(window(0)), gate), timeout=30)
        assert next(call)
        assert center.process is not None
        center.process.send_signal(signal.SIGTERM)
        until(lambda: "stopping" in center.log(), "the first signal is heard")
        assert center.stop(signal.SIGINT) == 1
    assert "second signal" in center.log()


def test_version() -> None:
    command = [sys.executable, "-m", "wakizashi.center", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout[:7]) == (0, "center ")


def chain(first: list[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    yield from first
    yield from rest


def iter_until(condition: Callable[[], bool]) -> Iterator[bytes]:
    """Nothing, until ``condition`` holds: a probe that has no more windows yet."""
    until(condition, "the center is gone", 30)
    yield from ()


async def test_a_fleet_that_calls_all_at_once_is_heard(center: Center) -> None:
    """The core's own limit, 1,000 calls that wait to be accepted, would cancel part of them."""
    center.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{center.port}") as channel:
        call: Any = channel.stream_stream(METHOD)

        async def deliver(number: int) -> str:
            (chunk,) = wire.encode(window(probe=f"vm-{number}"))
            acks = [pb.WindowAck.FromString(ack) async for ack in call(iter([chunk]), timeout=60)]
            return ",".join(statuses(acks))

        assert set(await asyncio.gather(*map(deliver, range(3_000)))) == {"STORED"}
