"""Delivery: what waits in the dump directory goes to the center, until it is acknowledged.

One delivery is one ``Transmit`` call: opened when windows wait, closed when the
last ack is in. Runs on the delivery thread (:mod:`wakizashi.probe.courier`). Nothing
is lost here: a window leaves the dump directory on the center's word alone.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from typing import Any

import grpc

from wakizashi.errors import Retryable
from wakizashi.probe.addresses import Center
from wakizashi.probe.capture import Endpoint
from wakizashi.probe.channel import Channels, Credentials, Way, connected
from wakizashi.probe.dump import Dump
from wakizashi.probe.refusals import explain
from wakizashi.probe.stats import ProbeStats
from wakizashi.pulse import STUCK_SECONDS, Pulse
from wakizashi.v1 import traffic_pb2 as pb
from wakizashi.window_file import Entry

_log = logging.getLogger(__name__)

_SERVICE = pb.DESCRIPTOR.services_by_name["TrafficCenter"]
METHOD = f"/{_SERVICE.full_name}/{_SERVICE.methods_by_name['Transmit'].name}"

BATCH_BYTES = 4 * 1024 * 1024
BATCH_WINDOWS = 256
CALL_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 16 * 1024
"""A call may take ``CALL_SECONDS``, and longer by what this rate needs for its bytes."""

RESOLVE_SECONDS = 120.0
"""As long as a resolver with three silent name servers takes, and two search domains."""


class Unsaved(Enum):
    """What became of a window that is nowhere but in memory."""

    TAKEN = auto()
    """The center has it."""
    OFFERED = auto()
    """It was sent, and the center did not say that it has it; it may."""
    NOT_OFFERED = auto()
    """No center has any of it."""


class Transmitter:
    """Delivers what waits: :meth:`deliver` is one attempt."""

    def __init__(
        self,
        dump: Dump,
        center: Center,
        *,
        interval_seconds: int,
        channel_lifetime_seconds: float,
        announce: Callable[[frozenset[Endpoint]], None],
        stats: ProbeStats,
        credentials: Credentials | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dump, self._center, self._stats = dump, center, stats
        self._interval = interval_seconds
        self._clock = clock
        self._channels = Channels(
            center,
            Way(center.name, credentials or Credentials(), channel_lifetime_seconds),
            announce=announce,
            clock=clock,
        )
        self.pulse = Pulse("delivery", clock)
        self.deadline: float | None = None
        """Monotonic time at which all is to be over; None while there is no end."""
        self.not_before = 0.0
        """Monotonic time before which the center does not want to hear of the probe."""
        self._behind: set[Entry] = set()
        """What did not go when it was tried: the others come first, else it may hold them up."""
        self._offered_unsaved = False
        self._call: Any = None

    @property
    def center_name(self) -> str:
        """``centerAddr``, as it holds."""
        return self._center.name

    @property
    def way(self) -> Way:
        """Where and how the next connection is made."""
        return self._channels.wanted

    def change(self, interval_seconds: int, way: Way) -> None:
        """From another thread: from the next call on these hold, if need be over a new connection."""
        self._interval = interval_seconds
        self._channels.wanted = way

    def past_deadline(self) -> bool:
        """Whether all is to be over."""
        return self.deadline is not None and self._clock() >= self.deadline

    def cancel(self) -> None:
        """From another thread: break off the call in progress."""
        call = self._call
        if call is not None:
            call.cancel()

    def close(self) -> None:
        """Close the connection; the next delivery makes another."""
        self._channels.close()

    def deliver(self) -> None:
        """Deliver everything that waits.

        Raises:
            Retryable: some of it is still to be delivered.
        """
        unreadable: dict[Entry, Retryable] = {}  # they must not hold up the others
        while entries := [e for e in self._dump.directory.deliverable() if e not in unreadable]:
            self.pulse.beat(0.0)
            self._behind.intersection_update(entries)
            entries.sort(key=self._behind.__contains__)
            batch = self._read_batch(entries, unreadable)
            if batch:
                self._send(batch)
        for fault in unreadable.values():
            raise fault

    def _read_batch(
        self, entries: list[Entry], unreadable: dict[Entry, Retryable]
    ) -> list[tuple[Entry, list[bytes]]]:
        batch: list[tuple[Entry, list[bytes]]] = []
        size = 0
        for entry in entries[:BATCH_WINDOWS]:
            if batch and size + entry.size > BATCH_BYTES:
                break
            try:
                chunks = self._dump.directory.read(entry)
            except Retryable as error:
                unreadable[entry] = error
                continue
            self._dump.tell_bad()
            if chunks is not None:
                batch.append((entry, chunks))
                size += entry.size
        return batch

    def deliver_unsaved(self, chunks: list[bytes]) -> Unsaved:
        """Deliver a last window that the dump directory did not take; what became of it.

        For the end, when the thread has ended.
        """
        self._offered_unsaved = False
        try:
            self._send([(None, chunks)])
        except Retryable as error:
            _log.error("%s", error)
            return Unsaved.OFFERED if self._offered_unsaved else Unsaved.NOT_OFFERED
        finally:
            self._channels.close()
        return Unsaved.TAKEN

    def _send(self, batch: Sequence[tuple[Entry | None, list[bytes]]]) -> None:
        waiting = {_identity(chunks[0]): entry for entry, chunks in batch}
        size = sum(len(chunk) for _, chunks in batch for chunk in chunks)
        timeout = CALL_SECONDS + size / SLOWEST_BYTES_PER_SECOND
        if self.deadline is not None:
            timeout = max(0.1, min(timeout, self.deadline - self._clock()))
        faults = []
        refused = False
        if self._channels.take_over():
            self.not_before = 0.0  # another center asked for that
        self.pulse.beat(RESOLVE_SECONDS + STUCK_SECONDS)
        begun = self._clock()
        for channel, target in self._channels.open():
            self.pulse.beat(timeout)
            # gRPC takes the first message before it has a connection. Of a window that is on
            # disk that does not matter; of one that is not it has to be known.
            if None in waiting.values() and not connected(channel, timeout):
                self._channels.close()
                faults.append(f"{target}: no connection")
                continue
            try:
                trouble = self._call_once(channel, batch, timeout, waiting)
            except grpc.RpcError as error:
                self._channels.close()
                fault, refused = explain(error, target, self._channels.credentials)
                faults.append(fault)
                if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                    self._offered_unsaved = False  # it takes nothing of such a call
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    break
                continue
            if not waiting:
                self._stats.delivery_seconds.observe(self._clock() - begun)
                return
            if trouble is None:
                self._channels.close()
                trouble = f"{target} ended the call before it acknowledged all windows"
            faults.append(trouble)
            break
        raise Retryable(
            f"centerAddr: {self._center.name}: not delivered: {'; '.join(faults)}",
            delay_seconds=self._interval if refused else 0.0,
        )

    def _call_once(
        self,
        channel: grpc.Channel,
        batch: Sequence[tuple[Entry | None, list[bytes]]],
        timeout: float,
        waiting: dict[tuple[str, int], Entry | None],
    ) -> str | None:
        """One call; what is acknowledged leaves ``waiting``. The center's reason to retry, if any."""
        transmit: Any = channel.stream_stream(
            METHOD,
            request_serializer=None,
            response_deserializer=pb.WindowAck.FromString,
        )
        trouble = None
        self._call = call = transmit(
            self._offered(batch, waiting),
            timeout=timeout,
            metadata=self._channels.credentials.metadata,
        )
        try:
            for ack in call:
                name = (ack.probe, ack.start_unix_ms)
                if name not in waiting:
                    continue
                entry = waiting[name]
                if entry is not None:
                    self._behind.add(entry)  # until it is out of the directory
                if ack.status == pb.WINDOW_STATUS_STORED:
                    del waiting[name]
                    if entry is not None:
                        self._dump.delivered(entry)
                elif ack.status == pb.WINDOW_STATUS_REJECTED and entry is not None:
                    del waiting[name]
                    self._dump.rejected(entry, ack.reason)
                else:
                    # What the center asks for, and up to half more: not all come back at once.
                    delay = min(ack.retry_delay_ms / 1000, self._interval)
                    delay *= random.uniform(1.0, 1.5)
                    self.not_before = max(self.not_before, self._clock() + delay)
                    trouble = f"the center asks to try later: {ack.reason}"
        finally:
            self._call = None
        return trouble

    def _offered(
        self,
        batch: Sequence[tuple[Entry | None, list[bytes]]],
        waiting: dict[tuple[str, int], Entry | None],
    ) -> Iterator[bytes]:
        """The chunks of the windows that were not merged since they were read.

        gRPC asks for a message when the transport took the one before. So of what is
        behind the first window nothing is offered to a center that is not there.
        """
        for entry, chunks in batch:
            if entry is None:
                self._offered_unsaved = True
            elif not self._dump.directory.offer(entry):
                waiting.pop(_identity(chunks[0]), None)
                continue
            self._stats.windows_sent += 1
            yield from chunks


def _identity(chunk: bytes) -> tuple[str, int]:
    head = pb.WindowChunk.FromString(chunk)
    return head.probe, head.start_unix_ms
