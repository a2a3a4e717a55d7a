"""``python -m bench.ebpf_program``: nanoseconds a packet of the program, beside an empty one.

By BPF_PROG_TEST_RUN, all in one run: the best of several averages over a million
packets of one flow, in a map that holds FLOWS of them. Root.
"""

import struct
import sys

from wakizashi.errors import EXIT_RUNTIME
from wakizashi.probe.bpf import kernel
from wakizashi.probe.bpf.program import Object
from wakizashi.probe.bpf.traffic import Traffic

FLOWS = 1_024
RUNS, REPEAT = 7, 1_000_000
_ETHERNET = bytes(12)
_TEST_RUN_TAKES = bytes(14)
"""What the kernel takes off the start of a test packet before a socket filter sees it."""


def packet4(number: int) -> bytes:
    """64 bytes of UDP over IPv4 from the ``number``-th address."""
    head = struct.pack("!BBHHHBBHII", 0x45, 0, 50, 0, 0, 64, 17, 0, 0x0A010000 + number, 0x0A020001)
    return _ETHERNET + b"\x08\x00" + head + bytes(30)


def packet6(number: int) -> bytes:
    """84 bytes of UDP over IPv6 from the ``number``-th address."""
    addresses = (0xFD << 120 | number).to_bytes(16) + (0xFD << 120).to_bytes(16)
    return _ETHERNET + b"\x86\xdd\x60\0\0\0\0\x1e\x11\x40" + addresses + bytes(30)


def best(program: int, data: bytes) -> int:
    """Nanoseconds a run."""
    return min(kernel.test_run(program, _TEST_RUN_TAKES + data, REPEAT)[1] for _ in range(RUNS))


def main() -> None:
    """Measure and print."""
    try:
        traffic = Traffic()
    except OSError as error:
        sys.stderr.write(f"bench.ebpf_program: {error.strerror}; run it as root\n")
        sys.exit(EXIT_RUNTIME)
    code = Object()
    empty = kernel.load_socket_filter(code.program("empty", {}), code.license)
    for _ in traffic.swap([1], 2 * FLOWS):
        pass
    for make in (packet4, packet6):
        for number in range(FLOWS):
            kernel.test_run(traffic.programs["ethernet"], _TEST_RUN_TAKES + make(number), 1)
    floor = best(empty, packet4(7))
    sys.stdout.write(f"{'empty':<10} {floor:>4} ns\n")
    for name, data in (("IPv4", packet4(7)), ("IPv6", packet6(7))):
        took = best(traffic.programs["ethernet"], data)
        sys.stdout.write(f"{name:<10} {took:>4} ns  {took / floor:.2f} of empty\n")
    traffic.close()


if __name__ == "__main__":
    main()
