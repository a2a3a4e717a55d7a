"""Looks at everything at once, under one deadline: what hangs is told, and holds up nothing else.

A look is a generator of findings on a thread of its own. What it had found when the time
was up counts. A look that breaks is told in a line, as a fault: nobody knows then.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from wakizashi.doctor.finding import CHECKS, Finding, fault
from wakizashi.errors import WakizashiError

SECONDS = 10.0
"""For all of it. Slowest is a name service that does not answer; its own patience is 5 s a server."""

Look = Callable[[], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """A look, under the name of the first thing that it looks at."""

    name: str
    look: Look


def examine(checks: Sequence[Check], seconds: float = SECONDS) -> list[Finding]:
    """What all the checks find, in the order of :data:`CHECKS`."""
    heard: queue.SimpleQueue[tuple[int, Finding | None]] = queue.SimpleQueue()

    def work(index: int, check: Check) -> None:
        try:
            for finding in check.look():
                heard.put((index, finding))
        except WakizashiError as error:
            heard.put((index, fault(check.name, *_split(str(error)))))
        except Exception as error:  # the top of the thread
            heard.put((index, _broken(check.name, error)))
        heard.put((index, None))

    deadline = time.monotonic() + seconds
    for index, check in enumerate(checks):
        # A daemon: what hangs in the kernel, on a disk that is away, must not keep the process.
        threading.Thread(target=work, args=(index, check), name=check.name, daemon=True).start()
    findings: list[tuple[int, Finding]] = []
    left = set(range(len(checks)))
    while left:
        try:
            index, finding = heard.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if finding is None:
            left.discard(index)
        else:
            findings.append((index, finding))
    findings += [(index, _late(checks[index].name, seconds)) for index in left]
    order = {name: place for place, name in enumerate(CHECKS)}
    findings.sort(key=lambda pair: (order[pair[1].check], pair[0]))
    return [finding for _, finding in findings]


def _split(message: str) -> tuple[str, str]:
    """Our messages are what is wrong, a semicolon, and the remedy."""
    text, _, remedy = " ".join(message.split("\n")).partition("; ")
    return text, remedy


def _broken(name: str, error: Exception) -> Finding:
    return fault(
        name,
        f"the look at it failed: unexpected {type(error).__name__}: {error}",
        "this is a defect of wakizashi: report it",
    )


def _late(name: str, seconds: float) -> Finding:
    return fault(
        name,
        f"no answer within {seconds:g} s",
        "something hangs: a disk, a network file system, a name service or a server",
    )
