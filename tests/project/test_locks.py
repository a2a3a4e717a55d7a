"""The locks hold what pyproject.toml asks for, for every environment, and nothing else."""

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supply import lock
from supply.lock import ENVIRONMENTS, FOLDER, LOCKS, MACHINES, PYTHONS, Environment, Pin

NAMES = pytest.mark.parametrize("name", sorted(LOCKS))
STATED = "pyproject.toml"


def of(name: str, here: Environment) -> dict[str, Pin]:
    """What an installation in this environment takes from a lock, one version of each."""
    found: dict[str, Pin] = {}
    for pins in lock.pins(name).values():
        for pin in pins:
            if here.holds(pin.requirement.marker):
                # Releases of one Python may differ in what they need, never in its version.
                assert found.setdefault(pin.name, pin).version == pin.version
    return found


def test_the_locks_are_for_what_the_project_says_it_runs_on() -> None:
    assert PYTHONS == ((3, 11), (3, 12), (3, 13))
    assert MACHINES == ("x86_64", "aarch64")
    assert {path.stem for path in FOLDER.iterdir()} == set(LOCKS)


def test_every_lock_is_documented() -> None:
    text = (FOLDER.parent / "docs/supply-chain.md").read_text()
    assert set(re.findall(r"^\| `(\w+)\.txt` \|", text, re.MULTILINE)) == set(LOCKS)


@NAMES
@pytest.mark.parametrize("here", ENVIRONMENTS, ids=str)
def test_each_direct_dependency_is_locked_within_its_bounds(name: str, here: Environment) -> None:
    pins = of(name, here)
    direct = [Requirement(line) for line in LOCKS[name].direct()]
    assert direct
    for stated in direct:
        pin = pins[canonicalize_name(stated.name)]
        assert stated.specifier.contains(pin.version), f"{pin.requirement} is not {stated}"
        assert STATED in pin.via


@NAMES
def test_nothing_is_locked_that_nothing_asks_for(name: str) -> None:
    pins = lock.pins(name)
    direct = {str(canonicalize_name(Requirement(line).name)) for line in LOCKS[name].direct()}
    for pin in (pin for same in pins.values() for pin in same):
        assert pin.via, f"{pin.name}: nothing asks for it"
        assert set(pin.via) <= {STATED, *pins}, f"{pin.name}: who asks for it is not there"
        assert (STATED in pin.via) == (pin.name in direct)
    needed, more = set[str](), set[str](direct)
    while more:
        needed |= more
        more = {key for key, (pin, *_) in pins.items() if needed & set(pin.via)} - needed
    assert set(pins) == needed  # a ring of what asks for one another is nobody's need


@NAMES
def test_every_line_has_hashes_and_no_address(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()
    assert not re.search(r"://|^ *-[^-]|^--|--(?!hash=sha256:[0-9a-f]{64}\b)", text, re.MULTILINE)
    pins = list(lock.read(text))
    # Read by a second way: no line escapes the first.
    lines = [line for line in text.splitlines() if not re.match(r" |#", line)]
    assert len(lines) == len(pins)
    for line, pin in zip(lines, pins, strict=True):
        assert re.match(r"[a-z0-9.-]+==[\w.]+(; [^\\]+)? \\$", line), line
        assert pin.hashes


@NAMES
def test_a_lock_is_written_as_it_is_read(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()
    assert lock.write(name, list(lock.read(text))) == text


@pytest.mark.parametrize(
    ("name", "absent"), [("probe", ["influxdb"]), ("center", ["scapy", "numpy"])]
)
def test_an_image_is_without_what_it_never_imports(name: str, absent: list[str]) -> None:
    assert not set(absent) & set(lock.pins(name))


def test_what_is_shipped_twice_is_of_one_version() -> None:
    binary = lock.pins("binary")
    for name in ("probe", "center"):
        for key, pins in lock.pins(name).items():
            assert {pin.version for pin in pins} == {pin.version for pin in binary[key]}, key


def test_the_center_is_locked_with_all_that_its_configuration_can_ask_for() -> None:
    extras = lock.PROJECT["project"]["optional-dependencies"]
    for extra in ("redis", "mongodb", "reflection"):
        for name in ("center", "binary"):
            assert {Requirement(line).name for line in extras[extra]} <= set(lock.pins(name))
