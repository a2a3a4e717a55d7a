"""A small fleet, as real probes are, on a center that is restarted under it."""

import os
import resource

import pytest

from bench.center.paced import Plan, paced
from bench.center.results import NOTHING, SQLITE, Case

PROBES = 300

pytestmark = pytest.mark.skipif(
    "CI" not in os.environ and resource.getrlimit(resource.RLIMIT_NOFILE)[1] < PROBES + 500,
    reason="the fleet needs more descriptors than are permitted (ulimit -Hn)",
)


@pytest.mark.parametrize("backend", [NOTHING, SQLITE])
def test_a_restart_loses_nothing_and_all_are_back(backend: str) -> None:
    case = Case(backend, PROBES, 20)
    fleet = paced(Plan(case, interval=3, spread=1.5, seconds=9, restart_at=4.0))
    assert not fleet.fault
    assert fleet.closed == 3 * PROBES
    assert fleet.stored == fleet.closed and fleet.lost == 0
    assert fleet.restarted_at and fleet.back_seconds > 0
    assert fleet.connections >= PROBES  # new ones: each of them lost the one that it had
