"""The object and its reader, the kernel's answers, and what is said where it refuses."""

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import example, given
from hypothesis import strategies as st

from wakizashi.model import Tally
from wakizashi.probe.bpf import kernel, program
from wakizashi.probe.bpf.program import Object
from wakizashi.probe.bpf.traffic import Kind, Traffic
from wakizashi.probe.capture import choose
from wakizashi.probe.engines import ebpf

CONTENT = (Path(program.__file__).parent / program.OBJECT).read_bytes()
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 and "CI" not in os.environ, reason="bpf(2) needs root"
)


def test_maps_and_programs_are_those_that_pyelftools_reads() -> None:
    ours, theirs = Object(), ELFFile(io.BytesIO(CONTENT))
    symbols = theirs.get_section_by_name(".symtab")
    section = theirs.get_section_by_name("maps")
    expected = {
        symbol.name: struct.unpack_from("<4I", section.data(), symbol["st_value"])
        for symbol in symbols.iter_symbols()
        if symbol["st_info"]["type"] == "STT_OBJECT"
        and theirs.get_section(symbol["st_shndx"]).name == "maps"
    }
    assert {"window", "flows", "endpoints"} == set(expected)
    assert {
        name: (m.kind, m.key_bytes, m.value_bytes, m.entries) for name, m in ours.maps().items()
    } == expected
    fds = {"window": 7, "endpoints": 9}
    for name in ("ethernet", "ip", "empty"):
        code = bytearray(theirs.get_section_by_name(f"socket/{name}").data())
        relocations = theirs.get_section_by_name(f".relsocket/{name}")
        for one in relocations.iter_relocations() if relocations else ():
            at, symbol = one["r_offset"], symbols.get_symbol(one["r_info_sym"]).name
            code[at + 1] |= 0x10
            code[at + 4 : at + 8] = struct.pack("<i", fds[symbol])
        assert ours.program(name, fds) == bytes(code)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x7fELF",
        bytes(100),
        b"hello" * 100,
        CONTENT[:4] + b"\1" + CONTENT[5:],  # of 32 bits
        CONTENT[:5] + b"\2" + CONTENT[6:],  # big-endian
        CONTENT[:18] + struct.pack("<H", 62) + CONTENT[20:],  # for x86-64
    ],
)
def test_what_is_no_object_is_said(content: bytes) -> None:
    with pytest.raises(ValueError, match="no little-endian eBPF object"):
        Object(content)


def test_an_object_that_is_cut_off_anywhere_is_said() -> None:
    for length in range(len(CONTENT)):
        with pytest.raises(ValueError, match="traffic.bpf.o is (no|a damaged)"):
            Object(CONTENT[:length])


@given(st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(0, 255)), max_size=20))
@example([(47, 0x80)])  # the offset of the section table, beyond what Python takes for one
def test_a_damaged_object_is_read_or_said(damage: list[tuple[int, int]]) -> None:
    content = bytearray(CONTENT)
    for at, value in damage:
        content[at] = value
    said = "traffic.bpf.o is whole"
    try:
        Object(bytes(content))
    except ValueError as error:
        said = str(error)
    assert said.startswith("traffic.bpf.o is ")


@pytest.mark.parametrize("field", [40, 58, 60, 62])
@pytest.mark.parametrize("value", [0, 1, 5, 0x7FFF, 0xFFFF])
def test_a_section_table_that_leads_nowhere_is_said(field: int, value: int) -> None:
    """Offset, row size, number of rows and the names' row, in the header."""
    content = bytearray(CONTENT)
    before = struct.unpack_from("<H", content, field)[0]
    struct.pack_into("<H", content, field, value)
    if value == before or field == 58:  # the size of a row is what elf(5) says it is
        Object(bytes(content))
        return
    with pytest.raises(ValueError, match="traffic.bpf.o is a damaged"):
        Object(bytes(content))


@needs_root
def test_auto_goes_on_when_the_object_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wakizashi.probe.bpf.traffic.Object", lambda: Object(CONTENT[:4_000]))
    name, engine, (reason,) = choose("auto")
    engine.close()
    assert name == "ring"
    assert reason == "ebpf: traffic.bpf.o is a damaged object; install the probe again"


@needs_root
def test_items_in_batches_and_one_by_one_are_the_same() -> None:
    table = kernel.Map(kernel.HASH, 4, 8, 5_000, flags=kernel.NO_PREALLOC)
    try:
        expected = {struct.pack("=I", n): struct.pack("=Q", n * n) for n in range(4_000)}
        for key, value in expected.items():
            table.update(key, value)
        for batch in (4_096, 100, 1, 0):  # 1 is too few for some bucket: it grows
            items = list(table.items(batch))
            assert len(items) == len(expected), batch
            assert dict(items) == expected, batch
        for key in list(expected)[:3_999]:
            table.delete(key)
        assert len(list(table.items())) == 1
        with pytest.raises(FileNotFoundError):
            table.delete(next(iter(expected)))
    finally:
        table.close()


@needs_root
def test_a_kernel_without_batches_is_asked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    table = kernel.Map(kernel.HASH, 4, 8, 10)
    real = kernel._call

    def old(command: int, attributes: bytes) -> tuple[int, int, bytes]:
        return (-1, 22, attributes) if command == 24 else real(command, attributes)

    try:
        table.update(b"abcd", b"12345678")
        monkeypatch.setattr(kernel, "_call", old)
        assert list(table.items()) == [(b"abcd", b"12345678")]
    finally:
        table.close()


@needs_root
def test_a_refusal_is_one_line() -> None:
    leave = struct.pack("<BBhi", 0x95, 0, 0, 0)  # exit, while r0 holds nothing
    with pytest.raises(kernel.Refused) as refused:
        kernel.load_socket_filter(leave, b"GPL\0")
    assert str(refused.value) == "R0 !read_ok"
    assert "\n" in refused.value.log


@needs_root
def test_auto_goes_on_when_the_verifier_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise kernel.Refused("0: (95) exit\nR0 !read_ok\nprocessed 1 insns\n")

    monkeypatch.setattr(kernel, "load_socket_filter", refuse)
    name, engine, reasons = choose("auto")
    engine.close()
    assert name == "ring"
    assert reasons == ["ebpf: this kernel's verifier refuses the program: R0 !read_ok"]


@needs_root
def test_a_foreign_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    obstacle = ebpf.EbpfEngine().obstacle()
    assert obstacle == "the program is not built for this machine (s390x)"


@needs_root
def test_without_the_capability_the_ways_to_grant_it_are_named() -> None:
    drop = ["setpriv", "--bounding-set=-bpf,-sys_admin", "--inh-caps=-bpf,-sys_admin"]
    done = subprocess.run(
        [*drop, sys.executable, "-m", "wakizashi.probe", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("  ebpf"))
    for word in (
        "no: CAP_BPF is missing",
        "cap_net_raw,cap_bpf+ep",
        "AmbientCapabilities=",
        "BPF]",
    ):
        assert word in line
    assert "  ring   usable, chosen\n" in done.stdout


@needs_root
def test_a_capability_that_is_there_and_counts_for_nothing_is_not_called_missing() -> None:
    """To add it once more, as the other message says, would not help."""
    root_of_nothing = ["unshare", "--user", "--map-root-user", "--net"]
    done = subprocess.run(
        [*root_of_nothing, sys.executable, "-m", "wakizashi.probe", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("  ebpf"))
    for word in ("although this process has CAP_BPF", "seccomp", "hostUsers: false"):
        assert word in line
    assert "missing" not in line
    assert "  ring   usable, chosen\n" in done.stdout


@needs_root
def test_the_two_capabilities_that_are_named_are_enough() -> None:
    """Others, CAP_PERFMON above all, would permit the program what it may not need."""
    keep = ["setpriv", "--bounding-set=-all,+net_raw,+bpf", "--inh-caps=-all"]
    done = subprocess.run(
        [*keep, sys.executable, "-m", "wakizashi.probe", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "  ebpf   usable, chosen\n" in done.stdout


@needs_root
def test_a_swap_hands_over_everything_once() -> None:
    packet = (
        bytes(14) + b"\x45\0\0\x32" + bytes(5) + b"\x11\0\0" + bytes([10, 0, 0, 1, 10, 0, 0, 2])
    )
    traffic = Traffic()
    try:
        list(traffic.swap([1], 100))  # a test run happens on interface 1
        for _ in range(5):
            kernel.test_run(traffic.programs["ip"], packet + bytes(30), 1)
        key = bytes([10, 0, 0, 1, 10, 0, 0, 2])
        assert list(traffic.swap([1], 100)) == [(1, Kind.FLOW4, key, Tally(5, 5 * 50))]
        assert list(traffic.swap([1], 100)) == []
    finally:
        traffic.close()
