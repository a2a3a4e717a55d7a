"""Says what an image or a binary is made of: a bill of materials, and the licences of all of it.

    python -m supply.describe probe --to FOLDER --path SITE-PACKAGES … [--bundle build/probe]

In: the folders that the distributions were installed in, and for a binary the binary. Out, in
FOLDER: ``probe.cdx.json`` and ``probe-licences.txt``, and for a binary with something under the GPL
in it ``probe-source.tar.gz``, since it holds byte code alone.

What is not in the lock, or in another version, whose licence is not known or not permitted, or that
comes without its terms, is refused: nothing is written then.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import sys
import tarfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import Distribution
from pathlib import Path

from supply import bundle, lock
from supply.bill import bill
from supply.contents import OWN, Part, installed, part
from supply.licences import permitted

RULE = "=" * 80


def faults(product: str, parts: Iterable[Part], bundled: bool) -> list[str]:
    """Why a product may not be shipped with these parts."""
    found = []
    for item in parts:
        what = f"{item.name} {item.version}".strip()
        if not item.licence:
            found.append(f"{what}: its licence is not known; read it, see supply/licences.py")
        elif not permitted(item.licence, product, bundled):
            found.append(f"{what}: {item.licence} is not permitted in the {product}; leave it out")
        if not item.terms and item.purl:
            found.append(f"{what}: it came without the text of its licence")
    return found


def unlocked(name: str, there: Mapping[str, Distribution]) -> list[str]:
    """What is installed and is not what the lock says."""
    pins = lock.pins(name) | (lock.pins("build") if name == "binary" else {})
    return [
        f"{key} {item.version} is not in requirements/{name}.txt"
        for key, item in there.items()
        if key not in (OWN, "pip", *(["setuptools"] if name == "binary" else []))
        and not any(pin.version == item.version for pin in pins.get(key, ()))
    ]


def licences(product: str, own: Part, parts: Iterable[Part]) -> str:
    """The text with every part's terms."""
    every = [own, *sorted(parts, key=lambda item: item.name)]
    text = [f"What wakizashi's {product} is made of, and the terms of each part", RULE, ""]
    text += [f"{item.name} {item.version}: {item.licence}" for item in every]
    for item in every:
        for file, terms in item.terms:
            text += ["", RULE, f"{item.name} {item.version}: {file}", RULE, "", terms.rstrip()]
        if not item.terms:
            text += ["", RULE, f"{item.name}: a library of the host this was built on", RULE]
    return "\n".join(text) + "\n"


def sources(there: Mapping[str, Distribution], parts: Iterable[Part]) -> bytes | None:
    """The source of the parts under GPL-2.0-only, as a tar archive; None without any."""
    names = [item.name for item in parts if item.licence == "GPL-2.0-only"]
    if not names:
        return None
    packed = io.BytesIO()
    # Without names, times and owners of this machine: the same parts give the same bytes.
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for name in sorted(names):
            for file in sorted(there[name].files or (), key=str):
                path = Path(str(file.locate()))
                if ".." in file.parts or "__pycache__" in file.parts or not path.is_file():
                    continue
                entry = tarfile.TarInfo(f"{name}-{there[name].version}/{file}")
                content = path.read_bytes()
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def describe(product: str, folders: list[Path], binary: Path | None) -> dict[str, bytes]:
    """The files to ship beside a product.

    Raises:
        ValueError: it may not be shipped; each line of the message says why.
    """
    there = installed(folders)
    if OWN not in there:
        raise ValueError(f"wakizashi is not installed in {', '.join(map(str, folders))}")
    name = "binary" if binary else product
    troubles = unlocked(name, there)
    pins = lock.pins(name)
    inside, others = set(there) - {OWN}, []
    if binary:
        found = bundle.sort(bundle.read(binary), there)
        troubles += [f"{item}: nobody knows whose it is" for item in sorted(found.unknown)]
        inside, others = set(found.distributions) - {OWN}, bundle.parts(found.libraries)
    parts = [part(there[key], inside, digest(pins.get(key, ()))) for key in sorted(inside)] + others
    own = part(there[OWN], inside)
    troubles += faults(product, parts, bundled=binary is not None)
    if troubles:
        raise ValueError("\n".join(troubles))
    files = {
        f"{product}.cdx.json": bill(product, own, parts, built()).encode(),
        f"{product}-licences.txt": licences(product, own, parts).encode(),
    }
    source = sources(there, parts) if binary else None
    return files | ({f"{product}-source.tar.gz": source} if source else {})


def digest(pins: Iterable[lock.Pin]) -> str:
    """The hash of the wheel, when the lock leaves no doubt which it was."""
    hashes = {digest for pin in pins for digest in pin.hashes}
    return hashes.pop() if len(hashes) == 1 else ""


def built() -> datetime | None:
    """When, if SOURCE_DATE_EPOCH says so."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else None


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="supply.describe", description=__doc__.splitlines()[0])
    parser.add_argument("product", choices=["probe", "center"])
    parser.add_argument("--to", type=Path, required=True, help="the folder to write into")
    parser.add_argument("--path", type=Path, required=True, nargs="+", action="extend")
    parser.add_argument("--bundle", type=Path, help="the binary, for what is really in it")
    given = parser.parse_args()
    try:
        files = describe(given.product, given.path, given.bundle)
    except ValueError as fault:
        sys.exit(f"the {given.product} may not be shipped as it is:\n{fault}")
    given.to.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (given.to / name).write_bytes(content)


if __name__ == "__main__":
    main()
