"""What of all that is offered gets into a lock."""

import pytest
from packaging.requirements import Requirement

from supply import lock
from supply.lock import Pin


def wheel(tags: str, digest: str) -> dict[str, object]:
    return {"url": f"x:/native-1.0-{tags}.whl", "hashes": {"sha256": digest}}


def offer(*tags: str) -> list[dict[str, object]]:
    return [{"name": "Native", "version": "1.0", "wheels": [wheel(name, name) for name in tags]}]


def pin(line: str) -> Pin:
    return Pin(Requirement(line), (), ("pyproject.toml",))


FITTING = tuple(
    f"cp3{minor}-cp3{minor}-manylinux_2_17_{machine}"
    for minor in (11, 12, 13)
    for machine in ("x86_64", "aarch64")
)


def test_only_wheels_that_an_environment_can_install_are_locked() -> None:
    foreign = (
        "cp311-cp311-win_amd64",
        "cp311-cp311-macosx_11_0_universal2",
        "cp311-cp311-musllinux_1_2_x86_64",
        "cp311-cp311-manylinux_2_17_i686",
        "cp311-cp311-manylinux_2_39_x86_64",  # asks for a newer C library than Debian 12's
        "cp310-cp310-manylinux_2_17_x86_64",
        "cp314-cp314-manylinux_2_17_x86_64",
    )
    assert lock.fitting(pin("native==1.0"), offer(*FITTING, *foreign)) == set(FITTING)


def test_a_marker_narrows_what_is_locked() -> None:
    found = lock.fitting(pin("native==1.0; python_version < '3.12'"), offer(*FITTING))
    assert found == set(FITTING[:2])


def test_a_distribution_without_a_wheel_for_an_environment_is_told() -> None:
    with pytest.raises(SystemExit, match=r"native==1.0 has no wheel for Python 3.13 on aarch64"):
        lock.fitting(pin("native==1.0"), offer(*FITTING[:-1]))


def test_what_a_release_of_a_python_needs_is_kept() -> None:
    """Debian 12's is 3.11.2, and what redis needs up to 3.11.2 is not needed by 3.11.3."""
    needed = pin("async-timeout==5.0.1; python_full_version < '3.11.3'")
    assert {here.python for here in needed.environments()} == {(3, 11)}
    assert not pin("colorama==1.0; sys_platform == 'win32'").environments()
