"""``python paced.py DEVICE FRAME FLOWS PACKETS RATE CPU``: send at a steady rate.

In: the headers of FLOWS frames on standard input; what follows is the word to go.
Out: exactly PACKETS frames, round-robin, 256 at a time by ``sendmmsg``, asleep
in between. A batch is small against everybody's buffers, and large enough that
waking up costs little.
"""

import ctypes
import os
import socket
import sys
import time

HEADER_BYTES = 14 + 20 + 8
"""Ethernet, IPv4, UDP; the rest of a frame is zeros."""

BATCH = 256
_PACKET_QDISC_BYPASS, _SOL_PACKET = 20, 263
_SNDBUF_BYTES = 4 * 1024 * 1024


class _IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class _MsgHdr(ctypes.Structure):
    """``struct msghdr``, see sendmsg(2)."""

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_IoVec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _MMsgHdr(ctypes.Structure):
    """``struct mmsghdr``, see sendmmsg(2)."""

    _fields_ = [("header", _MsgHdr), ("sent", ctypes.c_uint)]


def main() -> None:
    """Send; the arguments are those of the module."""
    device = sys.argv[1]
    frame, count, packets, rate, cpu = (int(value) for value in sys.argv[2:7])
    os.sched_setaffinity(0, {cpu})
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
        out.bind((device, 0))
        out.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)  # as trafgen does
        out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SNDBUF_BYTES)
        content = ctypes.create_string_buffer(sys.stdin.buffer.read(count * HEADER_BYTES))
        padding = ctypes.create_string_buffer(max(1, frame - HEADER_BYTES))
        vectors = (_IoVec * (2 * count))()
        messages = (_MMsgHdr * count)()
        for index in range(count):
            vectors[2 * index] = _IoVec(
                ctypes.addressof(content) + index * HEADER_BYTES, HEADER_BYTES
            )
            vectors[2 * index + 1] = _IoVec(ctypes.addressof(padding), frame - HEADER_BYTES)
            messages[index].header.iov = ctypes.cast(
                ctypes.byref(vectors, 2 * index * ctypes.sizeof(_IoVec)), ctypes.POINTER(_IoVec)
            )
            messages[index].header.iovlen = 2
        sys.stdin.buffer.read()
        _send(libc, out.fileno(), messages, packets, rate)


def _send(
    libc: ctypes.CDLL, descriptor: int, messages: "ctypes.Array[_MMsgHdr]", packets: int, rate: int
) -> None:
    size, count = ctypes.sizeof(_MMsgHdr), len(messages)
    at = sent = 0
    started = time.monotonic()
    while sent < packets:
        due = min(BATCH, packets - sent)
        while due:
            number = min(due, count - at)
            done = libc.sendmmsg(descriptor, ctypes.byref(messages, at * size), number, 0)
            if done < 0:
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error))
            at = (at + done) % count
            due -= done
            sent += done
        ahead = started + sent / rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)


if __name__ == "__main__":
    main()
