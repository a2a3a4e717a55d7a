"""What a card does to packets before they are counted: ``SIOCETHTOOL``, which anybody may ask.

With GRO, LRO, TSO or GSO many packets of a connection come as one; their size is that of
what was counted, headers of the parts left out, as the device's own counters have it or not
(``docs/audit.md``, ``counters``). With rx-vlan-offload the device's counters lack the tag.
"""

import ctypes
import errno
import fcntl
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wakizashi.doctor.finding import Finding, note, ok

_SIOCETHTOOL = 0x8946
_SIOCGIFMTU = 0x8921
# Commands of include/uapi/linux/ethtool.h, each answered with one number.
_GTSO, _GGSO, _GFLAGS, _GGRO = 0x1E, 0x23, 0x25, 0x2B
_FLAG_RXVLAN, _FLAG_LRO = 1 << 8, 1 << 15

VLANS = Path("/proc/thread-self/net/vlan/config")
"""The VLAN devices of this thread's network namespace, ``NAME | TAG | DEVICE`` a line."""


def features(name: str) -> frozenset[str]:
    """The offloads of a device that are on, of ``gro, lro, tso, gso, rx-vlan``.

    Raises:
        OSError: the device is gone.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        found = {"gro": _ask(asking, name, _GGRO), "tso": _ask(asking, name, _GTSO)}
        found["gso"] = _ask(asking, name, _GGSO)
        flags = _ask(asking, name, _GFLAGS)
    found |= {"lro": flags & _FLAG_LRO, "rx-vlan": flags & _FLAG_RXVLAN}
    return frozenset(feature for feature, value in found.items() if value)


def mtu(name: str) -> int:
    """Bytes. Raises OSError where the device is gone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking, _SIOCGIFMTU, struct.pack("=16si20x", name.encode(), 0))
    value: int = struct.unpack("=16si20x", answer)[1]
    return value


def _ask(asking: socket.socket, name: str, command: int) -> int:
    value = ctypes.create_string_buffer(struct.pack("=II", command, 0), 8)
    # struct ifreq: a name, and the address of what is asked
    request = struct.pack("@16sP16x", name.encode(), ctypes.addressof(value))
    try:
        fcntl.ioctl(asking, _SIOCETHTOOL, request)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise
    answer: int = struct.unpack("=II", value.raw)[1]
    return answer


def carriers(config: str) -> frozenset[str]:
    """The devices that VLAN devices sit on, from the text of :data:`VLANS`."""
    rows = [line.split("|") for line in config.splitlines()]
    return frozenset(row[2].strip() for row in rows if len(row) == 3)


def look(found: Mapping[str, frozenset[str]], carrying: frozenset[str]) -> Iterator[Finding]:
    """What the offloads of the watched devices mean for the counts.

    Args:
        found: the offloads by device.
        carrying: devices that VLANs are known to pass.
    """
    merging: dict[str, list[str]] = {}
    for name, on in found.items():
        shown = "+".join(feature for feature in ("gro", "lro", "tso", "gso") if feature in on)
        merging.setdefault(shown, []).append(name)
    for shown, names in merging.items():
        if shown:
            yield ok(
                "offloads",
                f"{listed(names)}: {shown}: segments count as one packet, bytes are right",
            )
        else:
            yield ok("offloads", f"{listed(names)}: each packet counts as it is on the wire")
    stripping = [name for name, on in found.items() if "rx-vlan" in on and name in carrying]
    if stripping:
        yield note(
            "offloads",
            f"{listed(stripping)}: rx-vlan-offload is on: the device's counters lack 4 bytes of "
            "each tagged packet that comes in, so more than all of it is counted",
            f"if that matters: ethtool -K {stripping[0]} rxvlan off",
        )


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names, not too many of them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
