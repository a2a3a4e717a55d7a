"""The classic BPF filter before the ring: how much of a packet to capture. Pure.

In: the center's endpoints. Out: the instructions for SO_ATTACH_FILTER
(Documentation/networking/filter.rst). A program returns how many bytes to
capture: OWN_BYTES of the probe's own packets, which so are told apart, and of
all others what a slot holds. It never returns 0, so every packet is counted.

The kernel sees whole packets here; a slot might not hold the TCP ports of one
with IP options. A load beyond the packet's end would end the program with 0, so
every load is behind a comparison with the length.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass, field

from wakizashi.probe.capture import Endpoint
from wakizashi.probe.ring.slots import OWN_BYTES, SLOT_BYTES

MAX_INSTRUCTIONS = 4_096
"""BPF_MAXINSNS: the kernel takes no more."""

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jt, jf, k
# Codes of include/uapi/linux/bpf_common.h: class | size | mode, class | operation | source
_LOAD_WORD_AT_X, _LOAD_HALF_AT_X, _LOAD_BYTE_AT_X = 0x40, 0x48, 0x50
_LOAD_LENGTH, _LOAD_MEMORY, _STORE, _LOAD_X = 0x80, 0x60, 0x02, 0x01
_ADD_X, _SUBTRACT_X, _ADD, _AND, _SHIFT_LEFT = 0x0C, 0x1C, 0x04, 0x54, 0x64
_JUMP, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _IF_AT_LEAST_X = 0x05, 0x15, 0x35, 0x45, 0x3D
_RETURN, _TO_X, _FROM_X = 0x06, 0x07, 0x87

_TAGS, _EXTENSIONS = 4, 8
_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
_TCP, _FRAGMENT, _AUTHENTICATION = 6, 44, 51
_OTHER_EXTENSIONS = (0, 43, 60, 135, 139, 140)
# Scratch memory: addresses, then ports
_SOURCE, _DESTINATION, _SOURCE_PORT, _DESTINATION_PORT, _NEXT = 0, 4, 8, 9, 10


@dataclass(slots=True)
class _Assembler:
    """Instructions with labels; jumps go forward only, as the kernel demands."""

    code: list[tuple[int, str, str, int]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def do(self, code: int, k: int = 0) -> None:
        """Any instruction that does not jump."""
        self.code.append((code, "", "", k))

    def unless(self, code: int, k: int, label: str) -> None:
        """Go on if the comparison holds, else to ``label``, however far it is."""
        self.code.append((code, "+1", "", k))
        self.go(label)

    def when(self, code: int, k: int, label: str) -> None:
        """To ``label``, however far it is, if the comparison holds, else go on."""
        self.code.append((code, "", "+1", k))
        self.go(label)

    def go(self, label: str) -> None:
        """To ``label``."""
        self.code.append((_JUMP, label, "", 0))

    def here(self, label: str) -> None:
        """``label`` is the next instruction."""
        self.labels[label] = len(self.code)

    def assemble(self) -> bytes:
        """The instructions as the kernel wants them."""
        out = bytearray()
        for at, (code, yes, no, k) in enumerate(self.code):
            if code == _JUMP:
                out += _INSTRUCTION.pack(code, 0, 0, self.labels[yes] - at - 1)
            else:
                out += _INSTRUCTION.pack(code, int(yes or 0), int(no or 0), k)
        return bytes(out)


def build(endpoints: Collection[Endpoint], *, ethernet: bool) -> bytes:
    """The filter's instructions.

    Raises:
        ValueError: too many endpoints for one program (about 100).
    """
    asm = _Assembler()
    if endpoints:
        four = sorted({e for e in endpoints if len(e[0]) == 4})
        six = sorted({e for e in endpoints if len(e[0]) == 16})
        _network_header(asm, ethernet)
        asm.here("four")
        if four:
            _four(asm)
            _compare(asm, four)
        asm.go("other")
        asm.here("six")
        if six:
            _six(asm)
            _compare(asm, six)
        asm.go("other")
        asm.here("own")
        asm.do(_RETURN, OWN_BYTES)
        asm.here("other")
    asm.do(_RETURN, SLOT_BYTES)
    if len(asm.code) > MAX_INSTRUCTIONS:
        raise ValueError(f"{len(endpoints)} addresses of the center are too many for one filter")
    return asm.assemble()


def _need(asm: _Assembler, size: int) -> None:
    """The packet has ``size`` bytes from X on, or it is none of ours."""
    asm.do(_LOAD_LENGTH)
    asm.unless(_IF_AT_LEAST_X, 0, "other")
    asm.do(_SUBTRACT_X)
    asm.unless(_IF_AT_LEAST, size, "other")


def _network_header(asm: _Assembler, ethernet: bool) -> None:
    """X becomes the offset of the IP header; to ``four`` or ``six`` by its version."""
    if ethernet:
        for tag in range(_TAGS + 1):
            asm.do(_LOAD_X, 12 + 4 * tag)
            _need(asm, 2)
            asm.do(_LOAD_HALF_AT_X)
            if tag < _TAGS:
                for vlan in _VLAN_TYPES:
                    asm.when(_IF_EQUAL, vlan, f"tag{tag + 1}")
            asm.do(_LOAD_X, 14 + 4 * tag)
            asm.when(_IF_EQUAL, 0x0800, "four")
            asm.when(_IF_EQUAL, 0x86DD, "six")
            asm.go("other")
            if tag < _TAGS:
                asm.here(f"tag{tag + 1}")
    else:
        asm.do(_LOAD_X, 0)
        _need(asm, 20)
        asm.do(_LOAD_BYTE_AT_X)
        asm.do(_AND, 0xF0)
        asm.when(_IF_EQUAL, 0x40, "four")
        asm.when(_IF_EQUAL, 0x60, "six")
        asm.go("other")


def _version(asm: _Assembler, version: int) -> None:
    """The header is of that version, or it is none of ours."""
    asm.do(_LOAD_BYTE_AT_X)
    asm.do(_AND, 0xF0)
    asm.unless(_IF_EQUAL, version << 4, "other")


def _four(asm: _Assembler) -> None:
    """IPv4: addresses into memory; X becomes the offset of the TCP header."""
    _need(asm, 20)
    _version(asm, 4)
    asm.do(_LOAD_BYTE_AT_X)
    asm.do(_AND, 15)
    asm.unless(_IF_AT_LEAST, 5, "other")
    asm.do(_LOAD_BYTE_AT_X, 9)
    asm.unless(_IF_EQUAL, _TCP, "other")
    asm.do(_LOAD_HALF_AT_X, 6)
    asm.when(_IF_BITS, 0x1FFF, "other")  # a later fragment has no ports
    for target, offset in ((_SOURCE, 12), (_DESTINATION, 16)):
        asm.do(_LOAD_WORD_AT_X, offset)
        asm.do(_STORE, target)
    asm.do(_LOAD_BYTE_AT_X)
    asm.do(_AND, 15)
    asm.do(_SHIFT_LEFT, 2)
    asm.do(_ADD_X)
    asm.do(_TO_X)


def _six(asm: _Assembler) -> None:
    """IPv6: the same, extension headers skipped as in packet.py."""
    _need(asm, 40)
    _version(asm, 6)
    for word in range(8):
        asm.do(_LOAD_WORD_AT_X, 8 + 4 * word)
        asm.do(_STORE, _SOURCE + word)
    asm.do(_LOAD_BYTE_AT_X, 6)
    asm.do(_STORE, _NEXT)
    asm.do(_FROM_X)
    asm.do(_ADD, 40)
    asm.do(_TO_X)
    for number in range(_EXTENSIONS):
        asm.do(_LOAD_MEMORY, _NEXT)
        asm.when(_IF_EQUAL, _TCP, "tcp6")
        _need(asm, 8)
        asm.do(_LOAD_MEMORY, _NEXT)
        asm.when(_IF_EQUAL, _FRAGMENT, f"fragment{number}")
        asm.when(_IF_EQUAL, _AUTHENTICATION, f"authentication{number}")
        for kind in _OTHER_EXTENSIONS:
            asm.when(_IF_EQUAL, kind, f"extension{number}")
        asm.go("other")
        asm.here(f"fragment{number}")
        asm.do(_LOAD_HALF_AT_X, 2)
        asm.when(_IF_BITS, 0xFFF8, "other")
        asm.do(_LOAD_BYTE_AT_X)
        asm.do(_STORE, _NEXT)
        asm.do(_FROM_X)
        asm.do(_ADD, 8)
        asm.do(_TO_X)
        asm.go(f"next{number}")
        asm.here(f"authentication{number}")
        _skip(asm, unit_shift=2, more=2)
        asm.go(f"next{number}")
        asm.here(f"extension{number}")
        _skip(asm, unit_shift=3, more=1)
        asm.here(f"next{number}")
    asm.do(_LOAD_MEMORY, _NEXT)
    asm.unless(_IF_EQUAL, _TCP, "other")
    asm.here("tcp6")


def _skip(asm: _Assembler, *, unit_shift: int, more: int) -> None:
    """Past a header whose second byte is its length: ``more`` than that, in units."""
    asm.do(_LOAD_BYTE_AT_X)
    asm.do(_STORE, _NEXT)
    asm.do(_LOAD_BYTE_AT_X, 1)
    asm.do(_ADD, more)
    asm.do(_SHIFT_LEFT, unit_shift)
    asm.do(_ADD_X)
    asm.do(_TO_X)


def _compare(asm: _Assembler, endpoints: Collection[Endpoint]) -> None:
    """To ``own`` if a side of the packet is an endpoint; X is the offset of the TCP header."""
    _need(asm, 4)
    for target, offset in ((_SOURCE_PORT, 0), (_DESTINATION_PORT, 2)):
        asm.do(_LOAD_HALF_AT_X, offset)
        asm.do(_STORE, target)
    for address, port in endpoints:
        words = struct.unpack(f"!{len(address) // 4}I", address)
        for start, where in ((_SOURCE, _SOURCE_PORT), (_DESTINATION, _DESTINATION_PORT)):
            label = f"not {address.hex()} {port} {start}"
            for i, word in enumerate(words):
                asm.do(_LOAD_MEMORY, start + i)
                asm.unless(_IF_EQUAL, word, label)
            asm.do(_LOAD_MEMORY, where)
            asm.when(_IF_EQUAL, port, "own")
            asm.here(label)
