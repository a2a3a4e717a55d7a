"""A packet socket whose filter takes nothing: what the kernel's tap costs at all.

Nothing can be captured with AF_PACKET for less, so it is what to compare the engine
``ebpf`` with. Run as a program of its own: ``python empty_tap.py DEVICE``.
"""

import ctypes
import signal
import socket
import struct
import sys
from pathlib import Path

_ETH_P_ALL, _SO_ATTACH_FILTER = 3, 26
_RETURN_NOTHING = struct.pack("=HBBI", 0x06, 0, 0, 0)


def passed(device: str) -> int:
    """Packets the device has received, in the namespace of this process."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == device:
            return int(numbers.split()[1])
    raise SystemExit(f"no device {device}")


def main(device: str) -> None:
    """Tap until SIGTERM, then print how many packets passed meanwhile."""
    stop = {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as tap:
        code = ctypes.create_string_buffer(_RETURN_NOTHING, len(_RETURN_NOTHING))
        program = struct.pack("@HP", 1, ctypes.addressof(code))
        tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        before = passed(device)
        tap.bind((device, _ETH_P_ALL))
        sys.stdout.write("tapping\n")
        sys.stdout.flush()
        signal.sigwait(stop)
        sys.stdout.write(f"{passed(device) - before} packets passed\n")


if __name__ == "__main__":
    main(sys.argv[1])
