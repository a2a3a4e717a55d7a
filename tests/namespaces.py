"""Network namespaces for tests: a pytest plugin, loaded by ``tests/conftest.py``."""

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wakizashi.probe.devices import Device, Netlink

CLONE_NEWNET = 0x40000000
DEADLINE_SECONDS = 10.0


def enter(descriptor: int) -> None:
    """Move this thread into a network namespace (os.setns() comes with Python 3.12)."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture
def namespace() -> Iterator[None]:
    """A fresh network namespace that this thread is in."""
    if os.geteuid() != 0:
        if "CI" in os.environ:
            pytest.fail("network namespaces need root")
        pytest.skip("network namespaces need root")
    name = f"wakizashi-{os.getpid()}-{time.monotonic_ns()}"
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    ip("netns", "add", name)
    try:
        target = os.open(f"/run/netns/{name}", os.O_RDONLY)
        enter(target)
        os.close(target)
        yield
    finally:
        enter(home)
        os.close(home)
        ip("netns", "del", name)


def ip(*words: str) -> str:
    """Run ip(8) in the namespace that this thread is in; return what it says."""
    done = subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10, text=True)
    return done.stdout


def wait(condition: Callable[[], bool], what: str) -> None:
    """Until the condition holds, or the deadline passes."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)  # the poll's interval


def pair() -> None:
    """A veth pair that is up and quiet: no IPv6, so nothing is sent that a test did not send."""
    ip("link", "add", "eth0", "type", "veth", "peer", "name", "veth01")
    for name in ("eth0", "veth01"):
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
        ip("link", "set", name, "up")
    # The kernel gives a queue to a device some time after its carrier came; what is sent
    # before is dropped, and no counter tells.

    def ready() -> bool:
        shown = ip("-o", "link", "show", "type", "veth").splitlines()
        return len(shown) == 2 and all("noqueue" in line and "state UP" in line for line in shown)

    wait(ready, "both ends have a carrier and a queue")


def device_named(name: str) -> Device:
    """A device of the namespace that this thread is in, and its counters now."""
    with Netlink() as netlink:
        (device,) = (d for d in netlink.snapshot().devices.values() if d.name == name)
        return device
