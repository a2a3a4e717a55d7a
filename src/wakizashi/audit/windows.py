"""Numbers and times of one probe's windows: what is missing, twice, or overlaps. Pure.

In: the windows of a probe, oldest first. A window has one number, or several
where it was merged: those from ``first`` to ``number``. Out: findings, and the
spans that the probe watched without a break.
"""

from collections.abc import Iterator
from typing import NamedTuple

from wakizashi.audit.findings import Finding


class Seen(NamedTuple):
    """One window."""

    start_ms: int
    end_ms: int
    number: int
    windows: int

    @property
    def first(self) -> int:
        """Its only number, or the first one of a merged window."""
        return self.number - self.windows + 1


class Sequence:
    """The windows of one probe."""

    def __init__(self, probe: str) -> None:
        self._probe = probe
        self._last: Seen | None = None
        self.windows = 0
        self.longest_ms = 0
        self.first_ms = 0
        self.end_ms = 0
        """The latest end."""
        self._run: list[int] = []
        self.runs: list[list[int]] = []
        """Edges of windows that follow each other without a break: where one ends the next begins."""

    def add(self, window: Seen) -> Iterator[Finding]:
        """Take the next window; what there is to say about it and the one before."""
        last, self._last = self._last, window
        self.windows += 1
        self.first_ms = self.first_ms or window.start_ms
        self.longest_ms = max(self.longest_ms, (window.end_ms - window.start_ms) // window.windows)
        if window.windows > 1:
            yield Finding(
                "merged",
                self._probe,
                "",
                window.start_ms,
                window.end_ms,
                f"{window.windows} windows were merged into one",
                numbers=(window.first, window.number),
            )
        if last is not None:
            yield from self._compare(last, window)
        self._extend(last, window)
        self.end_ms = max(self.end_ms, window.end_ms)

    def _compare(self, last: Seen, window: Seen) -> Iterator[Finding]:
        """Starts rise, so ``window`` is the later one."""
        between = sorted((last.end_ms, window.start_ms))
        if window.first > last.number + 1:
            missing = last.number + 1, window.first - 1
            count = missing[1] - missing[0] + 1
            yield Finding(
                "missing_windows",
                self._probe,
                "",
                between[0],
                between[1],
                f"{count} missing between the windows {last.number} and {window.first}",
                numbers=missing,
            )
        elif window.first <= last.number:
            yield self._back(last, window)
        elif window.start_ms > last.end_ms:
            seconds = (window.start_ms - last.end_ms) / 1000
            yield Finding(
                "unwatched",
                self._probe,
                "",
                last.end_ms,
                window.start_ms,
                f"not watched for {seconds:,.3f} s; no window is missing",
            )
        if window.first > last.number and window.start_ms < last.end_ms:
            yield Finding(
                "clock_back",
                self._probe,
                "",
                window.start_ms,
                last.end_ms,
                f"the windows {last.number} and {window.first} overlap by "
                f"{(last.end_ms - window.start_ms) / 1000:,.3f} s",
                numbers=(last.number, window.first),
            )

    def _back(self, last: Seen, window: Seen) -> Finding:
        """Numbers that there were before."""
        if window.first == 1 and window.start_ms >= last.end_ms:
            return Finding(
                "begins_anew",
                self._probe,
                "",
                last.end_ms,
                window.start_ms,
                f"numbers begin anew at 1 after {last.number}",
                numbers=(window.first, window.number),
            )
        if window.number >= last.first:
            both = max(last.first, window.first), min(last.number, window.number)
            return Finding(
                "repeated_windows",
                self._probe,
                "",
                last.start_ms,
                window.end_ms,
                f"{both[1] - both[0] + 1} stored under two starts",
                numbers=both,
            )
        return Finding(
            "numbers_back",
            self._probe,
            "",
            last.start_ms,
            window.end_ms,
            f"the number goes back from {last.number} to {window.first}",
            numbers=(window.first, window.number),
        )

    def _extend(self, last: Seen | None, window: Seen) -> None:
        if last is not None and self._run and last.end_ms == window.start_ms:
            self._run.append(window.end_ms)
            return
        if last is not None and window.start_ms < last.end_ms:
            # Traffic of the overlap is in either: neither may be compared with another probe.
            if self._run:
                self._run.pop()
            self._run = []
            return
        self._run = [window.start_ms, window.end_ms]
        self.runs.append(self._run)

    def ends(self, until_ms: int) -> Iterator[Finding]:
        """What there is to say about the time from the last window to ``until_ms``, now."""
        if self._last is None:
            return
        silent_ms = until_ms - self.end_ms
        if silent_ms > 2 * self.longest_ms + 60_000:
            yield Finding(
                "silent",
                self._probe,
                "",
                self.end_ms,
                until_ms,
                f"nothing for {silent_ms / 1000:,.0f} s",
            )
        elif self._last.start_ms > until_ms:
            yield Finding(
                "clock_ahead",
                self._probe,
                "",
                self._last.start_ms,
                self._last.end_ms,
                f"the last window starts {(self._last.start_ms - until_ms) / 1000:,.0f} s ahead of "
                "now",
            )


def common(one: list[list[int]], other: list[list[int]]) -> list[tuple[int, int]]:
    """The spans that both of two probes watched from an edge of windows to an edge of windows.

    Between such edges they counted the same time, whatever the length of their windows.
    """
    spans = []
    position = 0
    for run in one:
        edges = set(run)
        while position < len(other) and other[position][-1] <= run[0]:
            position += 1
        for theirs in other[position:]:
            if theirs[0] >= run[-1]:
                break
            shared = [edge for edge in theirs if edge in edges]
            if len(shared) > 1:
                spans.append((shared[0], shared[-1]))
    return spans
