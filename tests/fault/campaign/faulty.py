"""Runs ``probe`` or ``center`` on a filesystem that fails as often as a file says.

    python -m tests.fault.campaign.faulty probe -c probe-config.yaml

The file named by ``CAMPAIGN_FAULTS`` holds a probability; without it nothing fails. What fails
has been done half (a file torn, a directory not made durable), or not at all.
"""

import errno
import importlib
import os
import random
import sys
from pathlib import Path

from wakizashi.filesystem import Filesystem


def strikes() -> bool:
    """Whether this call fails."""
    try:
        probability = float(Path(os.environ["CAMPAIGN_FAULTS"]).read_text())
    except (FileNotFoundError, ValueError):  # none, or just being written
        return False
    return random.random() < probability


def trouble(path: Path) -> OSError:
    """What a bad disk says."""
    return OSError(errno.EIO, os.strerror(errno.EIO), str(path))


class FaultyFilesystem(Filesystem):
    """Every call that changes something, or reads a file, may fail."""

    def write_new(self, path: Path, data: bytes) -> None:
        if strikes():
            super().write_new(path, data[: len(data) // 2])
            raise trouble(path)
        super().write_new(path, data)
        if strikes():  # an fsync that failed: whole, but nobody knows
            raise trouble(path)

    def read(self, path: Path) -> bytes:
        if strikes():
            raise trouble(path)
        return super().read(path)

    def rename(self, source: Path, target: Path) -> None:
        if strikes():
            raise trouble(source)
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        if strikes():
            raise trouble(path)
        super().sync_directory(path)

    def remove(self, path: Path) -> None:
        if strikes():
            raise trouble(path)
        super().remove(path)


if __name__ == "__main__":
    program = sys.argv.pop(1)
    module = importlib.import_module("wakizashi.files")
    module.Filesystem = FaultyFilesystem  # type: ignore[attr-defined]  # what an open directory takes
    importlib.import_module(f"wakizashi.{program}.cli").main()
