"""Names of addresses, asked of the resolver on threads of their own, so that nothing waits for it.

In: addresses that are shown. Out: names, some time later. Lost may be a name: where too many are
waiting it is asked for again when it is next shown. What the resolver answers is others' words, and
is made printable. Asking is traffic too, and is counted as any.
"""

import contextlib
import os
import queue
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable

from wakizashi.top.text import numeric, printable

MOST_NAMES = 4_096
MOST_WAITING = 256
THREADS = 4
"""An address without a name may take the resolver ten seconds."""


def ask(address: str) -> str:
    """The name of an address; empty if it has none."""
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except (OSError, UnicodeError):
        return ""


class Names:
    """A cache of names, filled behind.

    Args:
        resolve: from an address as text to its name, or nothing.
        threads: how many ask at a time.
    """

    def __init__(self, resolve: Callable[[str], str] = ask, threads: int = THREADS) -> None:
        self._resolve, self._threads = resolve, threads
        self._known: OrderedDict[bytes, str | None] = OrderedDict()
        """None: it is being asked for. Of the main thread alone."""
        self._wanted: queue.Queue[bytes] = queue.Queue(MOST_WAITING)
        self._found: queue.SimpleQueue[tuple[bytes, str]] = queue.SimpleQueue()
        self._bell, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._started = False

    def fileno(self) -> int:
        """Readable when :meth:`collect` has something."""
        return self._bell

    def get(self, address: bytes) -> str:
        """Its name if it is known; else it will be asked for, and this is nothing until then."""
        if address in self._known:
            self._known.move_to_end(address)
            return self._known[address] or ""
        try:
            self._wanted.put_nowait(address)
        except queue.Full:
            return ""
        self._known[address] = None
        while len(self._known) > MOST_NAMES:
            self._known.popitem(last=False)
        if not self._started:
            self._started = True
            for number in range(self._threads):
                # A daemon: nobody waits at the end for what a resolver does not answer.
                threading.Thread(target=self._work, name=f"names-{number}", daemon=True).start()
        return ""

    def peek(self, address: bytes) -> str:
        """Its name if it is known; it is not asked for."""
        return self._known.get(address) or ""

    def collect(self) -> None:
        """Take what was answered since the last call."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell, 4096)
        while not self._found.empty():
            address, name = self._found.get()
            if address in self._known:
                self._known[address] = name

    def _work(self) -> None:
        while True:
            address = self._wanted.get()
            self._found.put((address, printable(self._resolve(numeric(address)))))
            with contextlib.suppress(BlockingIOError):  # it rings already
                os.write(self._ring, b"x")
