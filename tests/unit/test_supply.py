"""What is shipped is described in full, or not shipped."""

import io
import json
import re
import tarfile
import time
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from supply import bundle, describe, lock
from supply.bundle import Archive
from supply.contents import installed, part
from supply.licences import licence, permitted

MIT = "License-Expression: MIT"
Install = Callable[..., None]
HASH = "a" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where distributions are installed."""
    made = tmp_path / "site-packages"
    made.mkdir()
    return made


@pytest.fixture
def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution made up, and locks it."""
    locked = dict.fromkeys(lock.LOCKS, "")
    locks = folder.parent / "requirements"
    locks.mkdir()
    monkeypatch.setattr(lock, "FOLDER", locks)
    for name in locked:
        (locks / f"{name}.txt").write_text("")

    def write(
        name: str, *headers: str, terms: str | None = "Take it.", files: tuple[str, ...] = ()
    ) -> None:
        info = f"{name}-1.0.dist-info"
        contents = {f"{info}/METADATA": "\n".join(["Name: " + name, "Version: 1.0", *headers])}
        if terms is not None:
            contents[f"{info}/licenses/LICENSE"] = terms
        contents |= {file: f"# {file}" for file in files}
        for file, text in contents.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
        record = [*contents, f"{info}/RECORD"]
        (folder / info / "RECORD").write_text("".join(f"{file},,\n" for file in record))
        for path in locks.iterdir():
            with path.open("a") as lines:
                lines.write(f"{name}==1.0 \\\n    --hash=sha256:{HASH}\n    # via pyproject.toml\n")

    write("wakizashi", MIT, "Requires-Dist: click>=1", files=("wakizashi/__init__.py",))
    write("click", MIT, files=("click/__init__.py", "click/core.py"))
    return write


def described(product: str, folder: Path, binary: Path | None = None) -> dict[str, str]:
    files = describe.describe(product, [folder], binary)
    return {name: content.decode(errors="replace") for name, content in files.items()}


def refused(product: str, folder: Path, binary: Path | None = None) -> list[str]:
    with pytest.raises(ValueError, match=".") as fault:
        describe.describe(product, [folder], binary)
    return str(fault.value).splitlines()


@pytest.mark.usefixtures("install")
def test_a_bill_is_valid_and_names_all_parts_and_who_needs_them(folder: Path) -> None:
    text = described("center", folder)["center.cdx.json"]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("wakizashi-center", "1.0")
    (click,) = bill["components"]
    assert click["purl"] == "pkg:pypi/click@1.0"
    assert click["licenses"] == [{"license": {"acknowledgement": "declared", "id": "MIT"}}]
    assert click["hashes"] == [{"alg": "SHA-256", "content": HASH}]
    needs = {item["ref"]: item.get("dependsOn") for item in bill["dependencies"]}
    assert needs[root["bom-ref"]] == ["pkg:pypi/click@1.0"]


def test_the_same_contents_give_the_same_bytes_and_others_another_number(
    folder: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    first = described("probe", folder)
    assert described("probe", folder) == first
    assert "timestamp" not in json.loads(first["probe.cdx.json"])["metadata"]
    install("more", MIT)
    bills = [first["probe.cdx.json"], described("probe", folder)["probe.cdx.json"]]
    bills.append(described("center", folder)["center.cdx.json"])
    numbers = {json.loads(text)["serialNumber"] for text in bills}
    assert len(numbers) == 3
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    bill = json.loads(described("probe", folder)["probe.cdx.json"])
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"


def test_the_terms_of_every_part_are_told_in_full(folder: Path, install: Install) -> None:
    install("more", "License-Expression: ISC", terms="Permission to use, copy, modify")
    text = described("probe", folder)["probe-licences.txt"]
    assert "more 1.0: ISC" in text
    assert "Permission to use, copy, modify" in text
    assert text.count("Take it.") == 2  # wakizashi's and click's


@pytest.mark.parametrize(
    ("headers", "terms", "why"),
    [
        ((), "x", "more 1.0: its licence is not known; read it, see supply/licences.py"),
        (
            ("License: Ours",),
            "x",
            "more 1.0: its licence is not known; read it, see supply/licences.py",
        ),
        (
            ("License-Expression: AGPL-3.0-only",),
            "x",
            "more 1.0: AGPL-3.0-only is not permitted in the center; leave it out",
        ),
        ((MIT,), None, "more 1.0: it came without the text of its licence"),
    ],
)
def test_what_may_not_be_shipped_is_refused(
    folder: Path, install: Install, headers: tuple[str, ...], terms: str | None, why: str
) -> None:
    install("more", *headers, terms=terms)
    assert refused("center", folder) == [why]


def test_what_is_not_locked_is_refused(folder: Path, install: Install) -> None:
    install("more", MIT)
    path = lock.FOLDER / "center.txt"
    path.write_text(path.read_text().replace("more==1.0", "more==2.0"))
    assert refused("center", folder) == ["more 1.0 is not in requirements/center.txt"]
    assert described("probe", folder)


def test_without_wakizashi_nothing_is_described(tmp_path: Path) -> None:
    assert refused("probe", tmp_path) == [f"wakizashi is not installed in {tmp_path}"]


@pytest.mark.parametrize(
    ("expression", "product", "fine"),
    [
        ("MIT", "center", True),
        ("GPL-2.0-only", "center", False),
        ("GPL-2.0-only", "probe", True),
        ("GPL-3.0-or-later", "probe", False),
        ("MIT OR GPL-3.0-only", "center", True),
        ("MIT AND GPL-3.0-only", "center", False),
        ("Apache-2.0 AND (BSD-2-Clause OR LGPL-2.1-only)", "center", True),
        ("GPL-2.0-or-later WITH Bootloader-exception", "center", False),
    ],
)
def test_which_licences_are_permitted(expression: str, product: str, fine: bool) -> None:
    assert permitted(expression, product, bundle=False) is fine


def test_the_exceptions_that_a_bundler_and_a_compiler_make_hold_in_bundles_alone() -> None:
    for expression in (
        "GPL-2.0-or-later WITH Bootloader-exception",
        "GPL-3.0-or-later WITH GCC-exception-3.1",
    ):
        assert permitted(expression, "center", bundle=True)
        assert not permitted(expression, "center", bundle=False)
    assert not permitted("GPL-3.0-or-later", "center", bundle=True)


def test_the_licence_of_every_library_here_that_is_shipped_is_known_and_permitted() -> None:
    here = {item.name.lower().replace("_", "-"): item for item in distributions()}
    seen = 0
    for product in ("probe", "center"):
        for name in set(lock.pins(product)) & set(here):
            seen += 1
            assert permitted(licence(here[name]), product, bundle=False), name
            assert part(here[name], ()).terms, name
    assert seen > 25


def archive(*modules: str, files: tuple[str, ...] = (), scripts: tuple[str, ...] = ()) -> Archive:
    return Archive(frozenset(modules), frozenset(scripts), frozenset(files))


def test_a_bundle_is_sorted_to_its_owners(folder: Path, install: Install) -> None:
    install("spaced", MIT, files=("space/inner/mod.py", "space/native.cpython-311.so"))
    install("hooks", MIT, files=("_hooks/rthooks/pyi_rth_x.py",))
    install("left-out", MIT, files=("left/__init__.py",))
    found = bundle.sort(
        archive(
            "wakizashi", "click.core", "space", "space.inner.mod", "json.decoder",
            files=(
                "space/native.cpython-311.so", "base_library.zip", "wakizashi/_build.json",
                "libz.so.1", "libpython3.11.so.1.0", "python3.11/lib-dynload/_ssl.so",
            ),
            scripts=("pyi_rth_x", "probe"),
        ),
        installed([folder]),
    )  # fmt: skip
    assert found.distributions == {"wakizashi", "click", "spaced", "hooks", "pyinstaller"}
    assert found.libraries == {"libz.so.1"}
    assert not found.unknown


def test_what_nobody_owns_in_a_bundle_is_found(folder: Path, install: Install) -> None:
    install("more", MIT)
    found = bundle.sort(
        archive("nobodys", "click", files=("_tcl_data/a.tcl",)), installed([folder])
    )
    assert found.unknown == {"nobodys", "_tcl_data/a.tcl"}


@pytest.fixture
def bundled(folder: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A binary with click, scapy and a library of the host in it."""
    install("scapy", "License-Expression: GPL-2.0-only", files=("scapy/__init__.py",))
    install("pyinstaller", "License: in words")
    install("unused", "License-Expression: AGPL-3.0-only", files=("unused.py",))
    monkeypatch.setattr(
        bundle, "read", lambda _: archive("wakizashi", "click", "scapy", files=("libz.so.1",))
    )
    monkeypatch.setattr(bundle, "debian_package", lambda _: ("zlib1g:amd64", "1:1.2"))
    return folder / "probe"


def test_a_binary_holds_what_is_in_it_with_python_and_the_libraries_of_its_host(
    folder: Path, bundled: Path
) -> None:
    text = described("probe", folder, bundled)["probe.cdx.json"]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    parts = {item["name"]: item for item in json.loads(text)["components"]}
    assert set(parts) == {"click", "scapy", "pyinstaller", "python", "libz.so.1"}
    assert parts["libz.so.1"]["purl"] == "pkg:deb/debian/zlib1g@1:1.2"
    assert parts["pyinstaller"]["licenses"] == [
        {
            "acknowledgement": "declared",
            "expression": "GPL-2.0-or-later WITH Bootloader-exception",
        }
    ]


def test_a_binary_with_scapy_comes_with_the_source_of_scapy(
    folder: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = describe.describe("probe", [folder], bundled)["probe-source.tar.gz"]
    with tarfile.open(fileobj=io.BytesIO(packed)) as source:
        held = source.extractfile("scapy-1.0/scapy/__init__.py")
        assert held is not None
        assert held.read() == b"# scapy/__init__.py"
        assert all(re.match(r"scapy-1\.0/", name) for name in source.getnames())
    monkeypatch.setattr(time, "time", lambda: 1.0)
    assert describe.describe("probe", [folder], bundled)["probe-source.tar.gz"] == packed
    # An image holds the files themselves.
    (folder / "unused-1.0.dist-info/METADATA").write_text("Name: unused\nVersion: 1.0\n" + MIT)
    (folder / "pyinstaller-1.0.dist-info/RECORD").unlink()
    assert not [line for line in refused("probe", folder) if "scapy" in line]


def test_a_binary_with_what_nobody_owns_is_refused(
    folder: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        bundle, "read", lambda _: archive("wakizashi", "nobodys", files=("_tcl_data/a.tcl",))
    )
    assert refused("center", folder, bundled) == [
        "_tcl_data/a.tcl: nobody knows whose it is",
        "nobodys: nobody knows whose it is",
    ]


def test_a_library_of_the_host_that_nobody_has_read_of_is_refused(
    folder: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        bundle, "read", lambda _: archive("wakizashi", "click", files=("libreadline.so.8",))
    )
    monkeypatch.setattr(bundle, "debian_package", lambda _: ("", ""))
    assert refused("center", folder, bundled) == [
        "libreadline.so.8: its licence is not known; read it, see supply/licences.py"
    ]
