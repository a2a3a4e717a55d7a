"""The page's files: whatever lies in ``static/``.

A browser keeps them and asks each time whether they are still the same, by the hash of their
content: so a new release is seen at once, and nothing is sent twice.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""Told here, since what the system's tables say differs between hosts."""
OTHER = "application/octet-stream"
_PACKED = (".ico", ".png", ".woff2")


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent."""

    content: bytes
    packed: bytes | None
    """The same by gzip, where that is shorter."""
    kind: str
    etag: str


class Static:
    """Reads files once, and again when they change.

    Args:
        folder: where they lie; nothing outside of it is found.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder.resolve()
        self._known: dict[str, tuple[tuple[int, int], File]] = {}

    def get(self, name: str) -> File | None:
        """The file of that name (``app.js``, ``vendor/echarts.js``); None if there is none."""
        if "\0" in name:
            return None
        path = (self._folder / name).resolve()
        try:
            if not path.is_relative_to(self._folder) or not path.is_file():
                return None
            status = path.stat()
        except OSError:  # a name too long to be one
            return None
        stamp = (status.st_mtime_ns, status.st_size)
        known = self._known.get(str(path))
        if known is None or known[0] != stamp:
            known = (stamp, _read(path))
            self._known[str(path)] = known
        return known[1]


def _read(path: Path) -> File:
    content = path.read_bytes()
    packed = None
    if path.suffix not in _PACKED:
        packed = gzip.compress(content, 6, mtime=0)
    return File(
        content,
        packed if packed is not None and len(packed) < len(content) else None,
        _kind(path),
        f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    )


def _kind(path: Path) -> str:
    if path.suffix.startswith((".LICENSE", ".NOTICE")):  # of others' files: to be read
        return TYPES[".txt"]
    return TYPES.get(path.suffix, OTHER)
