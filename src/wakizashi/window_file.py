"""One window in one file: its name and its format. Pure.

A name is ``START-NUMBER-PROBE.window``: the window's start in milliseconds (13
digits), its number (10 digits), and 12 hexadecimal digits of a hash of the
probe's name, so that ``ls`` lists them in time order and the windows of many
probes can lie side by side in a center.

The format, little-endian: magic ``WKZW`` (4 bytes), version 1 (u16), zero (u16),
payload length (u64), CRC-32 of these 16 bytes and the payload (u32), payload
(:func:`wakizashi.wire.pack`). Why CRC-32 and not CRC32C: ``docs/decisions/0002``.
"""

import hashlib
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from wakizashi import wire
from wakizashi.model import MAX_INTEGER, MAX_TIME_MS

MAGIC = b"WKZW"
VERSION = 1
_HEADER = struct.Struct("<4sHHQ")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CHECKSUM.size

_NAME = re.compile(r"([0-9]{13})-([0-9]{10,19})-([0-9a-f]{12})\.window")


class DamagedFile(Exception):
    """A file that is torn, flipped, truncated, foreign or of another version; ``str()`` says how."""


def seal(payload: bytes) -> bytes:
    """The content of a file that holds ``payload``."""
    header = _HEADER.pack(MAGIC, VERSION, 0, len(payload))
    return header + _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(header))) + payload


def unseal(content: bytes) -> bytes:
    """The payload in a file's content.

    Raises:
        DamagedFile: any bit of it is not as :func:`seal` wrote it.
    """
    if len(content) < HEADER_BYTES:
        raise DamagedFile(f"{len(content)} bytes, shorter than a header ({HEADER_BYTES})")
    header = content[: _HEADER.size]
    magic, version, zero, length = _HEADER.unpack(header)
    if magic != MAGIC:
        raise DamagedFile(f"starts with {magic!r}, not {MAGIC!r}: not a window file")
    if version != VERSION or zero != 0:
        raise DamagedFile(f"format version {version}; this release reads version {VERSION}")
    if length != len(content) - HEADER_BYTES:
        raise DamagedFile(f"{len(content) - HEADER_BYTES} bytes of payload, {length} expected")
    payload = content[HEADER_BYTES:]
    (checksum,) = _CHECKSUM.unpack_from(content, _HEADER.size)
    if zlib.crc32(payload, zlib.crc32(header)) != checksum:
        raise DamagedFile("checksum does not match: the content was altered")
    return payload


def probe_digest(probe: str) -> str:
    """The 12 hexadecimal digits that stand for a probe's name in file names."""
    return hashlib.blake2b(probe.encode(), digest_size=6).hexdigest()


def file_name(probe: str, start_ms: int, number: int) -> str:
    """The name of a window's file."""
    return f"{start_ms:013d}-{number:010d}-{probe_digest(probe)}.window"


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A window's file: what its name says, and its length in bytes."""

    start_ms: int
    number: int
    name: str
    size: int

    @property
    def probe(self) -> str:
        """The digits that stand for the probe's name."""
        return self.name.removesuffix(".window")[-12:]


WindowFile = tuple[Entry, bytes]
"""A file that is to be, and its content."""


def window_file(probe: str, start_ms: int, number: int, chunks: Sequence[bytes]) -> WindowFile:
    """The file of a window that is given as its serialized chunks."""
    content = seal(wire.pack(chunks))
    return Entry(start_ms, number, file_name(probe, start_ms, number), len(content)), content


def entry_of(name: str, size: int) -> Entry | None:
    """What a file's name says; None where it is no window's name.

    Nor is one with a start or a number that no window may have: after it no next one could come.
    """
    match = _NAME.fullmatch(name)
    if not match:
        return None
    start_ms, number = int(match[1]), int(match[2])
    if start_ms >= MAX_TIME_MS or number > MAX_INTEGER:
        return None
    return Entry(start_ms, number, name, size)
