"""What a process that ended, in whatever way, left in a directory of window files.

In: a directory. Out: which files are whole, and which are damaged and how.
Temporaries are removed: nobody was told that they are durable.
"""

from dataclasses import dataclass, field
from pathlib import Path

from wakizashi import wire
from wakizashi.filesystem import Filesystem
from wakizashi.window_file import DamagedFile, Entry, entry_of, file_name, unseal


@dataclass(slots=True)
class Found:
    """The files in a directory."""

    whole: list[Entry] = field(default_factory=list)
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
            found.whole.append(entry)
    return found


def scan_sent(filesystem: Filesystem, path: Path) -> list[Entry]:
    """The files whose names are those of windows, oldest first. Raises OSError."""
    return sorted(
        entry
        for name in filesystem.names(path)
        if (entry := entry_of(name, filesystem.size(path / name)))
    )
