"""AF_PACKET sockets (man 7 packet): what all live engines ask of them, and how they fail."""

import contextlib
import socket
import struct

from wakizashi.probe.capture import CaptureError
from wakizashi.probe.devices import ARPHRD_LOOPBACK, Device

SOL_PACKET = 263
_PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 6, 23
_STATISTICS = struct.Struct("=II")  # struct tpacket_stats: packets, drops
ETH_P_ALL = 3

NO_PRIVILEGE = (
    "CAP_NET_RAW is missing, so nothing can be captured; run as root, or grant it: "
    "`setcap cap_net_raw+ep` on the binary, `AmbientCapabilities=CAP_NET_RAW` in systemd, "
    "`securityContext.capabilities.add: [NET_RAW]` in Kubernetes"
)


def obstacle() -> str | None:
    """Why this process may not open packet sockets, with the remedy; None if it may."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError:
        return NO_PRIVILEGE
    except OSError as error:
        return f"this kernel has no packet sockets ({error.strerror})"
    return None


def refusal(device: Device, error: OSError) -> CaptureError:
    """The message for a device that can't be captured."""
    if isinstance(error, PermissionError):
        return CaptureError(f"networkDevs: {device.name}: {NO_PRIVILEGE}")
    return CaptureError(f"networkDevs: {device.name}: can't capture it: {error.strerror}")


def no_room(error: OSError) -> CaptureError:
    """The message for addresses of the center that the kernel would not take."""
    return CaptureError(
        f"centerAddr: can't tell the kernel to leave out the center's addresses: {error.strerror}; "
        "raise net.core.optmem_max, or give centerAddr a name with fewer addresses"
    )


def count_loopback_once(descriptor: socket.socket, device: Device) -> None:
    """Loopback packets pass a tap on the way out and on the way in: leave out the first.

    Raises:
        OSError: a kernel before 4.20.
    """
    if device.link_type == ARPHRD_LOOPBACK:
        descriptor.setsockopt(SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)


def drops(descriptor: socket.socket) -> int:
    """Packets the kernel could not queue since the last call."""
    with contextlib.suppress(OSError):  # the device is gone
        data = descriptor.getsockopt(SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        return int(_STATISTICS.unpack(data)[1])
    return 0
