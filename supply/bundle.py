"""What a single-file program holds: the distributions, Python itself, the host's libraries.

PyInstaller follows imports, so a bundle holds less than the environment it was made from, and
more: libraries of the host. Both are read from the archive. What in it belongs to nothing known is
a fault: what cannot be named is not shipped.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

from supply.contents import Part
from supply.licences import LIBRARIES

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Archive:
    """The names in a bundle."""

    modules: frozenset[str]  # of Python, with dots
    scripts: frozenset[str]  # the program's own start, and the hooks that run before it
    files: frozenset[str]  # extension modules, libraries and data, by their paths in the bundle


@dataclass(frozen=True, slots=True)
class Inside:
    """Whose the names in a bundle are."""

    distributions: frozenset[str]
    libraries: frozenset[str]  # of the host, by file name
    unknown: frozenset[str]


def read(bundle: Path) -> Archive:
    """Opens a bundle."""
    # Only the environment that makes bundles has it.
    from PyInstaller.archive.readers import CArchiveReader

    archive = CArchiveReader(str(bundle))
    names: dict[str, set[str]] = {}
    for name, entry in archive.toc.items():
        names.setdefault(entry[-1], set()).add(name)
    return Archive(
        modules=frozenset(archive.open_embedded_archive("PYZ.pyz").toc),
        scripts=frozenset(names.get("s", ())),
        files=frozenset(names.get("b", set()) | names.get("x", set())),
    )


def sort(archive: Archive, there: Mapping[str, Distribution]) -> Inside:
    """Finds the owner of every name of a bundle among the distributions it was made from."""
    files = {
        str(file): name for name, item in there.items() for file in item.files or () if file.parts
    }
    hooks = {Path(path).stem: name for path, name in files.items() if "/rthooks/" in path}
    owners, libraries, unknown = {"pyinstaller"}, set(), set()
    for module in archive.modules:
        path = module.replace(".", "/")
        owner = files.get(f"{path}.py") or files.get(f"{path}/__init__.py")
        if owner:
            owners.add(owner)
        elif not of_python(module) and not any(name.startswith(path + "/") for name in files):
            unknown.add(module)  # neither a module, nor a package without an __init__.py
    for script in archive.scripts:
        owners.add(hooks.get(script, "pyinstaller"))
    for file in archive.files:
        if file in files:
            owners.add(files[file])
        elif re.fullmatch(r"[^/]+\.so[.\d]*", file) and not file.startswith("libpython"):
            libraries.add(file)
        elif not re.match(r"libpython|python3\.\d+/|base_library\.zip$|wakizashi/", file):
            unknown.add(file)
    return Inside(frozenset(owners), frozenset(libraries), frozenset(unknown))


def of_python(module: str) -> bool:
    """Whether a module is of the standard library, or what a build of Python adds to it."""
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names or top.startswith("_sysconfigdata")


def python() -> Part:
    """The interpreter and its standard library."""
    folders = [Path(sysconfig.get_path("stdlib")), Path("/usr/share/doc", PYTHON)]
    names = ("LICENSE.txt", "copyright")
    texts = [path for folder in folders for name in names if (path := folder / name).is_file()]
    version = platform.python_version()
    return Part(
        name="python",
        version=version,
        purl=f"pkg:generic/python@{version}",
        licence="PSF-2.0",
        terms=tuple((path.name, path.read_text()) for path in texts[:1]),
    )


def library(file: str) -> Part:
    """A library of the host, with the package of Debian or Ubuntu that it came in, if it did."""
    stem = file.partition(".so")[0]
    package, version = debian_package(file)
    copyright_file = Path("/usr/share/doc", package.partition(":")[0], "copyright")
    purl = f"pkg:deb/debian/{package.partition(':')[0]}@{version}" if package else ""
    return Part(
        name=file,
        version=version,
        purl=purl,
        licence=LIBRARIES.get(stem, ""),
        terms=(("copyright", copyright_file.read_text(errors="replace")),)
        if package and copyright_file.is_file()
        else (),
    )


def debian_package(file: str) -> tuple[str, str]:
    """The package that a library came in and its version; empty on other systems."""
    try:
        answer = ask("dpkg-query", "-S", f"*/{platform.machine()}-linux-gnu*/{file}")
    except FileNotFoundError:
        return "", ""
    # "libssl3:amd64: /usr/lib/x86_64-linux-gnu/libssl.so.3"; the first when there are several.
    package = answer.partition(": ")[0].split(",")[0].strip()
    return (package, ask("dpkg-query", "-W", "-f", "${Version}", package)) if package else ("", "")


def ask(*command: str) -> str:
    """What a program of the host prints."""
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no shell
    return answer.stdout


def parts(inside: Iterable[str]) -> list[Part]:
    """Python and the libraries of the host."""
    return [python(), *(library(file) for file in sorted(inside))]
