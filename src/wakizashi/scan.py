"""What a process that ended, in whatever way, left in a directory of window files.

In: a directory. Out: which files are whole, and which are damaged and how.
Temporaries are removed: nobody was told that they are durable.
"""

from dataclasses import dataclass, field
from pathlib import Path

from wakizashi import wire
from wakizashi.filesystem import Filesystem
from wakizashi.window_file import DamagedFile, Entry, entry_of, file_name, unseal


@dataclass(frozen=True, slots=True)
class Whole:
    """A file that holds a window, and of that what its name does not tell."""

    entry: Entry
    end_ms: int
    windows: int

    def covers(self, other: Entry) -> bool:
        """Whether this one was merged from that one and more."""
        return (
            other != self.entry
            and other.probe == self.entry.probe
            and self.entry.number - self.windows < other.number <= self.entry.number
            and self.entry.start_ms <= other.start_ms < self.end_ms
        )


@dataclass(slots=True)
class Found:
    """The files in a directory."""

    whole: list[Whole] = field(default_factory=list)
    damaged: list[tuple[str, str]] = field(default_factory=list)
    """(name, what is wrong) of each file that is no window's, whatever its name says."""


def scan(filesystem: Filesystem, path: Path) -> Found:
    """Look at every file; remove temporaries. Raises OSError."""
    found = Found()
    for name in filesystem.names(path):
        # Ours alone: the directory may be one that others write to as well.
        if name.startswith(".") and name.endswith(".window.tmp"):
            filesystem.remove(path / name)
            continue
        if not name.endswith(".window"):
            continue
        entry = entry_of(name, filesystem.size(path / name))
        try:
            if entry is None:
                raise DamagedFile("its name is not START-NUMBER-PROBE.window")
            window = wire.decode(wire.unpack(unseal(filesystem.read(path / name))))
            # Else a renamed file would be delivered, and acknowledged, under two names.
            expected = file_name(window.probe, window.start_ms, window.number)
            if name != expected:
                raise DamagedFile(f"holds the window of {expected}")
        except (DamagedFile, wire.InvalidWindow) as error:
            found.damaged.append((name, str(error)))
        else:
            found.whole.append(Whole(entry, window.end_ms, window.windows))
    return found


def scan_sent(filesystem: Filesystem, path: Path) -> list[Entry]:
    """The files whose names are those of windows, oldest first. Raises OSError."""
    return sorted(
        entry
        for name in filesystem.names(path)
        if (entry := entry_of(name, filesystem.size(path / name)))
    )
