"""What is sent, and the two senders: trafgen at its top rate, ``paced`` at a steady one.

Why not ``trafgen --rate``: it sends a whole second's packets at its top rate and
then sleeps for the rest of that second (``shaper_delay()`` in trafgen.c; 100,000
packets a second came as 400,000 for 0.25 s), so a tool would still meet the top
rate. ``--gap`` sleeps after each packet, which costs 15 µs of CPU a packet.
"""

import random
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.capture import paced
from bench.capture.lab import SENDER, SENDER_MAC, Lab, Program, wait_for
from bench.capture.results import TOP, BenchError, Case

GENERATOR_CPU = 0
_RECEIVER_MAC = "02:00:00:00:00:03"
"""Nobody's: the stack drops a frame for another host right behind the taps, in 1.3 µs a packet
in all; with the device's own address it looks for a route first, and it takes 2.0 µs."""
_FIRST_SOURCE = 0x0A01_0001  # 10.1.0.1
_DESTINATION = 0x0A00_0001  # 10.0.0.1
_SEED = 1
STILL_SECONDS = 0.25
_GO_BYTES = 3


def checksum(header: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def header(source: int, frame: int) -> bytes:
    """Ethernet, IPv4 and UDP of a frame of ``frame`` bytes; no UDP checksum."""
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, frame - 14, 0, 0x4000, 64, 17, 0, source, _DESTINATION)
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    ethernet = bytes.fromhex((_RECEIVER_MAC + SENDER_MAC).replace(":", "")) + b"\x08\x00"
    return ethernet + ip + struct.pack("!HHHH", 4_000, 9, frame - 34, 0)


def headers(case: Case) -> list[bytes]:
    """One header for each flow, in a random order that is always the same.

    Random, for the sake of everybody's hash tables: addresses one after another
    would find them in the cache.
    """
    sources = [_FIRST_SOURCE + index for index in range(case.flows)]
    random.Random(_SEED).shuffle(sources)
    return [header(source, case.frame) for source in sources]


def trafgen_config(case: Case) -> bytes:
    """The frames as trafgen reads them, sent one after another and round again."""
    return b"".join(
        b"{ "
        + ", ".join(f"0x{byte:02x}" for byte in head).encode()
        + f", fill(0x00, {case.frame - len(head)}) }}\n".encode()
        for head in headers(case)
    )


class Sender:
    """A generator that has read what to send and waits for :meth:`go`."""

    def __init__(self, program: Program, last: bytes) -> None:
        self.program, self._last = program, last

    def go(self) -> None:
        """Start to send."""
        stdin = self.program.popen.stdin
        assert stdin is not None  # noqa: S101 - it was started with a pipe
        stdin.write(self._last)
        stdin.close()


@contextmanager
def sender(lab: Lab, case: Case, packets: int, rate: int) -> Iterator[Sender]:
    """Start a generator up to the point where only the word is missing.

    Both read what to send from standard input and start at its end. So reading
    50,000 frames, which takes trafgen over a second, is not in the measurement.
    """
    if case.pace == TOP:
        command = ["trafgen", "--dev", SENDER, "--conf", "-", "--num", str(packets)]
        command += ["--cpus", "1", "--no-sock-mem", "--no-cpu-stats"]
        content = trafgen_config(case)
    else:
        command = [sys.executable, "-I", paced.__file__, SENDER]
        numbers = (case.frame, case.flows, packets, rate, GENERATOR_CPU)
        command += [str(number) for number in numbers]
        content = b"".join(headers(case)) + b"go\n"
    with lab.program(*command, sender=True, stdin=True) as program:
        stdin = program.popen.stdin
        assert stdin is not None  # noqa: S101 - it was started with a pipe
        try:
            stdin.write(content[:-_GO_BYTES])
            stdin.flush()
        except BrokenPipeError:
            program.popen.wait(1)
            program.check()
            raise BenchError(f"{program.name} does not read what to send") from None
        _settle(program)
        yield Sender(program, content[-_GO_BYTES:])


def _settle(program: Program) -> None:
    """Until it needs no CPU any more: it waits for the rest of its input."""

    def still() -> bool:
        program.check()
        before = program.group.seconds()
        time.sleep(STILL_SECONDS)
        return program.group.seconds() == before

    wait_for("the generator to have read its frames", still)
