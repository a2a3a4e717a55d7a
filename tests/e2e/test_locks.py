"""`make lock` changes nothing: the locks in the tree are what it makes of pyproject.toml."""

import os

import pytest

from supply import lock


@pytest.mark.parametrize("name", sorted(lock.LOCKS))
def test_resolving_again_gives_the_same(name: str) -> None:
    try:
        again = {str(pin.requirement): pin for pin in lock.resolve(name, upgrade=False)}
    except SystemExit as ended:
        if ended.code == 2 and not os.environ.get("CI"):
            pytest.skip("uv can't look: the package index does not answer")
        raise
    here = {str(pin.requirement): pin for same in lock.pins(name).values() for pin in same}
    assert set(here) == set(again), "run `make lock`"
    for line, pin in here.items():
        assert pin.via == again[line].via, "run `make lock`"
        # Wheels may be added to a version; one that is gone or replaced is a reason to look.
        assert set(pin.hashes) <= set(again[line].hashes), line
