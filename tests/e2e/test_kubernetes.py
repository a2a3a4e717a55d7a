"""The acceptance test once more, with center and probe as deploy/kubernetes runs them.

Their users, capabilities, variables and files are those of the rendered manifests; Kubernetes itself,
its network and its images are not there.
"""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import CLIENT, SERVER, Authority
from tests.containers import container_command, security_context
from tests.e2e.lab import Lab, Process, lab, require, run, wait_for
from tests.e2e.test_acceptance import FILES, check, fetch_all, next_windows, quiet_stop
from tests.kubernetes import Object, containers, pod, probe_of, render, the

pytestmark = pytest.mark.timeout(180)

FIELDS = {"metadata.name": "web-0123", "metadata.namespace": "0123", "spec.nodeName": "true"}
QUICK = {"WAKIZASHI_CAP_INTERVAL": "2", "WAKIZASHI_NETWORK_DEVS": "['web[01]']"}
"""All that is otherwise than in the manifest."""
Files = dict[str, dict[str, str]]
"""By the name of a Secret, the texts of its files."""
CAPABILITIES = {"NET_RAW": 13, "BPF": 39}  # their bits


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Lab]:
    """A lab with nginx and InfluxDB running."""
    require("nginx", "influxd", "tcpdump", "curl", "nsenter", "setpriv")
    with lab(tmp_path) as made:
        made.nginx(FILES)
        made.influxd()
        # As the name service of a cluster would have it.
        (tmp_path / "hosts").write_text(
            "10.77.2.2 wakizashi-center.wakizashi.svc\n127.0.0.1 wakizashi-influxdb\n"
        )
        yield made


def start(
    ground: Lab,
    namespace: str,
    spec: Object,
    container: Object,
    volumes: dict[str, Path],
    changes: dict[str, str],
    *arguments: str,
) -> Process:
    """A container of a pod in a network namespace of the lab."""
    scratch = ground.folder / f"root-of-{container['name']}"
    scratch.mkdir()
    command = container_command(
        spec,
        container,
        scratch=scratch,
        volumes=volumes,
        hosts=ground.folder / "hosts",
        fields=FIELDS,
        changes=changes,
        arguments=arguments,
    )
    return ground.start(container["name"], namespace, *command)


def directory(path: Path, mode: int, group: int = 0) -> Path:
    """A volume as the kubelet makes it: root's, with a mode."""
    path.mkdir(exist_ok=True)
    os.chown(path, 0, group)
    path.chmod(mode)
    return path


def mount(
    folder: Path, objects: list[Object], spec: Object, container: Object, made_by_hand: Files
) -> dict[str, Path]:
    """The volumes of a container, as the kubelet makes them, with the files that are in them."""
    group = spec["securityContext"].get("fsGroup", 0)
    made: dict[str, Path] = {}
    for volume in spec["volumes"]:
        if volume["name"] not in {place["name"] for place in container["volumeMounts"]}:
            continue
        files: dict[str, str] = {}
        mode = 0o644
        if "configMap" in volume:
            files = the(objects, "ConfigMap", volume["configMap"]["name"])["data"]
        elif "secret" in volume:
            name, mode = volume["secret"]["secretName"], volume["secret"]["defaultMode"]
            files = made_by_hand.get(name) or the(objects, "Secret", name)["data"]
        path = folder / f"{container['name']}-{volume['name']}"
        made[volume["name"]] = directory(path, 0o755 if files else 0o777, group)
        for file, text in files.items():
            (path / file).write_text(text)
            os.chown(path / file, 0, group)
            (path / file).chmod(mode)
    return made


def start_center(ground: Lab, folder: str = "try", made_by_hand: Files | None = None) -> Process:
    """The center of a folder of deploy/kubernetes; returns when its readiness probe is content."""
    objects = render(folder)
    spec = pod(the(objects, "Deployment", "wakizashi-center"))
    (container,) = containers(spec)
    volumes = mount(ground.folder, objects, spec, container, made_by_hand or {})
    process = start(ground, ground.center, spec, container, volumes, {})
    ready(ground, ground.center, process, container, "readinessProbe")
    return process


def ready(ground: Lab, namespace: str, process: Process, container: Object, check: str) -> None:
    """Until a probe of the manifest is content with a process."""
    get = container[check]["httpGet"]
    (port,) = (p["containerPort"] for p in container["ports"] if p["name"] == get["port"])
    url = f"http://127.0.0.1:{port}{get['path']}"

    def content() -> bool:
        assert process.popen.poll() is None, process.output
        asked = f"nsenter --net=/run/netns/{namespace} curl -s -o /dev/null -w %{{http_code}} {url}"
        return "200" in run("sh", "-c", f"{asked} || true")

    wait_for(f"{check} of {process.name}", content)


def status(process: Process) -> dict[str, str]:
    """What the kernel says of a process."""
    text = Path(f"/proc/{process.popen.pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\s+(.*)$", text, re.MULTILINE))


def mebibytes(quantity: str) -> int:
    """A quantity as the manifests have them."""
    assert quantity.endswith("Mi")
    return int(quantity.removesuffix("Mi"))


def is_as_the_manifest_says(process: Process, spec: Object, container: Object) -> None:
    """User, capabilities and memory of a process."""
    context, kernel = security_context(spec, container), status(process)
    wanted = sum(1 << CAPABILITIES[name] for name in context["capabilities"].get("add", []))
    assert int(kernel["CapBnd"], 16) == wanted
    assert int(kernel["CapEff"], 16) == wanted == int(kernel["CapPrm"], 16)
    assert int(kernel["CapAmb"], 16) == int(kernel["CapInh"], 16) == 0
    assert kernel["Uid"].split() == [str(context["runAsUser"])] * 4
    assert kernel["NoNewPrivs"] == "1"
    requested = mebibytes(container["resources"]["requests"]["memory"])
    assert int(kernel["VmHWM"].removesuffix(" kB")) < requested * 1024


def test_one_request_to_nginx_with_a_sidecar_is_in_influxdb(ground: Lab) -> None:
    center = start_center(ground)
    ground.record()
    spec = pod(the(render("try"), "Deployment", "web"))
    container = probe_of(spec)
    volumes = {"wakizashi-dump": directory(ground.folder / "dump", 0o777)}
    probe = start(ground, ground.web, spec, container, volumes, QUICK)
    ready(ground, ground.web, probe, container, "livenessProbe")
    wait_for("the probe to capture", lambda: ": engine " in probe.output)
    probe.wait_for("0123/web-0123: engine ebpf")
    fetch_all(ground)
    next_windows(ground, 2)
    is_as_the_manifest_says(probe, spec, container)
    center_spec = pod(the(render("try"), "Deployment", "wakizashi-center"))
    is_as_the_manifest_says(center, center_spec, center_spec["containers"][0])
    quiet_stop(ground, probe)
    check(ground)
    (row,) = ground.influx("SELECT count(size) FROM traffic GROUP BY probe, namespace, pod, node")
    assert row["probe"] == "0123/web-0123"
    assert (row["namespace"], row["pod"], row["node"]) == ("0123", "web-0123", "true")
    assert center.stop() == 0


def test_without_bpf_it_counts_with_ring(ground: Lab) -> None:
    start_center(ground)
    spec = pod(the(render("try"), "Deployment", "web"))
    container = probe_of(spec)
    container["securityContext"]["capabilities"]["add"] = ["NET_RAW"]
    volumes = {"wakizashi-dump": directory(ground.folder / "dump", 0o777)}
    probe = start(ground, ground.web, spec, container, volumes, QUICK)
    probe.wait_for("0123/web-0123: engine ring")
    assert probe.stop() == 0


def test_another_user_than_root_would_have_no_capability(ground: Lab) -> None:
    """Why the manifests say runAsUser: 0."""
    spec = pod(the(render("try"), "Deployment", "web"))
    container = probe_of(spec)
    container["securityContext"] |= {"runAsUser": 10001, "runAsNonRoot": True}
    volumes = {"wakizashi-dump": directory(ground.folder / "dump", 0o777)}
    probe = start(ground, ground.web, spec, container, volumes, QUICK)
    wait_for("the probe to give up", lambda: probe.popen.poll() is not None)
    assert probe.stop() == 1
    assert "CAP_NET_RAW" in probe.output


def test_a_node_is_watched_by_the_daemonset(ground: Lab) -> None:
    start_center(ground)
    objects = render("probe-daemonset")
    spec = pod(the(objects, "DaemonSet", "wakizashi-probe"))
    container = probe_of(spec)
    volumes = mount(ground.folder, objects, spec, container, {})
    volumes["dump"] = directory(ground.folder / "dump", 0o755)  # as DirectoryOrCreate makes it
    ground.record()
    probe = start(ground, ground.web, spec, container, volumes, QUICK)
    ready(ground, ground.web, probe, container, "readinessProbe")
    probe.wait_for("true: engine ebpf")
    fetch_all(ground)
    next_windows(ground, 1)
    is_as_the_manifest_says(probe, spec, container)
    quiet_stop(ground, probe)
    check(ground)
    (row,) = ground.influx("SELECT count(size) FROM traffic GROUP BY probe, namespace, node")
    assert (row["probe"], row["namespace"], row["node"]) == ("true", "0123", "true")


def secrets_of_the_readme(folder: Path) -> Files:
    """Those that the README of deploy/kubernetes has an operator make."""
    lab_authority = Authority(folder / "authority")
    host = "wakizashi-center.wakizashi.svc"
    center = lab_authority.issue(host, SERVER, san=f"DNS:{host}")
    shop = lab_authority.issue("shop", CLIENT)
    ca, token = lab_authority.cert.read_text(), secrets.token_hex(32)
    pairs = {"wakizashi-center-tls": center, "wakizashi-probe-tls": shop}
    return {
        **{
            name: {"tls.crt": p.cert.read_text(), "tls.key": p.key.read_text(), "ca.crt": ca}
            for name, p in pairs.items()
        },
        "wakizashi-tokens": {"tokens": f"- {{ probe: '0123/.*', token: {token} }}\n"},
        "wakizashi-probe-token": {"token": f"{token}\n"},
    }


def test_one_request_is_in_influxdb_with_tls_and_tokens(ground: Lab) -> None:
    made = secrets_of_the_readme(ground.folder)
    center = start_center(ground, "try-tls", made)
    ground.record()
    objects = render("try-tls")
    spec = pod(the(objects, "Deployment", "web"))
    container = probe_of(spec)
    volumes = mount(ground.folder, objects, spec, container, made)
    volumes["wakizashi-dump"] = directory(ground.folder / "dump", 0o777)
    probe = start(ground, ground.web, spec, container, volumes, QUICK)
    ready(ground, ground.web, probe, container, "livenessProbe")
    wait_for("the probe to capture", lambda: ": engine " in probe.output)
    fetch_all(ground)
    next_windows(ground, 2)
    quiet_stop(ground, probe)
    check(ground)
    for process in (center, probe):  # of plaintext, or of files that others may read
        warnings = [line for line in process.output.splitlines() if " WARNING " in line]
        assert not [line for line in warnings if "tls" in line.lower() or "read by" in line]
