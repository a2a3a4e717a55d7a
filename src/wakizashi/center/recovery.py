"""The recovery directory: windows that the backend would not take wait here, durable.

In: windows as they came, chunk by chunk. Out: the same, to be written again.
The file format and its guarantees are those of :mod:`wakizashi.files`.
"""

import logging
from pathlib import Path

from wakizashi import wire
from wakizashi.files import Entry, WindowDirectory
from wakizashi.model import Window

_log = logging.getLogger(__name__)


class Recovery:
    """Windows on disk, of any number of probes."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.directory = WindowDirectory(
            path, key="recoverDir", limit_bytes=limit_bytes, limit_key="recoverLimit"
        )
        self._told_bad = 0

    def open(self) -> None:
        """Lock and tidy the directory."""
        self.directory.open()
        self._tell_bad()

    def close(self) -> None:
        """Unlock it."""
        self.directory.close()

    def _tell_bad(self) -> None:
        bad = self.directory.moved_to_bad
        for name, reason in bad[self._told_bad :]:
            _log.error(
                "recoverDir: %s/%s: %s; see bad/", self.directory.path, name, reason
            )
        self._told_bad = len(bad)

    def save(self, window: Window, chunks: list[bytes]) -> Entry:
        """Make a window durable.

        Raises:
            Retryable: no room, or the disk does not take it.
        """
        return self.directory.write(
            window.probe, window.start_ms, window.number, chunks
        )

    def quarantine(self, window: Window, chunks: list[bytes], reason: str) -> None:
        """Keep a window whose data the backend refuses for good, in ``bad/``.

        Raises:
            Retryable: no room, or the disk does not take it.
        """
        self.directory.quarantine(self.save(window, chunks), reason)
        self._tell_bad()

    def load(self, entry: Entry) -> tuple[Window, list[bytes]] | None:
        """A waiting window; None if its file was damaged and moved to ``bad/``."""
        chunks = self.directory.read(entry)
        self._tell_bad()
        return None if chunks is None else (wire.decode(chunks), chunks)
