"""bpf(2), as much of it as the engine ``ebpf`` needs, through ctypes.

Maps and programs are file descriptors and nothing else: no pins, so all of it
vanishes with the process. Layouts are those of ``union bpf_attr`` in
include/uapi/linux/bpf.h; commands and flags by its names. Failures are OSError;
a program that the verifier refuses is :class:`Refused`.
"""

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterator

HASH = 1
NO_PREALLOC = 1

_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _NEXT_KEY, _PROG_LOAD, _TEST_RUN = 0, 1, 2, 3, 4, 5, 10
_LOOKUP_BATCH = 24
_SOCKET_FILTER = 1
_ATTRIBUTES_BYTES = 128
_LOG_BYTES = 1 << 20
_ENOTSUPP = 524

# __NR_bpf; the 64-bit little-endian machines that Linux distributions are built for.
_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Refused(Exception):
    """The verifier refuses a program; ``str()`` is its last word, ``log`` all it said."""

    def __init__(self, log: str) -> None:
        lines = [line for line in log.splitlines() if line and not line.startswith("processed ")]
        super().__init__(lines[-1] if lines else "without a word")
        self.log = log


def obstacle() -> str | None:
    """Why this machine can't be asked at all; None if it can."""
    if sys.byteorder != "little" or platform.machine() not in _SYSCALL:
        return f"the program is not built for this machine ({platform.machine()})"
    return None


def lift_memory_limit() -> None:
    """Kernels before 5.11 count maps as locked memory, of which 64 KiB are granted as a rule.

    Takes CAP_SYS_RESOURCE; without it as much as may be had.
    """
    _, most = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY,) * 2)
    except ValueError:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (most, most))


def _call(command: int, attributes: bytes) -> tuple[int, int, bytes]:
    """The call's result, its errno (0 if none), and the attributes as the kernel left them."""
    buffer = ctypes.create_string_buffer(attributes, _ATTRIBUTES_BYTES)
    number = _SYSCALL[platform.machine()]
    while True:
        words = ctypes.c_long(number), ctypes.c_long(command)
        result = _libc.syscall(*words, buffer, ctypes.c_long(_ATTRIBUTES_BYTES))
        code = 0 if result >= 0 else ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            return result, code, buffer.raw


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """As :func:`_call`; any errno is raised."""
    result, code, answer = _call(command, attributes)
    if code:
        raise OSError(code, os.strerror(code))
    return result, answer


class Map:
    """A map, or with ``inner`` an array of maps like that one."""

    def __init__(
        self,
        kind: int,
        key_bytes: int,
        value_bytes: int,
        entries: int,
        *,
        flags: int = 0,
        inner: "Map | None" = None,
    ) -> None:
        self._key_bytes, self._value_bytes, self.entries = key_bytes, value_bytes, entries
        self.fd: int
        self.fd, _ = _bpf(
            _MAP_CREATE,
            struct.pack(
                "=7I16s", kind, key_bytes, value_bytes, entries, flags, inner.fd if inner else 0, 0,
                b"wakizashi",
            ),
        )  # fmt: skip

    def close(self) -> None:
        """Let go of it; the kernel frees it when no program has it either."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def update(self, key: bytes, value: bytes) -> None:
        """Set a value; of an array of maps it returns when no program uses the replaced map."""
        self._element(_UPDATE, key, value)

    def delete(self, key: bytes) -> None:
        """Remove a key that is there."""
        buffer = ctypes.create_string_buffer(key, self._key_bytes)
        _bpf(_DELETE, struct.pack("=IxxxxQ", self.fd, ctypes.addressof(buffer)))

    def _element(self, command: int, key: bytes, value: bytes) -> bytes:
        key_buffer = ctypes.create_string_buffer(key, self._key_bytes)
        value_buffer = ctypes.create_string_buffer(value, self._value_bytes)
        addresses = ctypes.addressof(key_buffer), ctypes.addressof(value_buffer)
        _bpf(command, struct.pack("=IxxxxQQQ", self.fd, *addresses, 0))
        return value_buffer.raw

    def items(self, batch: int = 4_096) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value), each once if nothing changes the map meanwhile.

        Args:
            batch: how many to ask for at once; 0 for one by one, as kernels
                without batch operations (before 5.6) are asked anyway.
        """
        if not batch:
            yield from self._one_by_one()
            return
        position = None
        while True:
            keys = ctypes.create_string_buffer(batch * self._key_bytes)
            values = ctypes.create_string_buffer(batch * self._value_bytes)
            at = ctypes.create_string_buffer(position or b"", max(4, self._key_bytes))
            following = ctypes.create_string_buffer(max(4, self._key_bytes))
            _, code, answer = _call(
                _LOOKUP_BATCH,
                struct.pack(
                    "=4QIIQQ",
                    ctypes.addressof(at) if position else 0,
                    *map(ctypes.addressof, (following, keys, values)),
                    batch, self.fd, 0, 0,
                ),
            )  # fmt: skip
            if code == errno.ENOSPC:  # a single bucket holds more than fits
                batch *= 2
                continue
            if code in (errno.EINVAL, errno.EOPNOTSUPP, _ENOTSUPP) and position is None:
                yield from self._one_by_one()
                return
            if code not in (0, errno.ENOENT):
                raise OSError(code, os.strerror(code))
            (count,) = struct.unpack_from("=I", answer, 32)
            all_keys, all_values = keys.raw, values.raw
            for i in range(count):
                yield (
                    all_keys[i * self._key_bytes : (i + 1) * self._key_bytes],
                    all_values[i * self._value_bytes : (i + 1) * self._value_bytes],
                )
            if code == errno.ENOENT:  # that was the last bucket
                return
            position = following.raw

    def _one_by_one(self) -> Iterator[tuple[bytes, bytes]]:
        key = ctypes.create_string_buffer(self._key_bytes)
        following = ctypes.create_string_buffer(self._key_bytes)
        address = 0
        while True:
            try:
                _bpf(
                    _NEXT_KEY,
                    struct.pack("=IxxxxQQQ", self.fd, address, ctypes.addressof(following), 0),
                )
            except FileNotFoundError:
                return
            key.raw = following.raw
            address = ctypes.addressof(key)
            yield key.raw, self._element(_LOOKUP, key.raw, bytes(self._value_bytes))


def load_socket_filter(instructions: bytes, license_text: bytes) -> int:
    """Load a program; its file descriptor.

    Raises:
        Refused: by the verifier.
        OSError: EPERM without CAP_BPF, and others.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    text = ctypes.create_string_buffer(license_text)

    def load(level: int, log: ctypes.Array[ctypes.c_char] | None) -> int:
        return _bpf(
            _PROG_LOAD,
            struct.pack(
                "=IIQQIIQII16s",
                _SOCKET_FILTER, len(instructions) // 8,
                ctypes.addressof(code), ctypes.addressof(text),
                level, len(log) if log else 0, ctypes.addressof(log) if log else 0,
                0, 0, b"wakizashi",
            ),
        )[0]  # fmt: skip

    try:
        return load(0, None)
    except OSError as error:
        if error.errno == errno.EPERM:  # EACCES is a refusal
            raise
        log = ctypes.create_string_buffer(_LOG_BYTES)
        try:
            return load(1, log)
        except OSError:
            said = log.value.decode(errors="replace")
            if not said.strip():
                raise error from None
            raise Refused(said) from error


def test_run(program: int, packet: bytes, repeat: int) -> tuple[int, int]:
    """What a program returns for a packet, and the average nanoseconds of ``repeat`` runs."""
    data = ctypes.create_string_buffer(packet, len(packet))
    _, answer = _bpf(
        _TEST_RUN,
        struct.pack("=IIIIQQII", program, 0, len(packet), 0, ctypes.addressof(data), 0, repeat, 0),
    )
    returned, duration = struct.unpack_from("=I", answer, 4), struct.unpack_from("=I", answer, 36)
    return returned[0], duration[0]
