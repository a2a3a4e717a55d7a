"""Reads ``traffic.bpf.o``: what maps it wants, and its programs with the maps' descriptors put in.

The layout is that of ``traffic.bpf.c``; relocations as in the BPF ABI
(Documentation/bpf/llvm_reloc.rst: R_BPF_64_64 is a map, in the first of two words).
"""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

OBJECT = "traffic.bpf.o"
_MAP = struct.Struct("<4I")
_INSTRUCTION_BYTES = 8
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
    """The compiled file, in memory."""

    def __init__(self, content: bytes | None = None) -> None:
        from elftools.elf.elffile import ELFFile

        if content is None:
            content = resources.files(__package__).joinpath(OBJECT).read_bytes()
        self._elf: Any = ELFFile(io.BytesIO(content))
        self._symbols: Any = self._elf.get_section_by_name(".symtab")
        self.license: bytes = self._elf.get_section_by_name("license").data()

    def maps(self) -> dict[str, MapShape]:
        """The maps by name."""
        section = self._elf.get_section_by_name("maps")
        index = self._elf.get_section_index("maps")
        return {
            symbol.name: MapShape(*_MAP.unpack_from(section.data(), symbol["st_value"]))
            for symbol in self._symbols.iter_symbols()
            if symbol["st_shndx"] == index and symbol.name
        }

    def program(self, name: str, maps: Mapping[str, int]) -> bytes:
        """The instructions of ``socket/NAME``, with the file descriptors of its maps."""
        code = bytearray(self._elf.get_section_by_name(f"socket/{name}").data())
        relocations = self._elf.get_section_by_name(f".relsocket/{name}")
        for relocation in relocations.iter_relocations() if relocations else ():
            if relocation["r_info_type"] != _R_BPF_64_64:
                raise ValueError(f"relocation of type {relocation['r_info_type']} in {name}")
            at = relocation["r_offset"]
            symbol = self._symbols.get_symbol(relocation["r_info_sym"])
            # struct bpf_insn: code, dst_reg in the low and src_reg in the high half, off, imm
            code[at + 1] = code[at + 1] & 0x0F | _PSEUDO_MAP_FD << 4
            struct.pack_into("<i", code, at + 4, maps[symbol.name])
        return bytes(code)
