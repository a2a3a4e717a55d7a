"""What ``deploy/kubernetes`` renders to, as ``kubectl apply -k`` would send it."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy/kubernetes"

Object = dict[str, Any]
"""An object of Kubernetes, or a part of one."""


def kustomizations(kind: str) -> list[str]:
    """The folders with a kustomization of a kind, ``Kustomization`` or ``Component``."""
    found = sorted(FOLDER.rglob("kustomization.yaml"))
    return [
        str(path.parent.relative_to(FOLDER))
        for path in found
        if yaml.safe_load(path.read_text())["kind"] == kind
    ]


RENDERED = kustomizations("Kustomization")


@cache
def renderer() -> tuple[str, ...] | None:
    """The command that renders a folder: kubectl where it has a recent kustomize in it, or kustomize."""
    kubectl = shutil.which("kubectl")
    if kubectl:
        version = subprocess.run(
            [kubectl, "version", "--client"], capture_output=True, text=True, timeout=30
        ).stdout
        if re.search(r"^Kustomize Version: v5", version, re.MULTILINE):
            return (kubectl, "kustomize")
    script = (ROOT / "tests/build-kustomize.sh").read_text()
    (version,) = re.findall(r"^version=(\S+)$", script, re.MULTILINE)
    cache_folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache_folder / "wakizashi" / f"kustomize-{version}"
    return (str(built), "build") if built.exists() else None


@cache
def _rendered(folder: str) -> str:
    command = renderer()
    if command is None:
        reason = "needs kubectl 1.27 or later, or kustomize: `make programs` builds it with go"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        [*command, str(FOLDER / folder)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"{folder}: {done.stderr}"
    assert not done.stderr, f"{folder}: {done.stderr}"  # of what is deprecated
    return done.stdout


def render(folder: str) -> list[Object]:
    """The objects of a folder; the test skips where nothing renders, and fails so in CI."""
    return list(yaml.safe_load_all(_rendered(folder)))


def the(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of a kind with a name."""
    (found,) = (o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name))
    return found


def workloads(objects: list[Object]) -> Iterator[Object]:
    """Those that make pods."""
    return (o for o in objects if "template" in o.get("spec", {}))


def pod(workload: Object) -> Object:
    """The specification of a workload's pods."""
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def containers(spec: Object) -> list[Object]:
    """All containers of a pod, sidecars first."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def probe_of(spec: Object) -> Object:
    """The one container of a pod that is a probe."""
    (found,) = (c for c in containers(spec) if c["image"].startswith("wakizashi-probe:"))
    return found


def environment(container: Object, pod_fields: dict[str, str]) -> dict[str, str]:
    """A container's variables as the kubelet sets them.

    Args:
        container: one without variables from Secrets and ConfigMaps.
        pod_fields: values of the fields of the pod, such as ``metadata.name``.
    """
    made: dict[str, str] = {}
    for item in container.get("env", []):
        if "valueFrom" in item:
            made[item["name"]] = pod_fields[item["valueFrom"]["fieldRef"]["fieldPath"]]
        else:  # $(NAME) stands for a variable before this one, and for itself where there is none
            made[item["name"]] = re.sub(
                r"\$\((\w+)\)", lambda match: made.get(match[1], match[0]), item["value"]
            )
    return made
