"""The floors in pyproject.toml are true: the tests pass with the lowest versions it permits.

In an environment of its own, with Python 3.11 and wheels alone, kept in ~/.cache/wakizashi until
pyproject.toml changes. The tools that test (the extra `dev`) are today's.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("redis", "mongodb", "reflection", "dashboard")
PYTHON = "3.11"
# What touches a library of others; what is left out is about files and arithmetic of our own.
TESTS = (
    "tests/unit",
    "tests/property/test_ring_filter.py",
    "tests/property/test_wire.py",
    "tests/contract/test_backends.py",
    "tests/contract/test_engines.py",
    "tests/live/test_dashboard.py",
)
# It is about the versions that are locked.
NOT_OURS = "tests/unit/test_supply.py"


def uv(*arguments: str) -> str:
    """Runs uv; without Python 3.11 or the package index the test is skipped, or fails in CI."""
    command = [sys.executable, "-m", "uv", "--no-config", "--no-python-downloads", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    # uv's 1 is "there is no such set of versions", 2 is all that hinders it to look.
    if done.returncode == 2 and not os.environ.get("CI"):
        pytest.skip(f"uv {' '.join(arguments[:2])}: {done.stderr.strip()[-500:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment() -> Path:
    """The environment's folder, made if it is not there."""
    key = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + sys.version.encode())
    folder = Path.home() / ".cache/wakizashi" / f"lowest-{key.hexdigest()[:16]}"
    if not folder.exists():
        made = folder.with_name(f"{folder.name}.{os.getpid()}")
        floors, extras = made / "floors.txt", [f"--extra={name}" for name in EXTRAS]
        uv("venv", "--quiet", "--relocatable", "--python", PYTHON, str(made))
        wheels = ("--quiet", "--only-binary", ":all:", "--python", str(made / "bin/python"))
        lowest = ("--resolution", "lowest-direct", "--output-file", str(floors))
        uv("pip", "compile", *wheels, *lowest, *extras, "pyproject.toml")
        tools = ("--extra=dev", *extras, "--constraints", str(floors), "-r", "pyproject.toml")
        uv("pip", "install", *wheels, *tools)
        try:
            made.rename(folder)
        except OSError:  # another run was quicker
            shutil.rmtree(made)
    return folder


@pytest.mark.timeout(1200)
def test_the_lowest_versions_that_are_permitted_do() -> None:
    python = environment() / "bin/python"
    frozen = uv("pip", "freeze", "--quiet", "--python", str(python))
    here = dict(line.split("==") for line in frozen.splitlines() if "==" in line)
    stated = [*PROJECT["dependencies"]]
    stated += [line for name in EXTRAS for line in PROJECT["optional-dependencies"][name]]
    for line in stated:
        requirement = Requirement(line)
        (floor,) = (bound for bound in requirement.specifier if bound.operator == ">=")
        found = here[canonicalize_name(requirement.name)]
        assert Version(found) == Version(floor.version), f"{found} is not the floor of {line}"

    options = ("-q", "-p", "no:cacheprovider", "--tb=short", f"--ignore={NOT_OURS}")
    done = subprocess.run(
        [python, "-m", "pytest", *TESTS, *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
