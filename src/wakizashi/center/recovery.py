"""The recovery directory: windows that the backend would not take wait here, durable.

In: the raw chunks of a window, as the probe sent them. Out: the same, oldest
first, to be posted again. Lost is nothing that :meth:`Recovery.save` has taken.
Every call may block on the disk: call them on worker threads.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wakizashi import wire
from wakizashi.errors import Retryable
from wakizashi.files import WindowDirectory
from wakizashi.filesystem import Filesystem
from wakizashi.model import Window
from wakizashi.window_file import Entry, window_file

SAVING_THREADS = 8
"""They wait for fsyncs. One disk took 100 windows a second one by one, and 800 together."""


class Recovery:
    """The recovery directory of one center.

    Args:
        path: the directory; one center at a time.
        limit_bytes: quota of the waiting windows.
    """

    def __init__(
        self, path: Path, *, limit_bytes: int, filesystem: Filesystem | None = None
    ) -> None:
        self._directory = WindowDirectory(
            path,
            key="recoverDir",
            limit_bytes=limit_bytes,
            limit_key="recoverLimit",
            filesystem=filesystem,
        )
        self._told = 0

    @property
    def limit_bytes(self) -> int:
        """Quota of the waiting windows."""
        return self._directory.limit_bytes

    @property
    def bad(self) -> int:
        """How many windows were moved to ``bad/``."""
        return len(self._directory.moved_to_bad)

    def open(self) -> None:
        """Lock and tidy the directory; see :meth:`wakizashi.files.WindowDirectory.open`."""
        self._directory.open()

    def change(self, limit_bytes: int) -> None:
        """Another quota from now on; what waits stays."""
        self._directory.limit_bytes = limit_bytes

    def save(self, windows: Sequence[tuple[Window, Sequence[bytes]]]) -> list[Entry | Retryable]:
        """Make windows durable, each given with its chunks.

        Returns for each its entry, or the trouble with quota or disk: then the
        window is not in the directory.
        """
        files = [window_file(w.probe, w.start_ms, w.number, chunks) for w, chunks in windows]
        with ThreadPoolExecutor(SAVING_THREADS) as pool:
            return self._directory.write_all(files, pool.map)

    def save_bad(self, window: Window, chunks: Sequence[bytes], reason: str) -> None:
        """Make a window durable in ``bad/``, for a person to look at.

        Raises:
            Retryable: quota or disk; the window is not in ``bad/``, but it may wait.
        """
        self.quarantine(
            self._directory.write(window.probe, window.start_ms, window.number, chunks), reason
        )

    def waiting(self) -> list[Entry]:
        """The waiting windows, oldest first."""
        return self._directory.pending()

    def load(self, entry: Entry) -> Window | None:
        """A waiting window; None if its file was damaged and is in ``bad/`` now.

        Raises:
            Retryable: the disk would not give it.
        """
        chunks = self._directory.read(entry)
        if chunks is None:
            return None
        try:
            return wire.decode(chunks)
        except wire.InvalidWindow as error:
            self._directory.quarantine(entry, str(error))
            return None

    def done(self, entry: Entry) -> None:
        """Forget a window that is in the backend now. Raises Retryable where the disk refuses."""
        self._directory.remove(entry)

    def quarantine(self, entry: Entry, reason: str) -> None:
        """Move a window to ``bad/``. Raises as :meth:`done`."""
        self._directory.quarantine(entry, reason)

    def news_of_bad(self) -> list[tuple[str, str]]:
        """(file name, reason) of what was moved to ``bad/`` since the last call."""
        bad = self._directory.moved_to_bad
        news = bad[self._told :]
        self._told += len(news)
        return news

    @property
    def path(self) -> Path:
        """The directory."""
        return self._directory.path

    @property
    def used_bytes(self) -> int:
        """Bytes in waiting files."""
        return self._directory.used_bytes

    def close(self) -> None:
        """Unlock. The files stay."""
        self._directory.close()
