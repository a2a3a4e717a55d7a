"""A short campaign: a few schedules in which every fault strikes at least once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fault.campaign.daemons import FAKETIME, REPOSITORY
from tests.fault.campaign.schedule import covering

PROGRAMS = ("influxd", "haproxy", "ip", "nft", "nsenter", "mount")
JOBS = 3


@pytest.mark.timeout(600)
def test_short_campaign_adds_up() -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not Path(FAKETIME).exists():
        missing.append("faketime")
    if os.geteuid() != 0 or missing:
        reason = f"needs root and {', '.join(missing) or 'nothing else'}"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    seeds = [str(seed) for seed in covering()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault.campaign", "--jobs", str(JOBS), *seeds],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(seeds)} of {len(seeds)} runs add up" in done.stdout, done.stdout
