"""deploy/kubernetes renders, to what Kubernetes takes."""

import copy
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.kubernetes import (
    FOLDER,
    RENDERED,
    ROOT,
    containers,
    kustomizations,
    pod,
    render,
    the,
    workloads,
)
from wakizashi import __version__

VERSIONS = ("1.29", "1.37")
"""The first that has native sidecars without being asked, and the newest the schemas are known of."""


def test_there_is_something_to_render() -> None:
    assert {"center", "influxdb", "probe-daemonset", "probe-daemonset-tls", "try"} <= set(RENDERED)
    assert {"probe-sidecar", "probe-plain-sidecar"} <= set(kustomizations("Component"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", RENDERED)
def test_every_object_is_what_the_schema_says(folder: str, version: str) -> None:
    for thing in render(folder):
        assert kubernetes_validate.validate(thing, version, strict=True) == version


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_see_a_key_that_there_is_not(version: str) -> None:
    thing = copy.deepcopy(the(render("try"), "Deployment", "web"))
    pod(thing)["initContainers"][0]["restartPolicies"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="restartPolicies"):
        kubernetes_validate.validate(thing, version, strict=True)


def named_files(path: Path) -> set[Path]:
    """The files that a kustomization reads."""
    found = {path}
    text = yaml.safe_load(path.read_text())
    names = [*text.get("resources", []), *text.get("components", [])]
    names += [patch["path"] for patch in text.get("patches", []) if "path" in patch]
    names += [name for maker in text.get("configMapGenerator", []) for name in maker["files"]]
    for name in names:
        target = (path.parent / name).resolve()
        found |= named_files(target / "kustomization.yaml") if target.is_dir() else {target}
    return found


def test_every_file_is_rendered_by_one_of_the_folders() -> None:
    used = {file for name in RENDERED for file in named_files(FOLDER / name / "kustomization.yaml")}
    assert set(FOLDER.rglob("*.yaml")) - used == set()


@pytest.mark.parametrize("folder", RENDERED)
def test_images_are_of_this_version_and_never_of_any(folder: str) -> None:
    built = (ROOT / "build-container.sh").read_text()
    assert "for name in center probe; do" in built and "wakizashi-$name:$tag" in built
    ours = {f"wakizashi-{name}:{__version__}" for name in ("center", "probe")}
    for workload in workloads(render(folder)):
        for container in containers(pod(workload)):
            image = container["image"]
            if image.startswith("wakizashi"):
                assert image in ours
            else:
                assert image.rpartition(":")[2] not in ("", "latest", image), image
