"""Images and how a container runtime starts them: a pytest plugin, loaded by ``tests/conftest.py``.

crun starts a container from what the image itself says (user, environment, command, folder); the rest
is what docker and Kubernetes do: capabilities, no new privileges, a root file system that is read
only, namespaces of its own but for the network, which is that of whoever starts it.
"""

import contextlib
import fcntl
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lab import Program, require, run
from tests.e2e.mirrors import Mirrors, real_mirrors

ROOT = Path(__file__).parents[2]
NAMES = ("probe", "center")
DATA = "/var/lib/wakizashi"
BASE = "localhost/wakizashi-base"
BUILT = "2026-01-02T03:04:05Z"
"""As the builds are told."""
SIZES = pytest.StashKey[dict[str, str]]()


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the storage of the tests, its files mounted at ``root``."""

    name: str
    reference: str
    root: Path
    description: dict[str, Any]
    """The image's own, in OCI's form."""

    @property
    def config(self) -> dict[str, Any]:
        """What the Dockerfile says of how to start it."""
        config = self.description["config"]
        assert isinstance(config, dict)
        return config


@dataclass(frozen=True, slots=True)
class Runtime:
    """How containers are started; the defaults are docker's ``--cap-drop ALL --read-only``."""

    capabilities: tuple[str, ...] = ()
    user: int | None = None
    """Another one than the image's."""
    ambient: bool = False
    """Whether a user other than root has the capabilities, as podman gives them."""

    def program(self, image: Image, data: Path, folder: Path) -> Program:
        """Start ``image`` with its own command, ``data`` at its volume and the file mounted."""

        def command(config: Path) -> tuple[str, ...]:
            mounts = {DATA: data, f"/etc/wakizashi/{image.name}-config.yaml": config}
            return self.command(image, folder, mounts)

        return command

    def command(
        self, image: Image, folder: Path, mounts: dict[str, Path], *arguments: str
    ) -> tuple[str, ...]:
        """A command that runs a container in the foreground; ``arguments`` instead of the image's."""
        bundle = folder / f"{image.name}.bundle"
        bundle.mkdir(exist_ok=True)
        (bundle / "config.json").write_text(json.dumps(self._spec(image, mounts, arguments)))
        identity = f"wakizashi-{os.getpid()}-{folder.name}-{image.name}"
        # crun 1.8 refuses hosts that have cgroups of both versions, also when it is to leave them
        # alone; so it is shown those of version 2.
        return (
            *("unshare", "--mount", "sh", "-c"),
            'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"',
            *("-", "crun", "--root", str(bundle / "state"), "--cgroup-manager=disabled"),
            *("run", "--bundle", str(bundle), identity),
        )

    def _spec(
        self, image: Image, mounts: dict[str, Path], arguments: tuple[str, ...]
    ) -> dict[str, Any]:
        config = image.config
        user = int(config.get("User") or 0) if self.user is None else self.user
        names = [f"CAP_{name}" for name in self.capabilities]
        sets = ["bounding"]
        if user == 0:
            sets += ["effective", "permitted"]
        elif self.ambient:
            sets += ["effective", "permitted", "inheritable", "ambient"]
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": user, "gid": user},
                "args": [*config["Entrypoint"], *(arguments or config.get("Cmd", []))],
                "env": config["Env"],
                "cwd": config["WorkingDir"],
                "capabilities": dict.fromkeys(sets, names),
                "noNewPrivileges": True,
            },
            "root": {"path": str(image.root), "readonly": True},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
                *(
                    {
                        "destination": inside,
                        "source": str(path),
                        "options": ["bind", "rw" if path.is_dir() else "ro"],
                    }
                    for inside, path in mounts.items()
                ),
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
            },
        }


def the_base() -> Path:
    """The folder of the base that everything here starts from; it is made if there is none."""
    require("buildah", "debootstrap", "crun", "nsenter", "unshare")
    return Path(run("sh", str(ROOT / "tests/base-image.sh")).splitlines()[-1])


def builder() -> dict[str, str]:
    """The environment in which images are built and looked at."""
    return os.environ | {
        "CONTAINERS_STORAGE_CONF": str(the_base() / "storage.conf"),
        "BUILDAH_ISOLATION": "chroot",
        "BASE_IMAGE": BASE,
        "BUILD_TIME": BUILT,
    }


def volume(image: Image, path: Path) -> Path:
    """A directory as docker makes a volume: it has the owner and the mode of the image's."""
    like = (image.root / DATA.lstrip("/")).stat()
    path.mkdir(exist_ok=True)
    os.chown(path, like.st_uid, like.st_gid)
    path.chmod(like.st_mode)
    return path


def describe(reference: str, environment: dict[str, str]) -> dict[str, Any]:
    """An image's own description, in OCI's form."""
    shown = run("buildah", "inspect", "--type", "image", reference, env=environment)
    described = json.loads(shown)["OCIv1"]
    assert isinstance(described, dict)
    return described


def pushed(image: Image, folder: Path) -> tuple[str, list[Path]]:
    """An image as it is sent to a registry: its description, and the layers on top of its base's."""
    environment = builder()
    run("buildah", "push", "--quiet", image.reference, f"oci:{folder}:image", env=environment)
    blobs = folder / "blobs"

    def read(descriptor: dict[str, Any]) -> str:
        return (blobs / descriptor["digest"].replace(":", "/")).read_text()

    (found,) = json.loads((folder / "index.json").read_text())["manifests"]
    manifest = json.loads(read(found))
    below = len(describe(BASE, environment)["rootfs"]["diff_ids"])
    layers = [blobs / layer["digest"].replace(":", "/") for layer in manifest["layers"]]
    return read(manifest["config"]), layers[below:]


def documented_size(row: str) -> list[int]:
    """The megabytes that docs/images-and-binaries.md names."""
    text = (ROOT / "docs/images-and-binaries.md").read_text()
    found = re.search(rf"^\| `{row}`.*?\| (.+) \|$", text, re.MULTILINE)
    assert found, row
    return [int(cell) for cell in found[1].split("|") if cell.strip()]


def report_size(config: pytest.Config, what: str, size: str) -> None:
    """Told when all tests are over."""
    config.stash.setdefault(SIZES, {})[what] = size


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The sizes of what was built."""
    sizes = config.stash.get(SIZES, {})
    if sizes:
        terminalreporter.section("sizes")
        for what, size in sorted(sizes.items()):
            terminalreporter.line(f"{what}: {size}")


@pytest.fixture(scope="session")
def commit() -> str:
    """What is built, asked before it is."""
    return run("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD").strip()


@pytest.fixture(scope="session")
def mirrors() -> Iterator[Mirrors]:
    """What the images are built from."""
    with Mirrors(*real_mirrors()) as made:
        yield made


@pytest.fixture(scope="session")
def images(mirrors: Mirrors, commit: str) -> Iterator[dict[str, Image]]:
    """Both images, built by ``build-container-cn.sh``, which is ``build-container.sh`` with mirrors."""
    assert commit
    environment = builder()
    sources = {"PIP_INDEX_URL": f"{mirrors.url}/pypi/simple", "APT_MIRROR": f"{mirrors.url}/debian"}
    tag = f"test-{os.getpid()}"  # others may be at it in the same storage
    containers: list[str] = []

    def image(name: str) -> Image:
        reference = f"localhost/wakizashi-{name}:{tag}"
        container = run("buildah", "from", reference, env=environment).strip()
        containers.append(container)
        mounted = run("buildah", "mount", container, env=environment).strip()
        return Image(name, reference, Path(mounted), describe(reference, environment))

    with (Path(environment["CONTAINERS_STORAGE_CONF"]).parent / "in-use").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            # Nothing from a build before: the mirrors are to be asked.
            build = (str(ROOT / "build-container-cn.sh"), tag, "--no-cache")
            run(*build, env=environment | sources)
            yield {name: image(name) for name in NAMES}
        finally:
            leftover = [("rm", container) for container in containers]
            leftover += [("rmi", f"localhost/wakizashi-{name}:{tag}") for name in NAMES]
            for what in leftover:
                subprocess.run(["buildah", *what], check=False, env=environment)
            # Layers of builds have no name; they are another's who is building now.
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                subprocess.run(["buildah", "rmi", "--prune"], check=False, env=environment)
