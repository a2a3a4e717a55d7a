"""Files of secrets and certificates over time: when to read them again, and what ends soon."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from wakizashi.tls import DAY, Certificate

RETRY_SECONDS = 10.0
"""After which files that could not be used are read again, though they look the same."""

Named = Sequence[tuple[str, Certificate]]
"""Certificates behind the configuration key and the file of each."""


def expiring(certificates: Named, now: float) -> Iterator[str]:
    """A warning for each that is not valid now, or will not be for long."""
    for what, certificate in certificates:
        if trouble := certificate.trouble(now):
            yield f"{what}: the certificate {certificate.subject} {trouble}"


class FileWatch:
    """Whether files are to be read (again). Threads may not share it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *paths: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._paths = [path for path in paths if path is not None]
        self._clock = clock
        self._seen: list[tuple[int, int, int] | None] = []
        self._again = math.inf

    def changed(self) -> bool:
        """Whether any is another than at the last call; true at the first."""
        now = [_stamp(path) for path in self._paths]
        if now == self._seen and self._clock() < self._again:
            return False
        self._seen, self._again = now, math.inf
        return True

    def unusable(self) -> None:
        """What was read is no good: they count as changed in a while, and when they change.

        A directory in the way that could not be searched leaves no trace on the file.
        """
        self._again = self._clock() + RETRY_SECONDS


class ExpiryTeller:
    """Says once a day of certificates that they are not valid, or will not be for long.

    Args:
        certificates: those of the start, which tells of them itself.
        tell: hears it.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        certificates: Named,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tell, self._clock = tell, clock
        self._seen: Named = certificates
        self._day = self._today()

    def look(self, certificates: Named) -> None:
        """Tell, if that is for the first time today, or they are others than before."""
        day = self._today()
        if day != self._day or certificates != self._seen:
            self._day, self._seen = day, certificates
            for line in expiring(certificates, self._clock()):
                self._tell(line)

    def _today(self) -> int:
        return int(self._clock() // DAY)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    # The time of the inode: a new mode or owner may make a file readable that was not.
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_ctime_ns
