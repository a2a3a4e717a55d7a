"""The images, built for real and started as a container runtime starts them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.images import BUILT, DATA, NAMES, Image, Runtime
from tests.e2e.lab import Lab, lab, require, run
from tests.e2e.test_acceptance import FILES, check, fetch_all, next_windows, quiet_stop
from wakizashi import __version__

pytestmark = pytest.mark.timeout(300)

PROBE_CAPABILITIES = ("NET_RAW", "BPF")


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Lab]:
    """A lab with nginx and InfluxDB running."""
    require("nginx", "influxd", "tcpdump", "curl", "nsenter", "crun")
    with lab(tmp_path) as made:
        made.nginx(FILES)
        made.influxd()
        yield made


@pytest.mark.parametrize(
    ("runtime", "capture"),
    [
        (Runtime(PROBE_CAPABILITIES), "ebpf"),
        (Runtime(PROBE_CAPABILITIES, user=10001, ambient=True), "scapy"),
    ],
    ids=["root-without-all-else", "another-user-with-ambient-capabilities"],
)
def test_one_request_is_in_influxdb_to_the_byte(
    ground: Lab, images: dict[str, Image], runtime: Runtime, capture: str
) -> None:
    for name, how in (("probe", runtime), ("center", Runtime())):
        data = ground.folder / {"probe": "dump", "center": "recovery"}[name]
        data.mkdir(mode=0o777)
        data.chmod(0o777)  # an emptyDir
        ground.programs[name] = how.program(images[name], data, ground.folder)
    center = ground.start_center(recoverDir=DATA)
    ground.record()
    probe = ground.start_probe(dumpDir=DATA, capture=capture)
    fetch_all(ground)
    next_windows(ground, 2)
    quiet_stop(ground, probe)
    check(ground)
    assert center.stop() == 0
