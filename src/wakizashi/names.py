"""Names of addresses, asked of the resolver on threads of their own, so that nothing waits for it.

In: addresses that are shown, as text. Out: names, some time later. Lost may be a name: where too many
are waiting it is asked for again when it is next shown. What the resolver answers is others' words,
and is made printable. Asking is traffic too, and is counted as any.
"""

import contextlib
import os
import queue
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST_NAMES = 4_096
MOST_WAITING = 256
THREADS = 4
"""An address without a name may take the resolver ten seconds."""
NAMED_SECONDS = 3_600.0
"""After which a name is asked for again; meanwhile it stays."""
NAMELESS_SECONDS = 300.0
"""After which an address that had no name, or whose resolver was away, is asked for again."""


def ask(address: str) -> str:
    """The name of an address; empty if it has none."""
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except (OSError, UnicodeError):
        return ""


def printable(text: str) -> str:
    """For any terminal, each character one column: names of devices and hosts are others' words."""
    return "".join(c if "!" <= c <= "~" else "?" for c in text)


@dataclass(slots=True)
class _Entry:
    name: str = ""
    due: float | None = None
    """When it is to be asked for again; None while it is being asked for."""


class Names:
    """A cache of names, filled behind. Threads may share it.

    Args:
        resolve: from an address as text to its name, or nothing.
        threads: how many ask at a time.
        most: how many names are kept.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        resolve: Callable[[str], str] = ask,
        threads: int = THREADS,
        *,
        most: int = MOST_NAMES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolve, self._threads, self._most, self._clock = resolve, threads, most, clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Entry] = OrderedDict()
        self._wanted: queue.Queue[str] = queue.Queue(MOST_WAITING)
        self._bell, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._started = False

    def fileno(self) -> int:
        """Readable when a name was found since the last :meth:`collect`."""
        return self._bell

    def get(self, address: str) -> str:
        """Its name if it is known; else it will be asked for, and this is nothing until then."""
        with self._lock:
            entry = self._known.get(address)
            if entry is not None:
                self._known.move_to_end(address)
                if entry.due is None or self._clock() < entry.due:
                    return entry.name
            try:
                self._wanted.put_nowait(address)
            except queue.Full:
                return entry.name if entry else ""
            entry = self._known.setdefault(address, _Entry())
            entry.due = None
            while len(self._known) > self._most:
                self._known.popitem(last=False)
            self._start()
            return entry.name

    def peek(self, address: str) -> str:
        """Its name if it is known; it is not asked for."""
        with self._lock:
            entry = self._known.get(address)
            return entry.name if entry else ""

    def collect(self) -> None:
        """Who was woken has seen what there is: wake it again for what comes later."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell, 4096)

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for number in range(self._threads):
                # A daemon: nobody waits at the end for what a resolver does not answer.
                threading.Thread(target=self._work, name=f"names-{number}", daemon=True).start()

    def _work(self) -> None:
        while True:
            address = self._wanted.get()
            name = printable(self._resolve(address))
            with self._lock:
                if entry := self._known.get(address):
                    entry.name = name
                    entry.due = self._clock() + (NAMED_SECONDS if name else NAMELESS_SECONDS)
            with contextlib.suppress(BlockingIOError):  # it rings already
                os.write(self._ring, b"x")
