"""The images, built for real and started as a container runtime starts them."""

import gzip
import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.images import (
    BUILT,
    DATA,
    NAMES,
    ROOT,
    Image,
    Runtime,
    documented_size,
    pushed,
    report_size,
    volume,
)
from tests.e2e.lab import Lab, Process, lab, require, run
from tests.e2e.mirrors import SECRET, Mirrors
from tests.e2e.test_acceptance import FILES, check, fetch_all, next_windows, quiet_stop
from wakizashi import __version__

pytestmark = pytest.mark.timeout(400)

NETWORK = ("NET_RAW", "BPF")
FORBIDDEN = re.compile(
    r"""
      (^|/)(gcc|cc|c\+\+|g\+\+|clang|ld|make|cmake|rustc|go)$           # compiles
    | (^|/)(pip|ensurepip|setuptools|hatchling|uv)(-[\d.]+\.dist-info)?/ # installs
    | (^|/)(pip[\d.]*|uv)$ | \.whl$
    | (^|/)\.git/ | ^var/lib/apt/lists/. | ^var/cache/apt/. | ^(var/)?tmp/. | ^root/.*cache
    | ^run/secrets/. | ^etc/pip\.conf$ | ^(source|requirements|wheel|opt/tools)(/|$)
    | ^opt/wakizashi/.*/tests/
    """,
    re.VERBOSE,
)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Lab]:
    """A lab with nginx and InfluxDB running."""
    require("nginx", "influxd", "tcpdump", "curl", "nsenter", "crun")
    with lab(tmp_path) as made:
        made.nginx(FILES)
        made.influxd()
        yield made


CAPABILITIES = {"NET_RAW": 13, "BPF": 39}


def runs_as(process: Process, runtime: Runtime, user: int, keeps: Collection[str]) -> None:
    """What the kernel says of the daemon in a container is what was asked for, and it kept."""
    (child,) = process.children()
    status = dict(
        re.findall(r"^(\w+):\s+(.*)$", Path(f"/proc/{child}/status").read_text(), re.MULTILINE)
    )
    assert status["Uid"].split() == [str(user)] * 4
    assert status["NSpid"].split()[-1] == "1"
    assert status["NoNewPrivs"] == "1"
    # The bounding set takes CAP_SETPCAP to shrink, which no container has.
    assert int(status["CapBnd"], 16) == sum(
        1 << CAPABILITIES[name] for name in runtime.capabilities
    )
    assert int(status["CapEff"], 16) == sum(1 << CAPABILITIES[name] for name in keeps)
    assert status["CapPrm"] == status["CapEff"]
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    (root,) = re.findall(
        r"^\S+ \S+ \S+ \S+ / (\S+)", Path(f"/proc/{child}/mountinfo").read_text(), re.MULTILINE
    )
    assert "ro" in root.split(",")


@pytest.mark.parametrize(
    ("runtime", "capture", "user", "keeps"),
    [
        (Runtime(NETWORK), "ebpf", 0, NETWORK),
        (Runtime(NETWORK, user=10001, ambient=True), "scapy", 10001, ("NET_RAW",)),
    ],
    ids=["root-that-may-do-nothing-else", "another-user-with-ambient-capabilities"],
)
def test_one_request_is_in_influxdb_to_the_byte(
    ground: Lab,
    images: dict[str, Image],
    runtime: Runtime,
    capture: str,
    user: int,
    keeps: Collection[str],
) -> None:
    for name, how, folder in (("probe", runtime, "dump"), ("center", Runtime(), "recovery")):
        data = volume(images[name], ground.folder / folder)
        ground.programs[name] = how.program(images[name], data, ground.folder)
    center = ground.start_center(recoverDir=DATA)
    runs_as(center, Runtime(), 10001, ())
    ground.record()
    probe = ground.start_probe(dumpDir=DATA, capture=capture)
    runs_as(probe, runtime, user, keeps)
    fetch_all(ground)
    next_windows(ground, 2)
    quiet_stop(ground, probe)  # as PID 1
    check(ground)
    assert center.stop() == 0


def once(
    image: Image, folder: Path, runtime: Runtime, *arguments: str, config: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a container to its end."""
    file = folder / "config.yaml"
    file.write_text(config)
    mounts = {
        DATA: volume(image, folder / f"data-{image.name}"),
        f"/etc/wakizashi/{image.name}-config.yaml": file,
    }
    return subprocess.run(
        runtime.command(image, folder, mounts, *arguments),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def with_entrypoint(image: Image, program: str) -> Image:
    """The same image with another program to start."""
    return replace(image, description={"config": image.config | {"Entrypoint": [program]}})


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(
    images: dict[str, Image], tmp_path: Path, commit: str, name: str
) -> None:
    for command in (name, "wakizashi"):
        done = once(with_entrypoint(images[name], command), tmp_path, Runtime(), "--version")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{command} {__version__} (commit {commit}, built {BUILT})\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_configuration_is_told(images: dict[str, Image], tmp_path: Path, name: str) -> None:
    done = once(images[name], tmp_path, Runtime(), config="logLevel: 1\n")
    assert done.returncode == 78
    assert done.stdout == ""
    assert f"/etc/wakizashi/{name}-config.yaml:1: logLevel: unknown key" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["influxdb", "mongodb", "redis", "sqlite"])
def test_the_center_has_all_backends(images: dict[str, Image], tmp_path: Path, kind: str) -> None:
    image = images["center"]
    packages = {"influxdb": "influxdb", "mongodb": "pymongo", "redis": "redis", "sqlite": "sqlite3"}
    code = f"import {packages[kind]}, wakizashi.center.backends.{kind}"
    done = once(with_entrypoint(image, "python"), tmp_path, Runtime(), "-W", "error", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_engine_that_lacks_a_capability_says_so(
    images: dict[str, Image], tmp_path: Path
) -> None:
    able = once(images["probe"], tmp_path, Runtime(NETWORK), "--check")
    assert re.search(r"^ *ebpf +usable, chosen$", able.stdout, re.MULTILINE), able
    without_bpf = once(images["probe"], tmp_path, Runtime(("NET_RAW",)), "--check")
    assert re.search(r"^ *ring +usable, chosen$", without_bpf.stdout, re.MULTILINE), without_bpf
    unable = once(images["probe"], tmp_path, Runtime(NETWORK, user=10001), "--check")
    assert "chosen" not in unable.stdout
    assert "CAP_NET_RAW" in unable.stdout + unable.stderr


def test_it_starts_as_its_dockerfile_says(images: dict[str, Image]) -> None:
    for name, image in images.items():
        assert image.config["Entrypoint"] == [name]
        assert image.config["Cmd"] == ["-c", f"/etc/wakizashi/{name}-config.yaml"]
        assert list(image.config["Volumes"]) == [DATA]
    assert images["center"].config.get("User") == "10001"
    assert not images["probe"].config.get("User")  # Dockerfile.probe says why


@pytest.mark.parametrize("name", NAMES)
def test_its_labels_say_what_it_is(images: dict[str, Image], commit: str, name: str) -> None:
    prefix = "org.opencontainers.image."
    labels = {
        key.removeprefix(prefix): value
        for key, value in images[name].config["Labels"].items()
        if key.startswith(prefix)
    }
    assert labels.pop("description")
    assert labels == {
        "title": f"wakizashi-{name}",
        "version": __version__,
        "revision": commit,
        "created": BUILT,
        "licenses": {"probe": "GPL-2.0-only", "center": "MIT"}[name],
    }


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_what_runs_and_no_more(images: dict[str, Image], name: str) -> None:
    root = images[name].root
    files = [
        path
        for folder, _, names in os.walk(root)
        for path in (Path(folder, file) for file in names)
        if not path.is_symlink()
    ]
    inside = [str(path.relative_to(root)) for path in files]
    assert len(inside) > 2000
    kept = [path for path in inside if not path.startswith("usr/share/doc/")]
    assert [path for path in kept if FORBIDDEN.search(path)] == []
    lending = [path for path in files if path.stat().st_mode & 0o6000]
    assert lending == []
    # Python would compile what is not at each start, for nobody: the file system is read only.
    python = run(
        "chroot",
        str(root),
        "/opt/wakizashi/bin/python",
        "-c",
        "import sys; print(sys.implementation.cache_tag)",
    ).strip()
    uncompiled = [
        path
        for path in files
        if path.suffix == ".py"
        and path.is_relative_to(root / "opt/wakizashi")
        and not (path.parent / "__pycache__" / f"{path.stem}.{python}.pyc").exists()
    ]
    assert uncompiled == []
    # Nothing of ours is for one kind of processor.
    (tags,) = root.glob("opt/wakizashi/lib/python3*/site-packages/wakizashi-*.dist-info/WHEEL")
    assert "\nTag: py3-none-any\n" in tags.read_text()


def test_mirrors_are_used(mirrors: Mirrors, images: dict[str, Image]) -> None:
    assert images
    for wanted in ("/pypi/simple/grpcio/", "/pypi/simple/hatchling/", "/debian/dists/"):
        assert any(wanted in path for path in mirrors.asked), wanted


@pytest.mark.parametrize("name", NAMES)
def test_no_layer_remembers_the_build(
    images: dict[str, Image], tmp_path: Path, pytestconfig: pytest.Config, name: str
) -> None:
    description, layers = pushed(images[name], tmp_path / "pushed")
    assert SECRET not in description
    assert len(layers) >= 4
    whole = 0
    for layer in layers:
        with gzip.open(layer) as file:
            content = file.read()
        whole += len(content)
        assert SECRET.encode() not in content
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            paths = [path.removeprefix("./") for path in archive.getnames()]
        held = [path for path in paths if "/.wh." not in path and FORBIDDEN.search(path)]
        assert held == [], layer
    packed = sum(layer.stat().st_size for layer in layers)
    assert [whole / 1e6, packed / 1e6] == pytest.approx(
        documented_size(f"wakizashi-{name}"), rel=0.2
    )
    size = f"{whole / 1e6:.0f} MB on top of its base, {packed / 1e6:.0f} MB to pull"
    report_size(pytestconfig, f"wakizashi-{name}", size)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"APT_MIRROR": ""}, "APT_MIRROR is not set; name the mirror"),
        ({"PIP_INDEX_URL": ""}, "PIP_INDEX_URL is not set; name the mirror"),
        ({"PIP_INDEX_URL": "mirror.example"}, "PIP_INDEX_URL: 'mirror.example' is no URL"),
        ({"APT_MIRROR": "ftp://mirror.example"}, "APT_MIRROR: 'ftp://mirror.example' is no URL"),
        ({"PIP_CERT": "/nowhere.pem"}, "PIP_CERT: there is no file '/nowhere.pem'"),
    ],
)
def test_a_wrong_mirror_is_told_before_anything_is_built(
    variables: dict[str, str], said: str
) -> None:
    good = {"PIP_INDEX_URL": "https://mirror.example/simple", "APT_MIRROR": "http://mirror.example"}
    done = subprocess.run(
        [str(ROOT / "build-container-cn.sh")],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **good, **variables},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_built_for_arm64(tmp_path: Path, name: str) -> None:
    """Each locked package has a wheel for it, or is of Python alone. Nothing is installed."""
    platforms = ("manylinux2014_aarch64", "manylinux_2_28_aarch64")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
    command += ["--target", str(tmp_path), "--only-binary", ":all:", "--require-hashes"]
    command += [word for platform in platforms for word in ("--platform", platform)]
    run(*command, "--requirement", str(ROOT / f"requirements/{name}.txt"))
