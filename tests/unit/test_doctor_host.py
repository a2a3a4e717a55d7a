"""What the doctor reads of the host: kernel, capabilities, memory, offloads, clock, ports."""

import ctypes
import os
import socket
import struct
from pathlib import Path

import pytest

from wakizashi.doctor import clock, kernel, listening, memory, offloads
from wakizashi.doctor.finding import Verdict


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("release", "number"),
    [("6.1.0-13-amd64", (6, 1)), ("5.10", (5, 10)), ("6.18.44-x", (6, 18)), ("odd", (0, 0))],
)
def test_version(release: str, number: tuple[int, int]) -> None:
    assert kernel.version(release) == number


def test_capabilities_of_a_process() -> None:
    bits = 1 << kernel.NET_RAW | 1 << kernel.BPF
    status = f"Name:\tprobe\nCapPrm:\tffffffffffffffff\nCapEff:\t{bits:016x}\n"
    assert kernel.effective(status) == {kernel.NET_RAW, kernel.BPF}
    assert kernel.effective("CapEff:\t0000000000000000\n") == frozenset()
    assert kernel.effective("") == frozenset()
    assert kernel.held() == kernel.effective(Path("/proc/self/status").read_text())


def test_what_an_administrator_took_away(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        sys__kernel__security__lockdown="none integrity [confidentiality]\n",
        proc__sys__net__core__bpf_jit_enable="0\n",
    )
    found = list(kernel.look_kernel("6.1.0", "x86_64", root=root))
    assert [f.verdict for f in found] == [Verdict.OK, Verdict.NOTE, Verdict.NOTE]
    write(
        tmp_path,
        sys__kernel__security__lockdown="none [integrity] confidentiality\n",
        proc__sys__net__core__bpf_jit_enable="1\n",
    )
    assert len(list(kernel.look_kernel("6.1.0", "x86_64", root=root))) == 1


# -- memory ----------------------------------------------------------------------------------


def test_memory_is_that_of_the_tightest_control_group(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        proc__meminfo="MemTotal: 9 kB\nMemAvailable:    4096 kB\n",
        proc__self__cgroup="0::/a/b\n",
        proc__sys__net__core__rmem_max="212992\n",
    )
    asked = memory.ask(root)
    assert (asked.available, asked.socket_buffer, asked.options) == (4096 * 1024, 212992, None)
    group = tmp_path / "sys/fs/cgroup/a"
    (group / "b").mkdir(parents=True)
    (group / "b/memory.max").write_text("max\n")
    (group / "b/memory.current").write_text("1000\n")
    assert memory.ask(root).available == 4096 * 1024
    (group / "memory.max").write_text("3000\n")
    (group / "memory.current").write_text("1000\n")
    assert memory.ask(root).available == 2000


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (2**20, "1 MiB"), (32 * 2**20, "32 MiB"),
     (1500 * 2**20, "1.46 GiB"), (5000 * 2**30, "5000 GiB"), (None, "an unknown number of bytes")],
)  # fmt: skip
def test_sizes(value: int | None, text: str) -> None:
    assert memory.size(value) == text


# -- offloads --------------------------------------------------------------------------------


def test_devices_below_vlans() -> None:
    config = (
        "VLAN Dev name    | VLAN ID\n"
        "Name-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n"
        "eth0.100       | 100  | eth0\n"
        "bond0.7        | 7  | bond0\n"
    )
    assert offloads.carriers(config) == {"eth0", "bond0"}
    assert offloads.carriers("") == frozenset()


def test_loopback_has_what_ethtool_says() -> None:
    assert {"gro", "tso", "gso"} >= offloads.features("lo") - {"lro", "rx-vlan"}
    assert offloads.mtu("lo") > 1000
    for ask in (offloads.features, offloads.mtu):
        with pytest.raises(OSError, match="No such device"):
            ask("no-such-device")


def test_many_devices_are_one_line() -> None:
    found = offloads.look({f"veth{n}": frozenset({"gro"}) for n in range(200)}, frozenset())
    (line,) = found
    assert line.text.startswith("veth0, veth1, veth2, veth3, veth4, veth5 and 194 more: gro")


# -- clock -----------------------------------------------------------------------------------


def test_the_kernel_tells_of_its_clock() -> None:
    asked = clock.ask_kernel()
    assert 0 <= asked.most_error_seconds <= 16.1  # the kernel's bound, in µs


def test_what_a_call_of_adjtimex_says() -> None:
    assert clock.kernel_clock(5, 16_000_000) == clock.KernelClock(False, 16.0)
    assert clock.kernel_clock(0, 1_500) == clock.KernelClock(True, 0.0015)
    assert clock.kernel_clock(1, 0).synchronised  # a leap second is to come


def test_a_structure_as_the_kernel_has_it() -> None:
    # include/uapi/linux/timex.h on a 64-bit machine; on a 32-bit one longs have 4 bytes
    assert ctypes.sizeof(clock._Timex) == (208 if struct.calcsize("l") == 8 else 128)
    assert clock._Timex.status.offset == (40 if struct.calcsize("l") == 8 else 20)


def test_skew_is_known_to_half_of_the_round_trip() -> None:
    assert clock.measured(100.0, 100.5, 107.25) == clock.Skew(7.0, 0.25)
    behind, ahead = (clock.look_skew(clock.Skew(s, 0.1), 30, "c") for s in (7.0, -7.0))
    assert behind.text.startswith("7.000 s behind c, give or take 0.100 s")
    assert ahead.text.startswith("7.000 s ahead of c")


# -- ports -----------------------------------------------------------------------------------


def test_who_listens_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        assert listening.listener(number) == os.getpid()
        (found,) = listening.look(listening.Port("port", "0.0.0.0", number, number))
        assert f"(process {os.getpid()})" in found.text
    assert listening.listener(number) is None


def test_a_connection_that_outlives_its_listener_does_not_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", number))
        accepted, _ = server.accept()
    with client, accepted:
        assert listening.listener(number) is None
        (found,) = listening.look(listening.Port("port", "127.0.0.1", number, number))
        assert found.verdict is Verdict.OK  # as daemons bind, with SO_REUSEADDR


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["/venv/bin/python3.11", "/venv/bin/center", "-c", "x"], "center"),
        (["/opt/center"], "center"),
        (["python3", "-m", "wakizashi.center", "-c"], "wakizashi.center"),
        (["python3"], "python3"),
        (["nginx: master"], "nginx: master"),
        ([], ""),
    ],
)
def test_the_name_of_a_program(tmp_path: Path, words: list[str], name: str) -> None:
    write(tmp_path, proc__7__cmdline="".join(f"{word}\0" for word in words))
    assert listening.command(7, tmp_path) == name
    assert listening.command(8, tmp_path) == ""


def test_a_port_for_root_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "bind", lambda port: PermissionError(13, "Permission denied"))
    (found,) = listening.look(listening.Port("port", "0.0.0.0", 80, 80))
    assert (found.verdict, found.text) == (
        Verdict.FAULT,
        "port: 0.0.0.0:80 is not for this user",
    )


def test_a_name_that_is_no_address_of_this_host() -> None:
    (found,) = listening.look(listening.Port("port", "2001:db8::1", 10080, 10080))
    assert found.verdict is Verdict.FAULT
    assert "[2001:db8::1]:10080" in found.text
