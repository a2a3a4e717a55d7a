"""Reads ``traffic.bpf.o``: what maps it wants, and its programs with the maps' descriptors put in.

Just what clang writes for the target ``bpfel``: ELF64, little-endian, relocatable
(elf(5); relocations in Documentation/bpf/llvm_reloc.rst). pyelftools would do it
at the price of 7 MB of memory in every probe; it is the oracle of the test instead.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

OBJECT = "traffic.bpf.o"

_HEADER = struct.Struct("<4sBB10xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQ")
_MAP = struct.Struct("<4I")
_EM_BPF = 247
_R_BPF_64_64 = 1
_PSEUDO_MAP_FD = 1


@dataclass(frozen=True, slots=True)
class MapShape:
    """What the C file says of a map; ``entries`` is 0 where the process decides."""

    kind: int
    key_bytes: int
    value_bytes: int
    entries: int


class Object:
    """The compiled file, in memory.

    Raises:
        ValueError: it is no object for the eBPF machine, or not a whole one.
    """

    def __init__(self, content: bytes | None = None) -> None:
        if content is None:
            content = resources.files(__package__).joinpath(OBJECT).read_bytes()
        fields = _HEADER.unpack(content[: _HEADER.size].ljust(_HEADER.size, b"\0"))
        if fields[:3] != (b"\x7fELF", 2, 1) or fields[4] != _EM_BPF:
            raise ValueError(f"{OBJECT} is no little-endian eBPF object; run `make generate`")
        try:
            start, count, names_at = fields[8], fields[14], fields[15]
            rows = [_SECTION.unpack_from(content, start + i * _SECTION.size) for i in range(count)]
            names = _cut(content, rows[names_at])
            self._indexes = {_text(names, row[0]): i for i, row in enumerate(rows)}
            self._sections = {name: _cut(content, rows[i]) for name, i in self._indexes.items()}
            strings = _cut(content, rows[rows[self._indexes[".symtab"]][6]])
            self._symbols = [
                (_text(strings, name), section, value)
                for name, _, _, section, value, _ in _SYMBOL.iter_unpack(self._sections[".symtab"])
            ]
            self.license = self._sections["license"]
        # What the parts of a file that is cut off or overwritten raise.
        except (struct.error, IndexError, KeyError, OverflowError, ValueError) as error:
            raise ValueError(f"{OBJECT} is a damaged object; install the probe again") from error

    def maps(self) -> dict[str, MapShape]:
        """The maps by name."""
        return {
            name: MapShape(*_MAP.unpack_from(self._sections["maps"], value))
            for name, section, value in self._symbols
            if section == self._indexes["maps"] and name
        }

    def program(self, name: str, maps: Mapping[str, int]) -> bytes:
        """The instructions of ``socket/NAME``, with the file descriptors of its maps."""
        code = bytearray(self._sections[f"socket/{name}"])
        for at, kind, symbol in self._relocations(name):
            if kind != _R_BPF_64_64:
                raise ValueError(f"{OBJECT}: relocation of type {kind} in {name}")
            # struct bpf_insn: code, dst_reg in the low and src_reg in the high half, off, imm
            code[at + 1] = code[at + 1] & 0x0F | _PSEUDO_MAP_FD << 4
            struct.pack_into("<i", code, at + 4, maps[symbol])
        return bytes(code)

    def _relocations(self, name: str) -> Iterator[tuple[int, int, str]]:
        """Offset, type and symbol of each place in ``socket/NAME`` that names a map."""
        for at, info in _RELOCATION.iter_unpack(self._sections.get(f".relsocket/{name}", b"")):
            yield at, info & 0xFFFFFFFF, self._symbols[info >> 32][0]


def _cut(content: bytes, row: tuple[int, ...]) -> bytes:
    """The bytes of a section: offset and size are the fifth and sixth field of its header."""
    return content[row[4] : row[4] + row[5]]


def _text(table: bytes, at: int) -> str:
    return table[at : table.index(b"\0", at)].decode()
