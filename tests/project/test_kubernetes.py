"""deploy/kubernetes fits together: what names another thing names one that is there."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes import (
    FOLDER,
    RENDERED,
    Object,
    containers,
    pod,
    probe_of,
    render,
    the,
    workloads,
)
from wakizashi.center import app as center_app
from wakizashi.center.config import CenterConfig
from wakizashi.probe import app as probe_app

SYSTEMS = [name for name in RENDERED if name.startswith(("try", "probe-"))]
"""What is applied by itself; the rest are parts of it."""
YOURS = {"wakizashi-center-tls", "wakizashi-probe-tls", "wakizashi-probe-token", "wakizashi-tokens"}
"""Secrets that an operator makes; the README says how."""


def together(folder: str) -> list[Object]:
    """A folder's objects, with those of center and InfluxDB that a DaemonSet of probes goes with."""
    others = {"probe-daemonset": "try", "probe-daemonset-tls": "try-tls"}
    return render(folder) + (render(others[folder]) if folder in others else [])


def labels(workload: Object) -> Object:
    """Those of a workload's pods."""
    found: Object = workload["spec"]["template"]["metadata"]["labels"]
    return found


def selected(objects: list[Object], namespace: str, wanted: Object) -> list[Object]:
    """The workloads of a namespace whose pods have some labels."""
    return [
        workload
        for workload in workloads(objects)
        if workload["metadata"]["namespace"] == namespace
        and wanted.items() <= labels(workload).items()
    ]


def port_numbers(workload: Object) -> dict[str, int]:
    """The named ports of a workload's containers."""
    ports = [p for c in containers(pod(workload)) for p in c.get("ports", [])]
    numbers = {port["name"]: port["containerPort"] for port in ports}
    assert len(set(numbers.values())) == len(ports), "two containers of a pod share its addresses"
    return numbers


def each(key: str, thing: Any) -> Iterator[Any]:
    """Every value of a key, however deep."""
    if isinstance(thing, dict):
        for name, value in thing.items():
            if name == key:
                yield value
            yield from each(key, value)
    elif isinstance(thing, list):
        for value in thing:
            yield from each(key, value)


@pytest.mark.parametrize("folder", SYSTEMS)
def test_everything_has_a_namespace_that_comes_along(folder: str) -> None:
    made = {o["metadata"]["name"] for o in together(folder) if o["kind"] == "Namespace"}
    for thing in render(folder):
        if thing["kind"] not in ("Namespace", "PriorityClass"):
            assert thing["metadata"]["namespace"] in made, thing["metadata"]


@pytest.mark.parametrize("folder", SYSTEMS)
def test_selectors_find_the_pods_they_are_for(folder: str) -> None:
    objects = together(folder)
    for workload in workloads(objects):
        assert workload["spec"]["selector"]["matchLabels"] == labels(workload)
        for spread in pod(workload).get("topologySpreadConstraints", []):
            assert spread["labelSelector"]["matchLabels"] == labels(workload)
    for thing in objects:
        namespace, spec = thing["metadata"].get("namespace"), thing.get("spec", {})
        if thing["kind"] == "Service":
            assert len(selected(objects, namespace, spec["selector"])) == 1
        elif thing["kind"] == "PodDisruptionBudget":
            assert len(selected(objects, namespace, spec["selector"]["matchLabels"])) == 1
        elif thing["kind"] == "HorizontalPodAutoscaler":
            target = the(objects, spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
            assert target["metadata"]["namespace"] == namespace
            assert "replicas" not in target["spec"], "each `kubectl apply` would undo its work"
        elif thing["kind"] == "NetworkPolicy":
            for selector in each("podSelector", spec):
                assert len(selected(objects, namespace, selector["matchLabels"])) == 1


@pytest.mark.parametrize("folder", SYSTEMS)
def test_ports_are_those_that_are_listened_on(folder: str) -> None:
    objects = render(folder)
    for workload in workloads(objects):
        port_numbers(workload)
        for container in containers(pod(workload)):
            own = {port["name"] for port in container.get("ports", [])}
            for check in ("startupProbe", "livenessProbe", "readinessProbe"):
                if check in container:
                    assert container[check]["httpGet"]["port"] in own
    for thing in objects:
        namespace, spec = thing["metadata"].get("namespace"), thing.get("spec", {})
        if thing["kind"] == "Service":
            (workload,) = selected(objects, namespace, spec["selector"])
            for port in spec["ports"]:
                number = port_numbers(workload)[port["targetPort"]]
                # Without an address of its own there is nobody to translate a port.
                assert spec.get("clusterIP") != "None" or port["port"] == number


@pytest.mark.parametrize("folder", SYSTEMS)
def test_policies_open_the_ports_that_are_listened_on(folder: str) -> None:
    objects = together(folder)
    policies = [thing for thing in objects if thing["kind"] == "NetworkPolicy"]
    assert policies
    for policy in policies:
        namespace, spec = policy["metadata"]["namespace"], policy["spec"]
        (workload,) = selected(objects, namespace, spec["podSelector"]["matchLabels"])
        numbers = port_numbers(workload)
        for rule in spec["ingress"]:
            assert [port["port"] for port in rule["ports"] if port["port"] not in numbers] == []
        for rule in spec.get("egress", []):
            for selector in each("podSelector", rule):
                (target,) = selected(objects, namespace, selector["matchLabels"])
                assert {port["port"] for port in rule["ports"]} == set(
                    port_numbers(target).values()
                )


def test_every_port_of_a_center_is_open_to_somebody() -> None:
    objects = render("center")
    rules = the(objects, "NetworkPolicy", "wakizashi-center")["spec"]["ingress"]
    opened = {port["port"] for rule in rules for port in rule["ports"]}
    assert opened == set(port_numbers(the(objects, "Deployment", "wakizashi-center")))


@pytest.mark.parametrize("folder", SYSTEMS)
def test_volumes_are_mounted_and_what_they_hold_is_there(folder: str) -> None:
    objects = render(folder)
    for workload in workloads(objects):
        spec = pod(workload)
        claimed = workload["spec"].get("volumeClaimTemplates", [])
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        mounts = [mount for c in containers(spec) for mount in c.get("volumeMounts", [])]
        assert {m["name"] for m in mounts} == volumes | {c["metadata"]["name"] for c in claimed}
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                the(objects, "ConfigMap", volume["configMap"]["name"])
            elif "secret" in volume:
                if volume["secret"]["secretName"] not in YOURS:
                    the(objects, "Secret", volume["secret"]["secretName"])
                assert not volume["secret"]["defaultMode"] & 0o007, "nobody else's"


def grace_seconds(spec: Object) -> float:
    """From SIGTERM to SIGKILL; 30 where a pod does not say."""
    return float(spec.get("terminationGracePeriodSeconds", 30))


@pytest.mark.parametrize("folder", SYSTEMS)
def test_nobody_is_killed_before_he_has_stopped(folder: str) -> None:
    for workload in workloads(render(folder)):
        spec = pod(workload)
        images = {container["image"].partition(":")[0] for container in containers(spec)}
        if "wakizashi-probe" in images:
            # Those beside it stop before; of nginx without requests under way that is a moment.
            others = 10 if len(containers(spec)) > 1 else 0
            assert grace_seconds(spec) > probe_app.STOP_SECONDS + others
        if "wakizashi-center" in images:
            timeout = CenterConfig().backendConfig.timeout
            assert grace_seconds(spec) > 2 * center_app.STOP_SECONDS + timeout


def test_a_sidecar_is_no_danger_to_what_it_watches() -> None:
    """Not ready, it would take the pod out of its Service; not started, keep it from starting."""
    for folder in ("try", "try-plain-sidecar"):
        probe = probe_of(pod(the(render(folder), "Deployment", "web")))
        assert "livenessProbe" in probe
        assert not {"readinessProbe", "startupProbe", "lifecycle"} & set(probe)


def test_the_plain_sidecar_is_the_native_one_in_another_place() -> None:
    native = pod(the(render("try"), "Deployment", "web"))
    plain = pod(the(render("try-plain-sidecar"), "Deployment", "web"))
    assert probe_of(native) == {**probe_of(plain), "restartPolicy": "Always"}
    assert native["initContainers"] == [probe_of(native)]
    assert not plain.get("initContainers")
    assert plain["containers"][0]["name"] == "probe", "started first"


def test_what_asks_for_no_probe_gets_none() -> None:
    (made,) = [w for w in workloads(render("try")) if w["metadata"].get("name") == "web"]
    assert made["metadata"]["labels"]["wakizashi-probe"] == "sidecar"
    for workload in workloads(render("try")):
        with_probe = any("wakizashi-probe" in c["image"] for c in containers(pod(workload)))
        assert with_probe == (workload["metadata"]["name"] == "web")


def test_a_probe_connects_to_a_center_itself_and_not_to_an_address_that_is_rewritten() -> None:
    """Rewritten on the node, its own traffic would count: docs/decisions/0001."""
    service = the(render("center"), "Service", "wakizashi-center")["spec"]
    assert service["clusterIP"] == "None" and not service.get("type")


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "Job"])
@pytest.mark.parametrize("way", ["probe-sidecar", "probe-plain-sidecar"])
def test_a_workload_of_any_kind_gets_its_probe_in_front(
    kind: str, way: str, tmp_path: Path
) -> None:
    own: Object = {
        "initContainers": [{"name": "migrate", "image": "shop:1"}],
        "containers": [{"name": "shop", "image": "shop:1", "env": [{"name": "A", "value": "b"}]}],
    }
    workload: Object = {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": {"name": "shop", "labels": {"wakizashi-probe": "sidecar"}},
        "spec": {"template": {"spec": own}},
    }
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(workload))
    component = os.path.relpath(FOLDER / way, tmp_path.resolve())
    made = {"resources": ["shop.yaml"], "components": [component]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(made))
    spec = pod(the(render(str(tmp_path)), kind, "shop"))
    place, other = (
        ("initContainers", "containers")
        if way == "probe-sidecar"
        else (
            "containers",
            "initContainers",
        )
    )
    assert spec[place][0]["name"] == "probe"
    assert spec[place][1:] == own[place] and spec[other] == own[other]
