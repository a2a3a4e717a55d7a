"""The ``ebpf`` engine: the kernel counts, the process reads the counts when a window ends.

A socket filter (``bpf/traffic.bpf.c``) on one AF_PACKET socket for each device
counts every packet in a hash map and returns 0, so no packet is queued and none
can be dropped. All devices share the map of the open window; :meth:`EbpfEngine.cut`
puts an empty one into its place and reads the old one, which nobody changes any
more. Lost is nothing: a flow the map has no room for is counted in ``OTHER``.
Decisions with losers: ``docs/decisions/0005``.
"""

import logging
import socket
from collections.abc import Collection

from wakizashi.privileges import Capability, held
from wakizashi.probe import packet_socket
from wakizashi.probe.bpf import kernel
from wakizashi.probe.bpf.traffic import MAX_INDEX, Kind, Traffic
from wakizashi.probe.capture import OTHER, CaptureError, Counts, Endpoint, Engine, Limits, Tap
from wakizashi.probe.devices import Device
from wakizashi.telemetry import Throttle

_log = logging.getLogger(__name__)

NO_PRIVILEGE = (
    "CAP_BPF is missing; run as root, or grant it together with CAP_NET_RAW: "
    "`setcap cap_net_raw,cap_bpf+ep` on the binary, `AmbientCapabilities=CAP_NET_RAW CAP_BPF` in "
    "systemd, `securityContext.capabilities.add: [NET_RAW, BPF]` in Kubernetes"
)

FORBIDDEN = (
    "bpf(2) is not permitted, although this process has CAP_BPF: a seccomp profile (in Kubernetes that "
    "of containerd before 1.7) or a security module forbids it, or the process is in a user "
    "namespace (in Kubernetes with hostUsers: false)"
)

_SO_ATTACH_BPF = 50


class EbpfEngine(Engine):
    """Packets counted in the kernel, for any number of devices.

    The endpoints are the engine's: they hold for all its taps.
    """

    rank = 10
    # Each window is a map, and the kernel asks for CAP_BPF with each that is made.
    capabilities = Engine.capabilities | {Capability.BPF}

    def __init__(self) -> None:
        self._traffic: Traffic | None = None
        self._counts: dict[int, Counts] = {}
        """By interface index, of every device watched: what was read and not yet taken."""
        self._endpoints: frozenset[Endpoint] = frozenset()
        self._max_flows = 0
        self._stale: set[int] = set()
        """Devices let go of since the open window began: it may hold some of their packets."""
        self._throttle = Throttle(_log)

    def obstacle(self) -> str | None:
        """Needs CAP_NET_RAW, CAP_BPF, and Linux 5.10: tries, by loading the programs."""
        trouble = packet_socket.obstacle() or kernel.obstacle()
        if trouble is not None:
            return trouble
        try:
            self._loaded()
        except PermissionError:
            return FORBIDDEN if held().has(Capability.BPF) else NO_PRIVILEGE
        except kernel.Refused as error:
            return f"this kernel's verifier refuses the program: {error}"
        except OSError as error:
            return f"this kernel does not take the program: {error.strerror}"
        except ValueError as error:  # a damaged installation; other engines need no object
            return str(error)
        return None

    def _loaded(self) -> Traffic:
        if self._traffic is None:
            kernel.lift_memory_limit()
            self._traffic = Traffic()
        return self._traffic

    def open(self, device: Device, limits: Limits, endpoints: Collection[Endpoint]) -> Tap:
        """Count a device, packets out as well as in, not promiscuous."""
        if not 0 < device.index <= MAX_INDEX:
            raise CaptureError(
                f"networkDevs: {device.name}: its interface index {device.index} is beyond "
                f"{MAX_INDEX}; use another engine: capture: ring"
            )
        self._max_flows = limits.max_flows
        try:
            traffic = self._loaded()
            if device.index in self._stale:
                self._swap(traffic)
            self._counts[device.index] = Counts()
            self.set_endpoints(endpoints)
            if not traffic.admit(device.index, len(self._counts), limits.max_flows):
                self._swap(traffic)
            program = traffic.programs["ethernet" if device.has_ethernet_header else "ip"]
            return EbpfTap(self, device, program)
        except OSError as error:
            self.forget(device.index)
            raise packet_socket.refusal(device, error) from error
        except kernel.Refused as error:
            self.forget(device.index)
            raise CaptureError(f"networkDevs: {device.name}: {error}") from error
        except CaptureError:
            self.forget(device.index)
            raise

    def set_endpoints(self, endpoints: Collection[Endpoint]) -> None:
        """Replace the center's endpoints for all taps; packets counted before stay counted so."""
        if self._endpoints != frozenset(endpoints):
            traffic = self._loaded()
            try:
                traffic.set_endpoints(endpoints)
                self._swap(traffic)  # a flow's relation to the endpoints is decided as it begins
            except OSError as error:
                raise packet_socket.no_room(error) from error
            self._endpoints = frozenset(endpoints)

    def cut(self) -> None:
        """End the window of all taps and read it."""
        if self._traffic is not None and self._counts:
            try:
                self._swap(self._traffic)
            except OSError as error:
                self._throttle.warning(
                    "swap",
                    f"capture: no memory in the kernel for the next window ({error.strerror}); "
                    "its flows are counted on and come with the window after it",
                )

    def _swap(self, traffic: Traffic) -> None:
        for index, kind, key, tally in traffic.swap(self._counts, self._max_flows):
            counts = self._counts.get(index)
            if counts is None:  # its tap was closed, with what it had not handed over
                continue
            if kind is Kind.OWN:
                counts.own += tally
            elif kind is Kind.NON_IP:
                counts.non_ip += tally
            else:
                counts.add(key or OTHER, tally, self._max_flows)
        self._stale.clear()

    def set_max_flows(self, max_flows: int) -> None:
        """Replace the limit of all taps: the window that the next cut begins has it."""
        self._max_flows = max_flows

    def take(self, index: int) -> Counts:
        """What was read of a device and not yet handed over."""
        counts, self._counts[index] = self._counts[index], Counts()
        return counts

    def forget(self, index: int) -> None:
        """The device's tap is closed."""
        self._counts.pop(index, None)
        self._stale.add(index)

    def close(self) -> None:
        """Let go of programs and maps."""
        if self._traffic is not None:
            self._traffic.close()
            self._traffic = None


class EbpfTap(Tap):
    """One device, one socket that never has a packet."""

    def __init__(self, engine: EbpfEngine, device: Device, program: int) -> None:
        self._engine, self._index = engine, device.index
        # Without a protocol it sees nothing until it is bound, filter and all.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program)
            packet_socket.count_loopback_once(self._socket, device)
            self._socket.bind((device.name, packet_socket.ETH_P_ALL))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> None:
        """There is nothing to wait for."""

    def pump(self, budget: int) -> bool:
        """There is nothing to do: the kernel counts."""
        return False

    def take(self) -> Counts:
        """Counts up to the engine's last cut; nothing is ever dropped."""
        return self._engine.take(self._index)

    def set_endpoints(self, endpoints: Collection[Endpoint]) -> None:
        """Replace the center's endpoints, for all taps of the engine."""
        self._engine.set_endpoints(endpoints)

    def set_max_flows(self, max_flows: int) -> None:
        """Replace the limit, for all taps of the engine."""
        self._engine.set_max_flows(max_flows)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._engine.forget(self._index)
