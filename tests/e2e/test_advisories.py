"""No vulnerability is known in what is locked, where somebody can be asked."""

import subprocess
import sys
from pathlib import Path

import pytest

from supply.audit import UNANSWERED

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_no_vulnerability_is_known_in_what_is_locked() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "supply.audit"], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode == UNANSWERED:
        # In CI too: a mirror of packages has no advisories, and nothing here can be installed that
        # would have them.
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
