"""What an image or a binary holds, part by part, as the metadata of what is installed tells it.

In: folders that distributions are installed in. Nothing of them is imported. Out: parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supply.licences import licence

OWN = "wakizashi"
# Files in a dist-info folder that state terms, wherever the build backend of the day put them.
TERMS = re.compile(r"(^|/)licenses/|(^|/)[^/]*(LICEN[CS]E|COPYING|NOTICE|AUTHORS)[^/]*$")


@dataclass(frozen=True, slots=True)
class Part:
    """Something of another author, or our own, that is shipped."""

    name: str
    version: str
    purl: str
    licence: str  # an SPDX expression; "" when it is not known
    terms: tuple[tuple[str, str], ...]  # the files that state it: their names and texts
    needs: frozenset[str] = frozenset()  # names of other parts
    sha256: str = ""  # of the wheel it came in, where the lock allows only one


def installed(folders: Iterable[Path]) -> dict[str, Distribution]:
    """The distributions in these folders, by name."""
    found = distributions(path=[str(folder) for folder in folders])
    return {canonicalize_name(item.name): item for item in found}


def terms(distribution: Distribution) -> tuple[tuple[str, str], ...]:
    """The licence files of a distribution."""
    found = []
    for file in sorted(distribution.files or ()):
        folder, _, name = str(file).partition("/")
        if folder.endswith(".dist-info") and TERMS.search(name):
            text = Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")
            found.append((name, text))
    return tuple(found)


def needs(distribution: Distribution, there: Iterable[str]) -> frozenset[str]:
    """The names among ``there`` that a distribution asks for, in this Python.

    With an extra too: a distribution that is there and is asked for by an extra alone, is there
    because of it.
    """
    wanted = set()
    for line in distribution.requires or ():
        requirement = Requirement(line)
        extras = {"", *re.findall(r"extra == ['\"]([^'\"]+)['\"]", str(requirement.marker))}
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            wanted.add(canonicalize_name(requirement.name))
    return frozenset(wanted & set(there))


def part(distribution: Distribution, there: Iterable[str], sha256: str = "") -> Part:
    """A distribution as a part."""
    name = canonicalize_name(distribution.name)
    # Our own name may be somebody else's on an index: it names no package there.
    kind = "generic" if name == OWN else "pypi"
    return Part(
        name=name,
        version=distribution.version,
        purl=f"pkg:{kind}/{name}@{distribution.version}",
        licence=licence(distribution),
        terms=terms(distribution),
        needs=needs(distribution, there),
        sha256=sha256,
    )
