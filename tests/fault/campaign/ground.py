"""The namespaces of a run, the pairs that join them, and calls made from within them."""

import contextlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tests.e2e.lab import run, wait_for
from tests.fault.campaign.packets import ADDRESSES
from tests.namespaces import enter

HOSTS = ("a", "b")
CENTERS = ("c1", "c2", "c3")
HUB = "hub"
HUB_ADDRESS = "10.78.0.1"
MANAGEMENT = {
    HUB: HUB_ADDRESS,
    **{name: f"10.78.0.1{n}" for n, name in enumerate(HOSTS)},
    **{name: f"10.78.0.2{n}" for n, name in enumerate(CENTERS)},
}
TRAFFIC, TO_CENTER = "traf0", "mgmt0"
"""The devices of a host."""

# Both ends have one hardware address and do not ask for it: no neighbour table has to be kept.
_TRAFFIC_MAC = "02:77:00:00:00:01"

Result = TypeVar("Result")


class Ground:
    """The network of one run. Names begin with ``prefix``, so that runs go side by side."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self.passed_before = 0
        """Bytes that passed devices ``traf0`` of host a that are gone, both ways."""

    def name(self, node: str) -> str:
        """The namespace of a node."""
        return f"{self._prefix}{node}"

    def up(self) -> None:
        """Create it all, silent: no neighbour discovery, no multicast reports."""
        for node in MANAGEMENT:
            run("ip", "netns", "add", self.name(node))
            self.ip(node, "link set lo up")
            self.nft(node, "add table inet quiet")
            self.nft(node, "add chain inet quiet out { type filter hook output priority 0; }")
            self.nft(node, "add rule inet quiet out meta l4proto ipv6-icmp drop")
            self.nft(node, "add table inet fault")
            self.nft(node, "add chain inet fault in { type filter hook input priority 0; }")
            self.nft(node, "add chain inet fault out { type filter hook output priority 0; }")
        self.ip(
            HUB,
            "link add bridge0 type bridge mcast_snooping 0",
            f"addr add {HUB_ADDRESS}/24 dev bridge0",
            "link set bridge0 up",
        )
        for node, address in MANAGEMENT.items():
            if node == HUB:
                continue
            self.sysctl(node, "net.ipv6.conf.default.disable_ipv6=1")
            self.ip(
                HUB,
                f"link add name port-{node} type veth peer name {TO_CENTER} netns {self.name(node)}",
            )
            self.ip(HUB, f"link set port-{node} up master bridge0")
            self.ip(node, f"addr add {address}/24 dev {TO_CENTER}", f"link set {TO_CENTER} up")
            self.sysctl(node, "net.ipv6.conf.default.disable_ipv6=0")
            self.sysctl(node, "net.ipv6.conf.default.addr_gen_mode=1")
            self.sysctl(node, "net.ipv6.conf.default.accept_ra=0")
        self.add_traffic_pair()

    def add_traffic_pair(self) -> None:
        """The devices that the known traffic passes."""
        peer = f"peer name {TRAFFIC} address {_TRAFFIC_MAC} netns {self.name('b')}"
        self.ip("a", f"link add name {TRAFFIC} address {_TRAFFIC_MAC} type veth {peer}")
        for node in HOSTS:
            addresses = [
                f"addr add {address}/{64 if ':' in address else 24} dev {TRAFFIC}"
                + (" nodad" if ":" in address else "")
                for address in ADDRESSES[node]
            ]
            self.ip(node, f"link set {TRAFFIC} arp off multicast off", *addresses)
        for node in HOSTS:
            self.ip(node, f"link set {TRAFFIC} up")

        def ready(node: str) -> bool:
            """The kernel gives a queue to a device some time after its carrier came."""
            shown = run("ip", "-n", self.name(node), "-o", "link", "show", "dev", TRAFFIC)
            return "noqueue" in shown and "LOWER_UP" in shown

        for node in HOSTS:
            wait_for(f"{TRAFFIC} of {node} to have a carrier and a queue", lambda n=node: ready(n))  # type: ignore[misc]  # mypy does not infer a lambda with defaults

    def remove_traffic_pair(self) -> None:
        """Nothing may be on its way."""
        self.passed_before = self.passed()
        self.ip("a", f"link del {TRAFFIC}")

    def passed(self) -> int:
        """Bytes that passed the traffic's pair, both ways, by the counters of host a's end."""
        shown = run("ip", "-n", self.name("a"), "-s", "-j", "link", "show", "dev", TRAFFIC)
        stats = json.loads(shown)[0]["stats64"]
        return self.passed_before + int(stats["rx"]["bytes"]) + int(stats["tx"]["bytes"])

    def down(self) -> None:
        """Remove the namespaces; what they hold goes with them."""
        for thread in self._threads.values():
            thread.shutdown()
        for node in MANAGEMENT:
            command = ["ip", "netns", "del", self.name(node)]
            subprocess.run(command, check=False, capture_output=True)

    def ip(self, node: str, *lines: str) -> None:
        """Run lines of ip(8) in a namespace."""
        run("ip", "-n", self.name(node), "-batch", "-", input="\n".join(lines) + "\n")

    def sysctl(self, node: str, setting: str) -> None:
        """Set one; see sysctl(8)."""
        run("nsenter", f"--net=/run/netns/{self.name(node)}", "sysctl", "-q", setting)

    def nft(self, node: str, *lines: str) -> None:
        """Run lines of nft(8) in a namespace."""
        enter_it = ("nsenter", f"--net=/run/netns/{self.name(node)}")
        run(*enter_it, "nft", "-f", "-", input="\n".join(lines) + "\n")

    @contextlib.contextmanager
    def dropping(self, node: str, *rules: tuple[str, str]) -> Iterator[None]:
        """Drop what (``in`` or ``out``, an nft match) describes at one node, for a while."""
        self.nft(node, *(f"add rule inet fault {chain} {match} drop" for chain, match in rules))
        try:
            yield
        finally:
            self.nft(node, "flush chain inet fault in", "flush chain inet fault out")

    def within(self, node: str, call: Callable[[], Result]) -> Result:
        """Call from a thread in a node's namespace."""
        if node not in self._threads:
            self._threads[node] = ThreadPoolExecutor(1, node, self._enter, (node,))
        return self._threads[node].submit(call).result()

    def _enter(self, node: str) -> None:
        descriptor = os.open(f"/run/netns/{self.name(node)}", os.O_RDONLY)
        enter(descriptor)
        os.close(descriptor)

    def get(self, node: str, url: str, data: bytes | None = None, seconds: float = 10.0) -> bytes:
        """An HTTP request from within a node's namespace.

        Raises:
            OSError: no answer, or an answer that says no.
        """

        def call() -> bytes:
            with urllib.request.urlopen(url, data, timeout=seconds) as answer:
                body: bytes = answer.read()
                return body

        return self.within(node, call)


def mount(path: Path, size: str) -> None:
    """A small filesystem that can be filled."""
    path.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "campaign", str(path))


def unmount(path: Path) -> None:
    """Let go of it, also while it is in use."""
    subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)
