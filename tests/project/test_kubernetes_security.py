"""The security contexts of deploy/kubernetes are what its README says, and no more."""

import re
import shlex

import pytest

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

README = (FOLDER / "README.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The cells of a table of the README, by its first heading."""
    lines = README.splitlines()
    start = next(
        i for i, line in enumerate(lines) if line.startswith(f"| {heading}".rstrip() + " |")
    )
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


PODS = {row[0]: row[1:] for row in table("pod")}


def level(objects: list[Object], workload: Object) -> str:
    """The Pod Security Standard that a workload's namespace enforces."""
    namespace = the(objects, "Namespace", workload["metadata"]["namespace"])
    return str(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"])


@pytest.mark.parametrize("folder", RENDERED)
def test_a_container_has_what_the_readme_says(folder: str) -> None:
    objects = render(folder)
    for workload in workloads(objects):
        for container in containers(pod(workload)):
            if container["name"] == "nginx":
                continue
            name = workload["metadata"]["name"]
            key = f"`{name}`, container `{container['name']}`"
            stands, user, added, writes = PODS.get(key) or PODS[f"`{name}`"]
            context = {**pod(workload)["securityContext"], **container["securityContext"]}
            if folder != "influxdb":  # its namespace comes with center
                assert stands == f"`{level(objects, workload)}`"
            assert user == str(context["runAsUser"])
            assert context.get("runAsNonRoot", False) == (user != "0")
            capabilities = context["capabilities"]
            assert capabilities["drop"] == ["ALL"]
            assert added == (", ".join(f"`{c}`" for c in capabilities.get("add", [])) or "none")
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            places = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
            if user == "10002":
                assert places == {"/var/lib/influxdb", "/tmp"} and writes == "its volume, `/tmp`"
            else:
                assert writes == (", ".join(f"`{place}`" for place in places) or "nothing")


def test_a_sidecar_relies_on_nothing_that_its_pod_says() -> None:
    spec = pod(the(render("try"), "Deployment", "web"))
    probe = probe_of(spec)
    assert set(spec["securityContext"]) <= set(probe["securityContext"])
    wanted = {"capabilities", "readOnlyRootFilesystem", "allowPrivilegeEscalation"}
    assert wanted <= set(probe["securityContext"])


@pytest.mark.parametrize("folder", RENDERED)
def test_nothing_of_the_node_is_given_but_what_the_readme_says(folder: str) -> None:
    for workload in workloads(render(folder)):
        spec = pod(workload)
        host = {key for key in spec if key.startswith("host")}
        paths = [v["hostPath"]["path"] for v in spec.get("volumes", []) if "hostPath" in v]
        if workload["kind"] == "DaemonSet":
            assert host == {"hostNetwork"} and paths == ["/var/lib/wakizashi"]
        else:
            assert not host and not paths
        assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize("folder", RENDERED)
def test_a_namespace_allows_no_more_than_its_pods_need(folder: str) -> None:
    objects = render(folder)
    for thing in objects:
        if thing["kind"] != "Namespace":
            continue
        inside = [
            w for w in workloads(objects) if w["metadata"]["namespace"] == thing["metadata"]["name"]
        ]
        adds = any(
            container["securityContext"]["capabilities"].get("add")
            for workload in inside
            for container in containers(pod(workload))
        )
        label = thing["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        if folder != "nginx":  # waits for its probe
            assert label == ("privileged" if adds else "restricted")


def test_every_folder_is_in_the_readme_and_no_other() -> None:
    named = {name for row in table("folder") for name in re.findall(r"`([^`]+)`", row[0])}
    there = {str(path.parent.relative_to(FOLDER)) for path in FOLDER.rglob("kustomization.yaml")}
    assert named == there


def test_commands_of_the_readme_name_what_there_is() -> None:
    blocks = "\n".join(re.findall(r"```sh\n(.+?)```", README, re.DOTALL)).replace("\\\n", " ")
    applied = re.findall(r"kubectl apply -k deploy/kubernetes/(\S+)", blocks)
    assert applied and set(applied) <= set(RENDERED)
    objects = render("try-tls") + render("probe-daemonset-tls")
    for namespace, rest in re.findall(
        r"^kubectl -n (\S+) (?:rollout status|exec) (.+)$", blocks, re.M
    ):
        for word in shlex.split(rest.partition("--")[0]):
            kind, _, name = word.rpartition("/")
            kind = {"deployment": "Deployment", "": "StatefulSet", "statefulset": "StatefulSet"}[
                kind
            ]
            assert the(objects, kind, name.removesuffix("-0"))["metadata"]["namespace"] == namespace
    made = set(re.findall(r"kubectl -n (\S+) create secret generic (\S+)", blocks))
    wanted = {
        # What the README calls shop is nginx here.
        (
            workload["metadata"]["namespace"].replace("wakizashi-try", "shop"),
            volume["secret"]["secretName"],
        )
        for workload in workloads(objects)
        for volume in pod(workload).get("volumes", [])
        if "secret" in volume
    }
    assert made == wanted


def test_the_readme_tells_what_a_probe_requests() -> None:
    costs = next(row for row in table("") if row[0] == "costs")
    for folder, kind, name, cell in (
        ("try", "Deployment", "web", costs[1]),
        ("probe-daemonset", "DaemonSet", "wakizashi-probe", costs[3]),
    ):
        requested = probe_of(pod(the(render(folder), kind, name)))["resources"]["requests"]
        memory, cpu = requested["memory"], requested["cpu"]
        assert f"{memory.replace('Mi', ' MiB')} and {cpu.replace('m', ' m')} " in cell
