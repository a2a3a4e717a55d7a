"""Delivery against a center that answers as told: acks, retries, lost connections."""

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.center_servers import until
from wakizashi import wire
from wakizashi.errors import Retryable
from wakizashi.filesystem import Filesystem
from wakizashi.model import Window
from wakizashi.probe import courier, transmit
from wakizashi.probe.addresses import REMEMBER_SECONDS, Address, Center
from wakizashi.probe.capture import Endpoint
from wakizashi.probe.courier import Courier
from wakizashi.probe.dump import Dump
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.transmit import Transmitter, Unsaved
from wakizashi.pulse import STUCK_SECONDS, Pulse
from wakizashi.v1 import traffic_pb2 as pb
from wakizashi.v1 import traffic_pb2_grpc as pb_grpc

Script = Callable[[pb.WindowChunk, Any], pb.WindowAck | None]


class FakeCenter(pb_grpc.TrafficCenterServicer):
    """Answers each chunk as the script says, and remembers what came."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.calls = 0
        self.script: Script = lambda chunk, _: stored(chunk)

    def Transmit(
        self, request_iterator: Iterator[pb.WindowChunk], context: Any
    ) -> Iterator[pb.WindowAck]:
        self.calls += 1
        for chunk in request_iterator:
            self.starts.append(chunk.start_unix_ms)
            ack = self.script(chunk, context)
            if ack is not None:
                yield ack


def ack(chunk: pb.WindowChunk, status: pb.WindowStatus, **fields: Any) -> pb.WindowAck:
    return pb.WindowAck(
        probe=chunk.probe, start_unix_ms=chunk.start_unix_ms, status=status, **fields
    )


def stored(chunk: pb.WindowChunk) -> pb.WindowAck:
    return ack(chunk, pb.WINDOW_STATUS_STORED)


@pytest.fixture
def fake() -> Iterator[tuple[FakeCenter, int]]:
    center = FakeCenter()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    pb_grpc.add_TrafficCenterServicer_to_server(center, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield center, port
    server.stop(None).wait()


class Side:
    """A probe's delivery side with three windows waiting."""

    def __init__(
        self, folder: Path, port: int, *, auto_clear: bool = True, interval_seconds: int = 1
    ) -> None:
        self.stats = ProbeStats()
        self.dump = Dump(
            folder / "dump", limit_bytes=10**6, auto_clear=auto_clear, stats=self.stats
        )
        self.dump.open()
        for number in (1, 2, 3):
            self.dump.save(Window("p", number * 1000, number * 1000 + 500, number, (), (), ()))
        self.announced: list[frozenset[Endpoint]] = []
        self.transmitter = Transmitter(
            self.dump,
            Center(f"127.0.0.1:{port}"),
            interval_seconds=interval_seconds,
            channel_lifetime_seconds=300,
            announce=self.announced.append,
            stats=self.stats,
        )
        self.courier = Courier(
            self.transmitter,
            self.dump,
            upload_retry=0,
            interval_seconds=interval_seconds,
            stats=self.stats,
        )

    @property
    def waiting(self) -> list[int]:
        return [entry.start_ms for entry in self.dump.directory.pending()]

    @property
    def kept(self) -> list[int]:
        return [entry.start_ms for entry, _ in self.dump.directory.sent()]


def test_all_windows_go_in_one_call_and_the_newest_is_remembered(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    center, port = fake
    side = Side(tmp_path, port)
    side.transmitter.deliver()
    assert center.starts == [1000, 2000, 3000]
    assert center.calls == 1
    assert side.waiting == []
    assert side.kept == [3000]
    assert side.dump.directory.last_identity("p") == (3000, 3)
    assert side.stats.windows_acked == side.stats.windows_sent == 3
    assert side.stats.delivery_seconds.up_to()[-1] == ("+Inf", 1)
    assert side.stats.last_ack > 0


def test_without_auto_clear_all_are_kept(tmp_path: Path, fake: tuple[FakeCenter, int]) -> None:
    side = Side(tmp_path, fake[1], auto_clear=False)
    side.transmitter.deliver()
    assert side.kept == [1000, 2000, 3000]


def test_address_is_announced_before_the_center_hears_anything(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    center, port = fake
    side = Side(tmp_path, port)
    calls_then: list[int] = []
    side.transmitter._channels._announce = lambda endpoints: calls_then.append(center.calls)
    side.transmitter.deliver()
    assert calls_then == [0]
    assert Center(f"127.0.0.1:{port}").resolve()[0].packed == b"\x7f\0\0\1"


def test_retry_keeps_the_window_and_waits_as_asked(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    center, port = fake
    center.script = lambda chunk, _: (
        ack(chunk, pb.WINDOW_STATUS_RETRY, reason="full", retry_delay_ms=700)
        if chunk.start_unix_ms == 2000
        else stored(chunk)
    )
    side = Side(tmp_path, port)
    with pytest.raises(Retryable, match="full"):
        side.transmitter.deliver()
    assert side.waiting == [2000]
    assert side.transmitter.not_before > time.monotonic() + 0.3
    center.script = lambda chunk, _: stored(chunk)
    side.transmitter.deliver()
    assert side.waiting == []


@pytest.mark.parametrize("fault", ["retry", "disk"])
def test_window_that_never_goes_does_not_hold_up_the_others(
    fault: str, tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with more records than limits.recordsPerWindow, or a file that can't be moved."""
    center, port = fake
    monkeypatch.setattr(transmit, "BATCH_BYTES", 1)  # a window a call
    side = Side(tmp_path, port)
    oldest = side.dump.directory.pending()[0]
    real = os.unlink
    if fault == "retry":
        center.script = lambda chunk, _: (
            ack(chunk, pb.WINDOW_STATUS_RETRY, reason="too large")
            if chunk.start_unix_ms == 1000
            else stored(chunk)
        )
    else:

        def unlink(path: Path) -> None:
            if path.name == oldest.name:
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            real(path)

        monkeypatch.setattr(os, "unlink", unlink)
    for _ in range(2):
        with pytest.raises(Retryable, match="too large|Operation not permitted"):
            side.transmitter.deliver()
    assert side.waiting == [1000]
    assert center.starts == [1000, 2000, 3000, 1000] and center.calls == 4
    center.script = lambda chunk, _: stored(chunk)
    monkeypatch.setattr(os, "unlink", real)
    side.transmitter.deliver()
    assert side.waiting == []
    side.dump.save(Window("p", 4000, 4500, 4, (), (), ()))
    side.transmitter.deliver()
    assert len(side.transmitter._behind) == 1  # not all that ever went


def test_rejected_window_lies_in_bad(tmp_path: Path, fake: tuple[FakeCenter, int]) -> None:
    center, port = fake
    center.script = lambda chunk, _: (
        ack(chunk, pb.WINDOW_STATUS_REJECTED, reason="no")
        if chunk.start_unix_ms == 2000
        else stored(chunk)
    )
    side = Side(tmp_path, port)
    side.transmitter.deliver()
    assert side.waiting == []
    assert side.stats.windows_rejected == 1
    (bad,) = (tmp_path / "dump" / "bad").iterdir()
    assert bad.name.startswith("0000000002000-")


def test_call_that_breaks_in_the_middle_sends_only_the_rest_again(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    center, port = fake

    def break_at_second(chunk: pb.WindowChunk, context: Any) -> pb.WindowAck | None:
        if chunk.start_unix_ms == 2000:
            context.abort(grpc.StatusCode.INTERNAL, "broken")
        return stored(chunk)

    center.script = break_at_second
    side = Side(tmp_path, port)
    with pytest.raises(Retryable, match="INTERNAL: broken"):
        side.transmitter.deliver()
    assert side.waiting == [2000, 3000]
    center.starts.clear()
    center.script = lambda chunk, _: stored(chunk)
    side.transmitter.deliver()
    assert center.starts == [2000, 3000]
    assert side.waiting == []


def test_call_that_ends_without_all_acks_is_no_success(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    center, port = fake
    center.script = lambda chunk, _: stored(chunk) if chunk.start_unix_ms == 1000 else None
    side = Side(tmp_path, port)
    with pytest.raises(Retryable, match="before it acknowledged"):
        side.transmitter.deliver()
    assert side.waiting == [2000, 3000]
    assert side.transmitter._channels.idle  # another one may lead to another center


def test_ack_of_a_window_never_sent_changes_nothing(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    center, port = fake
    center.script = lambda chunk, _: pb.WindowAck(
        probe="p", start_unix_ms=77, status=pb.WINDOW_STATUS_STORED
    )
    side = Side(tmp_path, port)
    with pytest.raises(Retryable):
        side.transmitter.deliver()
    assert side.waiting == [1000, 2000, 3000]


def test_refused_connection_names_address_and_question(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        side = Side(tmp_path, free.getsockname()[1])
        with pytest.raises(Retryable, match=r"connection refused; is the center running there\?"):
            side.transmitter.deliver()
    assert side.waiting == [1000, 2000, 3000]


def test_name_without_address_is_told(tmp_path: Path) -> None:
    with pytest.raises(Retryable, match="centerAddr: nowhere.invalid:1: the name has no address"):
        Center("nowhere.invalid:1").resolve()


def test_every_address_of_the_name_is_tried(
    tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port = fake
    side = Side(tmp_path, port)
    real = socket.getaddrinfo
    dead, alive = ("127.0.0.77", port), ("127.0.0.1", port)

    def two(host: str, *rest: Any, **named: Any) -> Any:
        return [
            (*found[:4], peer) for found in real(host, *rest, **named) for peer in (dead, alive)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    for _ in range(6):  # in random order
        side.transmitter.close()
        side.transmitter.deliver()
        side.dump.save(Window("p", 4000, 4500, 4, (), (), ()))
    assert side.announced[0] == {(b"\x7f\0\0\1", port), (b"\x7f\0\0\x4d", port)}


def test_address_that_the_name_has_no_longer_is_own_until_its_connection_is_long_gone(
    tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port = fake
    now = 1_000.0
    side = Side(tmp_path, port)
    side.transmitter._channels._center = Center(f"127.0.0.1:{port}", clock=lambda: now)
    side.transmitter._channels._clock = lambda: now
    side.transmitter.deliver()
    real = socket.getaddrinfo

    def moved(host: str, *rest: Any, **named: Any) -> Any:
        return [(*found[:4], ("127.0.0.2", port)) for found in real(host, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", moved)
    old, new = (b"\x7f\0\0\1", port), (b"\x7f\0\0\2", port)
    now += 300.0  # the channel's lifetime: it is closed, and the name asked again
    list(side.transmitter._channels.open())
    assert side.announced[-1] == {old, new}
    side.transmitter.close()
    now += REMEMBER_SECONDS + 1
    list(side.transmitter._channels.open())
    assert side.announced[-1] == {new}
    side.transmitter.close()


def test_center_that_never_answers_is_given_up(
    tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    center, port = fake
    center.script = lambda chunk, _: None
    monkeypatch.setattr("wakizashi.probe.transmit.CALL_SECONDS", 0.3)

    def hang(chunk: pb.WindowChunk, context: Any) -> pb.WindowAck | None:
        while context.is_active():
            time.sleep(0.02)
        return None

    center.script = hang
    side = Side(tmp_path, port)
    with pytest.raises(Retryable, match="no answer in time"):
        side.transmitter.deliver()
    assert side.waiting == [1000, 2000, 3000]


@pytest.mark.parametrize(("retries", "delivered"), [(0, False), (1, False), (2, True), (5, True)])
def test_upload_retry_is_the_number_of_immediate_retries(
    retries: int,
    delivered: bool,
    tmp_path: Path,
    fake: tuple[FakeCenter, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    center, port = fake
    monkeypatch.setattr("wakizashi.probe.courier.BACKOFF_SECONDS", (0.001, 0.001))

    def fail_twice(chunk: pb.WindowChunk, context: Any) -> pb.WindowAck | None:
        if center.calls <= 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return stored(chunk)

    center.script = fail_twice
    side = Side(tmp_path, port)
    side.courier._retries = retries
    assert side.courier.deliver_with_retries() is delivered
    assert center.calls == min(3, retries + 1)
    assert side.waiting == ([] if delivered else [1000, 2000, 3000])
    assert side.stats.delivery_failures == min(2, retries + 1)


def test_thread_delivers_at_the_end_within_the_deadline(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    center, port = fake
    side = Side(tmp_path, port)
    side.courier.start()
    side.courier.stop(time.monotonic() + 5.0)
    assert side.courier._thread is not None and not side.courier._thread.is_alive()
    assert side.waiting == []
    assert sorted(set(center.starts)) == [1000, 2000, 3000]


def test_wire_of_the_dump_is_what_arrives(tmp_path: Path, fake: tuple[FakeCenter, int]) -> None:
    center, port = fake
    chunks: list[bytes] = []

    def keep(chunk: pb.WindowChunk, _: Any) -> pb.WindowAck:
        chunks.append(chunk.SerializeToString(deterministic=True))
        return stored(chunk)

    center.script = keep
    side = Side(tmp_path, port)
    side.transmitter.deliver()
    assert [wire.decode([chunk]).number for chunk in chunks] == [1, 2, 3]


def test_file_that_can_not_be_read_does_not_hold_up_the_others(
    tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    side = Side(tmp_path, fake[1])
    oldest = side.dump.directory.path / side.dump.directory.pending()[0].name
    real = Filesystem.read

    def read(self: Filesystem, path: Path) -> bytes:
        if path == oldest:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, path)

    with monkeypatch.context() as broken:
        broken.setattr(Filesystem, "read", read)
        with pytest.raises(
            Retryable, match=f"dumpDir: {oldest}: Input/output error; mend the disk"
        ):
            side.transmitter.deliver()
    assert side.waiting == [1000]
    side.transmitter.deliver()
    assert side.waiting == []


def test_window_that_the_disk_does_not_let_go_of_is_delivered_again(
    tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    side = Side(tmp_path, fake[1])
    with monkeypatch.context() as broken:

        def refuse(path: Path) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        broken.setattr(os, "unlink", refuse)
        assert side.courier.deliver_with_retries() is False  # told, not raised
    assert side.waiting == [1000, 2000, 3000]
    assert side.stats.windows_acked == 0
    assert side.courier.deliver_with_retries() is True
    assert side.waiting == [] and side.stats.windows_acked == 3


def test_after_the_delay_that_the_center_asked_for_it_delivers_again(
    tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    center, port = fake
    monkeypatch.setattr(courier, "SPREAD", 0.0)
    side = Side(tmp_path, port, interval_seconds=3_600)  # no window closes meanwhile
    busy = True

    def script(chunk: pb.WindowChunk, _: Any) -> pb.WindowAck:
        nonlocal busy
        if busy:
            busy = chunk.start_unix_ms < 3_000
            return ack(chunk, pb.WINDOW_STATUS_RETRY, reason="full", retry_delay_ms=20)
        return stored(chunk)

    center.script = script
    side.courier.start()
    side.courier.wake()
    until(lambda: not side.waiting, "the windows are delivered again")
    side.courier.stop(time.monotonic() + 5)
    assert center.starts == [1000, 2000, 3000] * 2
    assert side.stats.delivery_failures == 1


def test_a_fleet_does_not_deliver_all_at_once(
    tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    spreads: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        spreads.append((low, high))
        return 0.0

    monkeypatch.setattr("random.uniform", uniform)
    side = Side(tmp_path, fake[1], interval_seconds=30)
    side.courier.start()
    side.courier.wake()
    until(lambda: not side.waiting, "delivered")
    side.courier.stop(time.monotonic() + 5)
    assert spreads[0] == (0.0, 0.5)  # half of the window, once and for all
    assert spreads.count((0.0, 0.5)) == 1


def test_each_window_waits_for_the_phase_and_what_was_postponed_as_long_as_asked(
    tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float | None] = []
    asked = [0.0, 12.0, 0.0]
    now = 100.0
    monkeypatch.setattr("random.uniform", lambda low, high: 7.0)
    side = Side(tmp_path, fake[1])
    sending = side.courier

    class Pause(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now
            pauses.append(timeout)
            now += timeout or 0.0
            if len(pauses) == 3:
                sending._stopping.set()
            return self.is_set()

    woken: list[bool] = []

    def attempt() -> bool:
        woken.append(sending._wake.is_set())
        side.transmitter.not_before = now + (asked.pop(0) if asked else 0.0)
        sending.wake()
        return True

    sending._nudge = Pause()
    sending._clock = lambda: now
    monkeypatch.setattr(sending, "deliver_with_retries", attempt)
    sending.wake()
    sending._run()
    assert pauses == [7.0, 7.0, 12.0]
    assert woken == [False, False, False, True]  # what came before an attempt is in it


def test_at_the_end_the_delay_asked_for_is_not_waited_for(
    tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    center, port = fake
    center.script = lambda chunk, _: ack(
        chunk, pb.WINDOW_STATUS_RETRY, reason="full", retry_delay_ms=60_000
    )
    monkeypatch.setattr(courier, "BACKOFF_SECONDS", (0.0, 0.0))
    side = Side(tmp_path, port, interval_seconds=60)
    side.courier._retries = 3
    side.courier._stopping.set()
    side.transmitter.deadline = time.monotonic() + 30
    assert side.courier.deliver_with_retries() is False
    assert center.calls == 4


def test_at_the_end_a_call_ends_with_the_deadline(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    center, port = fake

    def hang(chunk: pb.WindowChunk, context: Any) -> pb.WindowAck | None:
        while context.is_active():
            time.sleep(0.02)
        return None

    center.script = hang
    side = Side(tmp_path, port)
    side.transmitter.deadline = time.monotonic() + 0.3
    with pytest.raises(Retryable, match="no answer in time"):
        side.transmitter.deliver()


def test_after_the_deadline_nothing_is_sent(tmp_path: Path, fake: tuple[FakeCenter, int]) -> None:
    center, port = fake
    side = Side(tmp_path, port)
    side.transmitter.deadline = time.monotonic()
    assert side.courier.deliver_with_retries() is False
    assert center.calls == 0


def test_a_last_window_that_nobody_saved_and_the_center_refuses_is_not_delivered(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    center, port = fake
    center.script = lambda chunk, _: ack(chunk, pb.WINDOW_STATUS_REJECTED, reason="no")
    side = Side(tmp_path, port)
    last = wire.encode(Window("p", 4000, 4500, 4, (), (), ()))
    assert side.transmitter.deliver_unsaved(last) is Unsaved.OFFERED
    center.script = lambda chunk, _: stored(chunk)
    assert side.transmitter.deliver_unsaved(last) is Unsaved.TAKEN


@pytest.fixture(params=["closed", "mute"])
def no_center(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that nobody listens on, and one where nobody answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "mute":
            listener.listen()
        yield listener.getsockname()[1]


def test_of_what_waits_a_center_that_is_not_there_is_offered_the_oldest_alone(
    tmp_path: Path, no_center: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others can still be merged: see probe/backlog.py."""
    monkeypatch.setattr(transmit, "CALL_SECONDS", 0.3)
    side = Side(tmp_path, no_center)
    for _ in range(3):
        with pytest.raises(Retryable):
            side.transmitter.deliver()
    assert [fresh.number for fresh in side.dump.directory.fresh()] == [2, 3]
    assert side.waiting == [1000, 2000, 3000]


def test_a_center_that_does_not_know_the_probe_takes_nothing_of_its_last_window(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    center, port = fake
    center.script = lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
    side = Side(tmp_path, port)
    last = wire.encode(Window("p", 4000, 4500, 4, (), (), ()))
    assert side.transmitter.deliver_unsaved(last) is Unsaved.NOT_OFFERED


def test_a_last_window_that_nobody_saved_is_not_offered_to_a_center_that_is_not_there(
    tmp_path: Path, no_center: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is known to be lost; gRPC alone would not tell."""
    monkeypatch.setattr(transmit, "CALL_SECONDS", 0.3)
    side = Side(tmp_path, no_center)
    last = wire.encode(Window("p", 4000, 4500, 4, (), (), ()))
    assert side.transmitter.deliver_unsaved(last) is Unsaved.NOT_OFFERED


def test_a_last_window_that_the_center_took_without_a_word_may_be_there(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    center, port = fake
    center.script = lambda chunk, context: context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
    side = Side(tmp_path, port)
    last = wire.encode(Window("p", 4000, 4500, 4, (), (), ()))
    assert side.transmitter.deliver_unsaved(last) is Unsaved.OFFERED
    assert center.starts == [4000]


def test_window_that_was_merged_after_it_was_read_is_not_sent(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    center, port = fake
    side = Side(tmp_path, port)
    first, second, _ = side.dump.directory.pending()
    merged = Window("p", 1000, 2500, 2, (), (), (), windows=2)
    side.transmitter._channels._announce = lambda _: None
    real = side.transmitter._channels.open

    def channels() -> Any:
        if len(side.waiting) == 3:
            side.dump.directory.replace([first, second], merged)
        return real()

    side.transmitter._channels.open = channels  # type: ignore[method-assign]  # between read and offer
    side.transmitter.deliver()
    assert center.starts == [3000, 1000]
    assert side.waiting == [] and side.dump.directory.moved_to_bad == []
    assert side.stats.windows_acked == 2


def test_read_of_a_window_that_was_merged_away_is_no_fault(tmp_path: Path) -> None:
    side = Side(tmp_path, 1)
    first, second, _ = side.dump.directory.pending()
    side.dump.directory.replace([first, second], Window("p", 1000, 2500, 2, (), (), (), windows=2))
    assert side.dump.directory.read(first) is None
    assert side.dump.directory.moved_to_bad == []


def test_a_batch_has_so_many_windows(
    tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    center, port = fake
    monkeypatch.setattr(transmit, "BATCH_WINDOWS", 2)
    side = Side(tmp_path, port)
    side.transmitter.deliver()
    assert center.calls == 2 and side.waiting == []


def test_a_center_that_fails_is_not_asked_at_another_address(
    tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    center, port = fake
    center.script = lambda _, context: context.abort(grpc.StatusCode.INTERNAL, "broken")
    side = Side(tmp_path, port)
    twice = [Address(bytes((127, 0, 0, n)), port, f"ipv4:127.0.0.1:{port}") for n in (1, 2)]
    monkeypatch.setattr(side.transmitter._center, "resolve", lambda: twice)
    with pytest.raises(Retryable, match="INTERNAL: broken"):
        side.transmitter.deliver()
    assert center.calls == 1 and side.transmitter._channels.idle


@pytest.mark.parametrize(("asked_ms", "seconds"), [(0, 0.0), (4_000, 6.0), (86_400_000, 45.0)])
def test_the_longest_delay_asked_for_counts_up_to_a_windows_length_and_half_more(
    asked_ms: int,
    seconds: float,
    tmp_path: Path,
    fake: tuple[FakeCenter, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    center, port = fake
    center.script = lambda chunk, _: ack(
        chunk,
        pb.WINDOW_STATUS_RETRY,
        reason="full",
        retry_delay_ms=asked_ms if chunk.start_unix_ms == 1000 else 0,
    )
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    side = Side(tmp_path, port, interval_seconds=30)
    side.transmitter._clock = side.courier._clock = lambda: 1_000.0
    with pytest.raises(Retryable, match="full"):
        side.transmitter.deliver()
    assert side.transmitter.not_before == 1_000.0 + seconds
    side.courier._retries = 3
    monkeypatch.setattr(courier, "BACKOFF_SECONDS", (0.0, 0.0))
    before = center.calls
    assert side.courier.deliver_with_retries() is False
    assert center.calls - before == (4 if seconds == 0 else 1)  # no retry within the delay


def test_a_delivery_thread_that_ended_is_trouble_unless_it_was_told_to(
    tmp_path: Path, fake: tuple[FakeCenter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    side = Side(tmp_path, fake[1], interval_seconds=86_400)
    assert side.courier.trouble() is None  # not begun
    side.courier.start()
    assert side.courier.trouble() is None  # it may wait for a day
    side.courier.stop(time.monotonic() + 5.0)
    assert side.courier.trouble() is None
    other = Side(tmp_path / "other", fake[1])
    monkeypatch.setattr(other.courier, "_run", lambda: None)
    other.courier.start()
    until(lambda: other.courier.trouble() == "the delivery thread has ended", "it is told")


def test_a_call_may_take_as_long_as_its_timeout_and_no_longer(
    tmp_path: Path, fake: tuple[FakeCenter, int]
) -> None:
    """So a center that hangs is no stuck thread."""
    now = 1_000.0
    center, port = fake
    side = Side(tmp_path, port)
    transmitter = side.transmitter
    transmitter.pulse = Pulse("delivery", lambda: now)
    told: list[str | None] = []

    def hang(chunk: pb.WindowChunk, context: Any) -> pb.WindowAck:
        nonlocal now
        for later in (transmit.CALL_SECONDS, STUCK_SECONDS, 1.0):
            now += later
            told.append(transmitter.pulse.trouble())
        return stored(chunk)

    center.script = hang
    transmitter.deliver()
    assert told[:3] == [None, None, "delivery stands still for 31 s"]
