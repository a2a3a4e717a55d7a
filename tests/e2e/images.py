"""Images and how a container runtime starts them: a pytest plugin, loaded by ``tests/conftest.py``.

crun starts a container from what the image itself says (user, environment, command, folder); the rest
is what docker and Kubernetes do: capabilities, no new privileges, a root file system that is read
only, namespaces of its own but for the network, which is that of whoever starts it.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lab import Program, require, run

ROOT = Path(__file__).parents[2]
NAMES = ("probe", "center")
DATA = "/var/lib/wakizashi"
BUILT = "2026-01-02T03:04:05Z"
"""As the images are told; always the same, so that what has not changed is not built again."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the storage of the tests, its files mounted at ``root``."""

    name: str
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


def builder(**more: str) -> dict[str, str]:
    """The environment in which images are built and looked at, from a base made here."""
    require("buildah", "debootstrap", "crun", "nsenter", "unshare")
    made = run("sh", str(ROOT / "tests/base-image.sh"))
    folder = Path(made.splitlines()[-1])
    ours = {
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "BUILDAH_ISOLATION": "chroot",
        "BUILDAH_LAYERS": "true",
        "BASE_IMAGE": "localhost/wakizashi-base",
        "BUILD_TIME": BUILT,
    }
    return {**os.environ, **ours, **more}


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


def written(reference: str, folder: Path, environment: dict[str, str]) -> list[Path]:
    """What an image consists of, as it would be sent to a registry, but for the layers of its base."""
    target = f"oci:{folder}:image"
    run("buildah", "push", "--quiet", "--disable-compression", reference, target, env=environment)
    base = describe(environment["BASE_IMAGE"], environment)["rootfs"]["diff_ids"]
    blobs = sorted((folder / "blobs/sha256").iterdir())
    return [blob for blob in blobs if f"sha256:{blob.name}" not in base]


@pytest.fixture(scope="session")
def images() -> Iterator[dict[str, Image]]:
    """Both images, built by ``build-container.sh``."""
    environment = builder()
    run(str(ROOT / "build-container.sh"), "test", env=environment)
    containers: list[str] = []

    def image(name: str) -> Image:
        reference = f"localhost/wakizashi-{name}:test"
        container = run("buildah", "from", reference, env=environment).strip()
        containers.append(container)
        mounted = run("buildah", "mount", container, env=environment).strip()
        return Image(name, Path(mounted), describe(reference, environment))

    try:
        yield {name: image(name) for name in NAMES}
    finally:
        for container in containers:
            subprocess.run(["buildah", "rm", container], check=False, env=environment)
