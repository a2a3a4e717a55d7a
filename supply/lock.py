"""Locks what images and binaries are made of: ``requirements/NAME.txt`` for each of ``LOCKS``.

In: pyproject.toml, and the versions of the lock that is there. Out: the same file with one line
for each distribution, its version, where that depends on it the Python it is for, and the SHA-256
of every wheel that one of the supported environments can install (``PYTHONS`` on ``MACHINES``).
uv resolves; what is left to do here is to leave out what no such environment installs: other
systems' packages and wheels, and source archives, since building one runs foreign code.

A version moves only when pyproject.toml asks for it, or with ``--upgrade``. So the same command
gives the same file on any day.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDER = ROOT / "requirements"

PYTHONS = tuple(
    (3, int(found[1]))
    for classifier in PROJECT["project"]["classifiers"]
    if (found := re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", classifier))
)
MACHINES = ("x86_64", "aarch64")
STATED = "pyproject.toml"  # who asks for a direct dependency
# The oldest C library among the bases that images and binaries are built on, Debian 12's.
GLIBC_MINOR = 36


@dataclass(frozen=True, slots=True)
class Lock:
    """A set of distributions that is installed as a whole."""

    what: str
    extras: tuple[str, ...] = ()
    without: tuple[str, ...] = ()  # direct dependencies that this one never imports
    builds: bool = False  # what builds the project, in place of what it runs with

    def direct(self) -> list[str]:
        """The requirements that pyproject.toml states for it."""
        project = PROJECT["project"]
        stated = PROJECT["build-system"]["requires"] if self.builds else project["dependencies"]
        for extra in self.extras:
            stated = stated + project["optional-dependencies"][extra]
        return [line for line in stated if Requirement(line).name not in self.without]


LOCKS = {
    "probe": Lock("the probe's image", without=("influxdb",)),
    "center": Lock(
        "the center's image", extras=("redis", "mongodb", "reflection"), without=("numpy", "scapy")
    ),
    "binary": Lock(
        "the environment that both binaries are bundled from",
        extras=("redis", "mongodb", "reflection", "binary"),
    ),
    "build": Lock("what builds and describes them all, and is in none", ("supply",), builds=True),
}


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python on a Linux machine, as markers and wheels know it."""

    python: tuple[int, int]
    machine: str

    def holds(self, marker: Marker | None) -> bool:
        """Whether a requirement with this marker is one here, for one of this Python's releases."""
        version = ".".join(map(str, self.python))
        return marker is None or any(
            marker.evaluate(
                {
                    "python_version": version,
                    "python_full_version": f"{version}.{release}",
                    "implementation_name": "cpython",
                    "platform_python_implementation": "CPython",
                    "sys_platform": "linux",
                    "platform_system": "Linux",
                    "os_name": "posix",
                    "platform_machine": self.machine,
                }
            )
            for release in (0, 99)
        )

    def tags(self) -> frozenset[Tag]:
        """The tags of the wheels that can be installed here."""
        names = [f"manylinux_2_{minor}" for minor in range(GLIBC_MINOR, 4, -1)]
        names += ["manylinux2014", "manylinux2010", "manylinux1", "linux"]
        platforms = [f"{name}_{self.machine}" for name in names]
        return frozenset(
            [
                *cpython_tags(self.python, platforms=platforms),
                *compatible_tags(self.python, platforms=platforms),
            ]
        )


ENVIRONMENTS = tuple(Environment(*pair) for pair in product(PYTHONS, MACHINES))


@dataclass(frozen=True, slots=True)
class Pin:
    """One line of a lock, with what follows it."""

    requirement: Requirement
    hashes: tuple[str, ...]
    via: tuple[str, ...]  # who asks for it: distributions, or pyproject.toml

    @property
    def name(self) -> str:
        """As it is compared."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The only one that the lock allows."""
        (specifier,) = self.requirement.specifier
        return specifier.version

    def environments(self) -> list[Environment]:
        """Those that this line is for."""
        return [here for here in ENVIRONMENTS if here.holds(self.requirement.marker)]


def read(text: str) -> Iterator[Pin]:
    """The lines of a lock, or of what uv writes."""
    for block in re.findall(r"^[^\s#].*(?:\n[ \t]+.*)*", text, re.MULTILINE):
        comment = " ".join(re.findall(r"^ +# ?(.*)$", block, re.MULTILINE))
        via = comment.removeprefix("via").replace(",", " ").replace("-r ", " ").split()
        yield Pin(
            Requirement(block.splitlines()[0].rstrip("\\ ")),
            tuple(sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})\b", block))),
            tuple(sorted(STATED if "/" in name else name for name in via)),
        )


def pins(name: str) -> dict[str, list[Pin]]:
    """The lines of a lock as it is in the tree, by the distribution's name."""
    found: dict[str, list[Pin]] = {}
    for pin in read((FOLDER / f"{name}.txt").read_text()):
        found.setdefault(pin.name, []).append(pin)
    return found


def write(name: str, pins: list[Pin]) -> str:
    """The text of a lock."""
    text = [f"# {name}.txt: {LOCKS[name].what}, locked.", "# Made by `make lock`; do not edit."]
    for pin in pins:
        hashes = [f"    --hash=sha256:{digest}" for digest in pin.hashes]
        text.append(" \\\n".join([str(pin.requirement), *hashes]))
        text.append("    # via " + ", ".join(pin.via))
    return "\n".join(text) + "\n"


def uv(*arguments: str) -> None:
    """Resolves with uv, from wheels alone.

    Raises:
        SystemExit: uv could not and has said why: 1 if there is no answer, 2 if it can't look.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"]
    command += ["--only-binary", ":all:", "--python-version", f"3.{min(PYTHONS)[1]}"]
    command += ["--no-config", "--no-header", *arguments]
    done = subprocess.run(command, check=False)  # noqa: S603  # no word of it is foreign
    if done.returncode:
        raise SystemExit(done.returncode)


def resolve(name: str, upgrade: bool) -> list[Pin]:
    """What a lock is to hold now.

    Raises:
        SystemExit: there is no answer, or one of the environments finds no wheel.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, chosen = Path(folder, "stated"), Path(folder, "requirements.txt")
        wheels = Path(folder, "pylock.toml")
        wanted.write_text("\n".join(LOCKS[name].direct()) + "\n")
        if not upgrade and (FOLDER / f"{name}.txt").exists():
            chosen.write_text((FOLDER / f"{name}.txt").read_text())
        uv(str(wanted), "--output-file", str(chosen))
        uv(str(chosen), "--no-deps", "--format", "pylock.toml", "--output-file", str(wheels))
        kept = [pin for pin in read(chosen.read_text()) if pin.environments()]
        offered = tomllib.loads(wheels.read_text())["packages"]
    here = {STATED, *(pin.name for pin in kept)}
    return [
        replace(
            pin,
            hashes=tuple(sorted(fitting(pin, offered))),
            via=tuple(name for name in pin.via if name in here),
        )
        for pin in kept
    ]


def fitting(pin: Pin, offered: list[dict[str, object]]) -> set[str]:
    """The hashes of the wheels of a distribution that its environments can install."""
    (package,) = (
        item
        for item in offered
        if canonicalize_name(str(item["name"])) == pin.name and item["version"] == pin.version
    )
    wheels: list[dict[str, object]] = package.get("wheels", [])  # type: ignore[assignment]  # TOML
    hashes: set[str] = set()
    for here in pin.environments():
        tags = here.tags()
        found = {
            str(wheel["hashes"]["sha256"])  # type: ignore[index]  # TOML
            for wheel in wheels
            if parse_wheel_filename(file_name(wheel))[3] & tags
        }
        if not found:
            raise SystemExit(
                f"{pin.requirement} has no wheel for Python 3.{here.python[1]} on {here.machine};"
                " bound it in pyproject.toml to a version that has"
            )
        hashes |= found
    return hashes


def file_name(wheel: dict[str, object]) -> str:
    """What a wheel of pylock.toml is called."""
    return str(wheel.get("name") or wheel["url"]).rsplit("/", 1)[-1]


def main() -> None:
    """The command: ``python -m supply.lock``."""
    parser = argparse.ArgumentParser(prog="supply.lock", description=__doc__.split("\n")[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    upgrade = parser.parse_args().upgrade
    FOLDER.mkdir(exist_ok=True)
    texts = {name: write(name, resolve(name, upgrade)) for name in LOCKS}
    for name, text in texts.items():
        (FOLDER / f"{name}.txt").write_text(text)


if __name__ == "__main__":
    main()
