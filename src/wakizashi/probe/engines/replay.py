"""The ``replay`` engine: packets from a capture file, through scapy's pcap and pcapng readers.

pcap and pcapng, micro- and nanoseconds, gzip too. Needs no privilege. scapy
ends quietly where a file is cut off; this module does not.
"""

import gzip
import io
import logging
import os
import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, cast

from wakizashi.errors import WakizashiError
from wakizashi.model import MAX_TIME_MS, Tally
from wakizashi.probe.capture import Counts, Endpoint, Engine, FlowCounter, Limits, Tap
from wakizashi.probe.devices import ARPHRD_LOOPBACK, Device
from wakizashi.probe.packet import LOCATE, LinkType

_OUTGOING = 4
"""Packet type of Linux cooked captures: sent by the host itself."""
_MOST_BYTES = 2**24
"""The longest block that is read, as in libpcap; a length in a damaged file may be anything."""
_LAST_MS = MAX_TIME_MS - 86_400_000
"""The last time a packet may have: the longest window that it is in still ends in time."""
_PCAP_HEADER_BYTES = 16

_DAMAGES = (struct.error, EOFError, IndexError, gzip.BadGzipFile, zlib.error)
"""What scapy's readers and gzip raise over content that is not as it should be."""


class CaptureFileError(WakizashiError):
    """A capture file is foreign, damaged, cut off, or of a kind that can't be read."""


class _Watched(io.RawIOBase):
    """A file that remembers whether a read got fewer bytes than it asked for, but not none.

    ``taken`` is the number of bytes read since the last packet.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.cut = False
        self.taken = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read up to ``size`` bytes."""
        if size > _MOST_BYTES:
            raise EOFError(f"it names a length of {size} bytes")
        data = self._file.read(size)
        if 0 < len(data) < size:
            self.cut = True
        self.taken += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


class _Warnings(logging.Handler):
    """Collects what scapy's readers warn of, which is how they tell of a damaged file."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a message."""
        self.texts.append(record.getMessage())


class ReplayEngine(Engine):
    """Packets of one capture file; the "device" bears the file's name."""

    rank = 100

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def obstacle(self) -> str | None:
        """Needs a file."""
        return None if self._path else "it reads a capture file; name one with --pcap"

    def open(self, device: Device, limits: Limits, endpoints: Collection[Endpoint]) -> "ReplayTap":
        """Open the file.

        Raises:
            CaptureFileError: it can't be read, or is no capture file.
        """
        if self._path is None:
            raise CaptureFileError("no capture file is named; use --pcap FILE")
        return ReplayTap(self._path, FlowCounter(limits.max_flows, endpoints))


class ReplayTap(Tap):
    """Reads packets up to a given time, one window after another."""

    def __init__(self, path: Path, counter: FlowCounter) -> None:
        try:
            from scapy.config import conf
            from scapy.error import Scapy_Exception, log_runtime
            from scapy.utils import RawPcapReader
        except ModuleNotFoundError as error:  # a bundle may be without scapy, for its licence
            raise CaptureFileError(
                f"--pcap: {path}: capture files are read with scapy, which is not installed here;"
                " use a probe that has it"
            ) from error

        self._path = path
        self._counter = counter
        self._passed = self._taken = Tally()
        self.until_ms: int | None = None
        """:meth:`pump` stops before the first packet of this time or later; None for no end."""
        self._reader: Any = None
        self._foreign = Scapy_Exception
        try:
            self._on_disk, content = _open(path)
            self._file = _Watched(content)
            self.size_bytes = os.fstat(self._on_disk.fileno()).st_size
            """Of the file, compressed or not."""
        except OSError as error:
            raise _unreadable(path, error) from error
        conf.warning_threshold = 0  # else scapy keeps frequent warnings to itself
        self._log = log_runtime
        self._warnings = _Warnings()
        self._log.addHandler(self._warnings)
        self._propagate, self._log.propagate = self._log.propagate, False
        # The daemons let scapy speak when it is serious; here its warnings tell of damage.
        self._level = self._log.level
        self._log.setLevel(logging.WARNING)
        try:
            self._reader = RawPcapReader(cast(Any, self._file))
        except (Scapy_Exception, *_DAMAGES) as error:
            self.close()
            raise CaptureFileError(
                f"--pcap: {path}: is no pcap or pcapng file ({error}); "
                "name one written by tcpdump, dumpcap or wireshark"
            ) from error
        except OSError as error:
            self.close()
            raise _unreadable(path, error) from error
        if hasattr(self._reader, "interfaces"):
            _mend(self._reader)
        self._packets = 0
        self._next: tuple[int, bytes, int, int] | None = None
        try:
            self._advance()
        except CaptureFileError:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The name under which the file stands in for a device."""
        return self._path.name

    @property
    def next_ms(self) -> int | None:
        """Time of the next packet, ms of Unix time; None at the end of the file."""
        return self._next[0] if self._next else None

    def fileno(self) -> int | None:
        """A file is not waited for."""
        return None

    def pump(self, budget: int) -> bool:
        """Count up to ``budget`` packets from before ``until_ms``; whether there are more."""
        while self._next and (self.until_ms is None or self._next[0] < self.until_ms):
            if budget <= 0:
                return True
            budget -= 1
            _, data, wire_length, link = self._next
            self._count(data, wire_length, link)
            self._advance()
        return False

    def _count(self, data: bytes, wire_length: int, link: int) -> None:
        try:
            pseudo_header, locate = LOCATE[LinkType(link)]
        except ValueError:
            known = ", ".join(f"{kind.name} ({kind.value})" for kind in LinkType)
            raise CaptureFileError(
                f"--pcap: {self._path}: link type {link} is not understood; there are {known}"
            ) from None
        if _is_second_sight(data, link):
            return
        size = max(wire_length, len(data)) - pseudo_header
        if size <= 0:
            return
        self._passed += Tally(1, size)
        self._counter.add(data, len(data), locate(data, len(data)), size)

    def _advance(self) -> None:
        self._file.taken = 0
        try:
            data, meta = next(self._reader)
        except StopIteration as end:
            data = None
            if end.__context__ is not None and str(end.__context__):  # it was no end
                raise self._damaged(str(end.__context__)) from end
        except (*_DAMAGES, self._foreign) as error:
            raise self._damaged(str(error)) from error
        except OSError as error:
            raise _unreadable(self._path, error) from error
        if data is None:
            self._check_end()
            self._next = None
            return
        if hasattr(meta, "caplen") and self._file.taken < _PCAP_HEADER_BYTES + meta.caplen:
            raise self._damaged("the last packet is cut off")
        self._check_warnings()
        if hasattr(meta, "sec"):
            divisor = 1_000_000 if self._reader.nano else 1_000
            time_ms = meta.sec * 1_000 + meta.usec // divisor
            link = self._reader.linktype & 0xFFFF  # the rest says how long a check sequence is
        else:
            if meta.tshigh is None:
                raise self._damaged("it has packets without a time")
            ticks = meta.tshigh << 32 | meta.tslow
            time_ms = ticks * 1_000 // int(meta.tsresol)
            link = meta.linktype
        if time_ms > _LAST_MS:
            raise self._damaged(f"the next one has a time after the year 2261, {time_ms} ms")
        self._packets += 1
        self._next = (time_ms, data, meta.wirelen, link)

    def _check_warnings(self) -> None:
        real = [text for text in self._warnings.texts if "has been truncated" not in text]
        if real:
            raise self._damaged(real[0])

    def _check_end(self) -> None:
        self._check_warnings()
        try:
            rest = self._file.cut or self._file.read(1)
        except _DAMAGES as error:  # scapy took the end of a cut gzip stream for the end of all
            raise self._damaged(str(error)) from error
        if rest:
            raise self._damaged("it ends in the middle of a packet")

    def _damaged(self, reason: str) -> CaptureFileError:
        return CaptureFileError(
            f"--pcap: {self._path}: damaged or cut off after {self._packets} packets: "
            f"{reason}; nothing of it was sent; "
            "mend it (`editcap` or `pcapfix`) and try again"
        )

    def take(self) -> Counts:
        """Counts since the last call."""
        return self._counter.take()

    def take_passed(self) -> Tally:
        """Packets and bytes read since the last call: the file's own account, for the ledger."""
        passed, self._passed = self._passed, Tally()
        self._taken += passed
        return passed

    @property
    def read_bytes(self) -> int:
        """How far it is in the file, of ``size_bytes``; with what is read ahead. Any thread."""
        return self._on_disk.tell()

    @property
    def passed_bytes(self) -> int:
        """All that :meth:`take_passed` tells. Any thread; for the eye alone."""
        return self._taken.bytes + self._passed.bytes

    def set_endpoints(self, endpoints: Collection[Endpoint]) -> None:
        """Replace the center's endpoints."""
        self._counter.set_endpoints(endpoints)

    def set_max_flows(self, max_flows: int) -> None:
        """Replace the limit."""
        self._counter.set_max_flows(max_flows)

    def close(self) -> None:
        """Close the file."""
        self._log.removeHandler(self._warnings)
        self._log.propagate = self._propagate
        self._log.setLevel(self._level)
        self._file.close()
        self._on_disk.close()  # gzip leaves it open


def _mend(reader: Any) -> None:
    """What scapy's reader of pcapng overlooks.

    A new section has interfaces of its own (in files that were put one behind another);
    and a packet may claim to be longer than the block it lies in.
    """
    section = reader._read_block_shb

    def begin_section() -> None:
        reader.interfaces.clear()
        section()

    def checked(parse: Any) -> Any:
        def read(block: bytes, size: int) -> Any:
            # In both kinds of packet block the captured length stands at 12, the packet at 20.
            captured = struct.unpack_from(reader.endian + "I", block, 12)[0]
            if captured > len(block) - 20:
                raise EOFError(f"{captured} bytes of a packet in a block of {len(block)}")
            return parse(block, size)

        return read

    reader._read_block_shb = begin_section
    for kind in (2, 6):
        reader.blocktypes[kind] = checked(reader.blocktypes[kind])


def _unreadable(path: Path, error: OSError) -> CaptureFileError:
    return CaptureFileError(
        f"--pcap: {path}: {error.strerror or error}; name a file that this user can read"
    )


def _open(path: Path) -> tuple[BinaryIO, BinaryIO]:
    """The file, and its content, which may be the same."""
    file = open(path, "rb")  # noqa: SIM115 - the tap closes it
    magic = file.read(2)
    file.seek(0)
    return file, cast(BinaryIO, gzip.GzipFile(fileobj=file)) if magic == b"\x1f\x8b" else file


def _is_second_sight(data: bytes, link: int) -> bool:
    """Whether a cooked packet is the outgoing copy of a loopback packet, which comes in as well."""
    if link == LinkType.LINUX_SLL and len(data) >= 4:
        kind, hardware = data[1], data[2] << 8 | data[3]
    elif link == LinkType.LINUX_SLL2 and len(data) >= 11:
        kind, hardware = data[10], data[8] << 8 | data[9]
    else:
        return False
    return kind == _OUTGOING and hardware == ARPHRD_LOOPBACK
