"""Exact under load: ten million packets at the generator's top rate, a cut every 100 ms.

No speed is asserted: whatever the rate, packets counted plus packets the kernel reports as
dropped are the packets that passed.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.namespaces import device_named, ip, pair
from wakizashi.model import Tally
from wakizashi.probe.capture import Limits, load_engine

PACKETS = 10_000_000
SOURCES = 1_024
FRAME_BYTES = 60
CUT_SECONDS = 0.1

pytestmark = [pytest.mark.usefixtures("namespace"), pytest.mark.timeout(300)]


def trafgen(folder: Path, device: str) -> subprocess.Popen[bytes]:
    """A generator of frames from SOURCES addresses, one after another and round again."""
    if shutil.which("trafgen", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        reason = "needs trafgen (Debian's netsniff-ng)"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    head = "0x02, 0, 0, 0, 0, 3, 0x02, 0, 0, 0, 0, 1, 0x08, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0"
    tail = f"10, 2, 0, 1, 0, 5, 0, 9, 0, 26, 0, 0, fill(0, {FRAME_BYTES - 42})"
    config = folder / "frames"
    config.write_text(
        "\n".join(f"{{ {head}, 10, 1, {n >> 8}, {n & 255}, {tail} }}" for n in range(SOURCES))
    )
    command = ["trafgen", "--dev", device, "--conf", str(config), "--num", str(PACKETS)]
    return subprocess.Popen(
        [*command, "--cpus", "1", "--no-sock-mem"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"},
    )


@pytest.mark.parametrize("name", ["ebpf", "ring"])
def test_ten_million_packets(name: str, tmp_path: Path) -> None:
    pair()
    ip("link", "set", "lo", "up")
    engine = load_engine(name)
    assert engine.obstacle() is None
    before = device_named("eth0")
    tap = engine.open(before, Limits(65_536), [])
    counted, dropped, cuts = Tally(), 0, 0
    flows: dict[bytes, int] = {}
    generator = trafgen(tmp_path, "veth01")
    try:
        ended = False
        due = time.monotonic()
        while not ended:
            ended = generator.poll() is not None  # what it sent is read once more below
            due += CUT_SECONDS
            while time.monotonic() < due:
                tap.pump(engine.burst)
                time.sleep(max(0.0, min(engine.rest_seconds or 1.0, due - time.monotonic())))
            while tap.pump(engine.burst):
                pass
            engine.cut()
            counts = tap.take()
            cuts += 1
            counted += counts.counted
            dropped += counts.dropped_packets
            assert counts.own == counts.non_ip == Tally()
            for key, tally in counts.flows.items():
                flows[key] = flows.get(key, 0) + tally.packets
    finally:
        generator.kill()
        generator.wait()
        tap.close()
        engine.close()
    passed = device_named("eth0").passed - before.passed
    assert passed == Tally(PACKETS, PACKETS * FRAME_BYTES)
    assert counted.packets + dropped == PACKETS
    assert counted.bytes == counted.packets * FRAME_BYTES
    assert len(flows) == SOURCES
    assert cuts > 20
    if name == "ebpf":
        assert dropped == 0
        assert max(flows.values()) - min(flows.values()) <= 1, "each source sent the same"
