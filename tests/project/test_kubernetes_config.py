"""What the pods of deploy/kubernetes give to probe and center is a configuration they take."""

import re
from pathlib import Path

import pytest
import yaml

from tests.certificates import Authority
from tests.kubernetes import (
    FOLDER,
    RENDERED,
    ROOT,
    Object,
    containers,
    environment,
    pod,
    probe_of,
    render,
    the,
    workloads,
)
from wakizashi.center.config import CenterConfig, load_center
from wakizashi.config import load, variables
from wakizashi.pattern import Pattern
from wakizashi.probe.config import ProbeConfig

POD = {"metadata.name": "web-7d4", "metadata.namespace": "shop", "spec.nodeName": "node-1"}
NASTY = ["123", "0123", "0x1f", "1e3", "true", "no", "null", "2026-11-24", "10.0.0.1", "a.b-c"]
"""Names that Kubernetes allows, and YAML takes for something else."""
TOKEN = "0123456789abcdef"
PROBES = {
    "sidecar": ("try", "Deployment", "web"),
    "plain sidecar": ("try-plain-sidecar", "Deployment", "web"),
    "daemonset": ("probe-daemonset", "DaemonSet", "wakizashi-probe"),
}


def config_file(name: str) -> str:
    """The file that an image starts its program with."""
    text = (ROOT / f"Dockerfile.{name}").read_text()
    found = re.search(r'^CMD \["-c", "(.+)"\]$', text, re.MULTILINE)
    assert found
    return found[1]


def mounted(container: Object, volume: str) -> str:
    """Where a volume is mounted."""
    (found,) = (m["mountPath"] for m in container["volumeMounts"] if m["name"] == volume)
    return str(found)


def mount(objects: list[Object], workload: Object, container: Object, root: Path) -> None:
    """Put the files of a container's volumes below ``root``, its directories too."""
    volumes = {volume["name"]: volume for volume in pod(workload).get("volumes", [])}
    for place in container["volumeMounts"]:
        volume = volumes[place["name"]]
        folder = root / place["mountPath"].lstrip("/")
        folder.mkdir(parents=True)
        files: dict[str, str] = {}
        if "configMap" in volume:
            files = the(objects, "ConfigMap", volume["configMap"]["name"])["data"]
        elif volume.get("secret", {}).get("secretName") == "wakizashi-database":
            files = the(objects, "Secret", "wakizashi-database")["data"]
        for name, text in files.items():
            (folder / name).write_text(text)


def below(root: Path, path: Path) -> Path:
    """The same file with the mounts of :func:`mount` as its root directory."""
    text = re.sub(r"(?<=: )/(?=run/|var/)", f"{root}/", path.read_text())
    path.write_text(text)
    return path


def probe_config(
    which: str, root: Path, fields: dict[str, str] = POD
) -> tuple[ProbeConfig, Object]:
    """A probe's configuration, and its container."""
    folder, kind, name = PROBES[which]
    objects = render(folder)
    workload = the(objects, kind, name)
    container = probe_of(pod(workload))
    mount(objects, workload, container, root)
    file = root / config_file("probe").lstrip("/")
    if file.exists():
        below(root, file)
    variables_of = environment(container, fields)
    if "WAKIZASHI_DUMP_DIR" in variables_of:
        variables_of["WAKIZASHI_DUMP_DIR"] = f"{root}{variables_of['WAKIZASHI_DUMP_DIR']}"
    config = load(ProbeConfig, file if file.exists() else None, environment=variables_of)
    return config, container


@pytest.mark.parametrize("which", PROBES)
def test_a_probe_takes_what_it_is_given(which: str, tmp_path: Path) -> None:
    config, container = probe_config(which, tmp_path)
    assert config.dumpDir.is_dir(), "a volume is mounted at dumpDir"
    assert config.centerAddr == "wakizashi-center.wakizashi.svc:10080"
    assert config.tags["namespace"] == "shop"
    assert config.tags["node"] == "node-1"
    (health,) = container["ports"]
    assert health["containerPort"] == config.healthPort
    # What is unset is right by default, but for the devices of a node.
    assert bool(config.networkDevs) == (which == "daemonset")


@pytest.mark.parametrize("which", PROBES)
def test_a_probe_is_named_after_its_pod_or_its_node(which: str, tmp_path: Path) -> None:
    config, container = probe_config(which, tmp_path)
    name = config.probe_name(environment(container, POD))
    assert name == ("node-1" if which == "daemonset" else "shop/web-7d4")
    assert ("pod" in config.tags) == (which != "daemonset")


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("which", PROBES)
def test_a_name_is_text_whatever_yaml_thinks_of_it(which: str, nasty: str, tmp_path: Path) -> None:
    config, container = probe_config(which, tmp_path, dict.fromkeys(POD, nasty))
    assert set(config.tags.values()) == {nasty}
    name = config.probe_name(environment(container, dict.fromkeys(POD, nasty)))
    assert name == (nasty if which == "daemonset" else f"{nasty}/{nasty}")


@pytest.mark.parametrize(
    ("device", "watched"),
    [
        *(("eth0", True), ("eth12", True), ("ens5", True), ("eno1", True), ("enp3s0f1", True)),
        *(("lo", False), ("veth1a2b3c4", False), ("cali1234567890a", False), ("eni01ab", False)),
        *(("lxc0123", False), ("cni0", False), ("flannel.1", False), ("docker0", False)),
        *(("enP1p0s2", False), ("tunl0", False), ("eth0.100", False)),
    ],
)
def test_a_node_is_watched_where_packets_leave_it(
    device: str, watched: bool, tmp_path: Path
) -> None:
    config, _ = probe_config("daemonset", tmp_path)
    assert any(Pattern(text).matches(device) for text in config.networkDevs) == watched


@pytest.mark.parametrize("folder", [name for name in RENDERED if name.startswith("try")])
def test_a_center_takes_what_it_is_given(folder: str, tmp_path: Path) -> None:
    objects = render(folder)
    workload = the(objects, "Deployment", "wakizashi-center")
    (container,) = containers(pod(workload))
    mount(objects, workload, container, tmp_path)
    file = tmp_path / config_file("center").lstrip("/")
    asked = yaml.safe_load(file.read_text())["backendConfig"]["influxConfig"]
    config = load_center(below(tmp_path, file), (), {})
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": config.port, "health": config.healthPort}
    assert config.recoverDir == "", "an acknowledged window would die with its pod"
    assert asked["passwordFile"].rpartition("/")[0] == mounted(container, "database")
    assert the(objects, "Service", "wakizashi-influxdb")
    (influxdb,) = containers(pod(the(objects, "StatefulSet", "wakizashi-influxdb")))
    (port,) = influxdb["ports"]
    assert asked["host"] == f"http://wakizashi-influxdb:{port['containerPort']}"
    given = {item["name"]: item.get("value") for item in influxdb["env"]}
    assert given["INFLUXDB_ADMIN_USER"] == asked["user"]


@pytest.mark.parametrize("folder", RENDERED)
def test_every_variable_is_one_that_there_is(folder: str) -> None:
    known = {
        "wakizashi-probe": set(variables(ProbeConfig)),
        "wakizashi-center": set(variables(CenterConfig)),
    }
    for workload in workloads(render(folder)):
        for container in containers(pod(workload)):
            named = {item["name"] for item in container.get("env", [])}
            ours = {name for name in named if name.startswith("WAKIZASHI_")}
            assert ours <= known.get(container["image"].partition(":")[0], set())


ENCRYPTED = {
    "shop/web-7d4": ("try-tls", "Deployment", "web"),
    "node-1": ("probe-daemonset-tls", "DaemonSet", "wakizashi-probe"),
}
"""Probes with a certificate and a token, by their names."""


@pytest.mark.parametrize("name", ENCRYPTED)
def test_a_probe_takes_the_secrets_of_the_readme(name: str, tmp_path: Path) -> None:
    folder, kind, workload = ENCRYPTED[name]
    container = probe_of(pod(the(render(folder), kind, workload)))
    authority = Authority(tmp_path / "authority")
    issued = authority.client("probe")
    secrets = tmp_path / "run/secrets"
    for volume, files in (
        ("tls", {"ca.crt": authority.cert, "tls.crt": issued.cert, "tls.key": issued.key}),
        ("token", {"token": None}),
    ):
        place = secrets / f"wakizashi-{volume}"
        place.mkdir(parents=True)
        for file, source in files.items():
            (place / file).write_text(source.read_text() if source else TOKEN)
    given = {
        key: value.replace("/run/secrets/", f"{secrets}/")
        for key, value in environment(container, POD).items()
    }
    config = load(ProbeConfig, None, environment=given)
    assert config.probe_name(given) == name
    assert config.tls and config.tls.cert == secrets / "wakizashi-tls/tls.crt"
    assert config.tokenFile == secrets / "wakizashi-token/token"


def test_tokens_of_the_readme_permit_each_probe_its_own_name() -> None:
    text = (FOLDER / "README.md").read_text()
    entries = re.findall(r"- \{ probe: '(.+?)', token: \$\(cat (\S+)-token\) \}", text)
    assert len(entries) == 2
    permitted = {
        whose: [name for name in (*ENCRYPTED, "other/web-7d4") if Pattern(text).matches(name)]
        for text, whose in entries
    }
    assert permitted == {"shop": ["shop/web-7d4"], "node": ["node-1"]}


@pytest.mark.parametrize("folder", ["try-tls", "probe-daemonset-tls"])
def test_files_that_variables_name_are_mounted(folder: str) -> None:
    for workload in workloads(render(folder)):
        for container in containers(pod(workload)):
            places = {m["mountPath"] for m in container.get("volumeMounts", [])}
            files = [item.get("value", "") for item in container.get("env", [])]
            secrets = [file for file in files if file.startswith("/run/secrets/")]
            assert {file.rpartition("/")[0] for file in secrets} <= places
            if "wakizashi" in container["image"]:
                assert len(secrets) == 4


def test_nothing_is_taken_for_configuration_that_a_service_brings() -> None:
    """A Service named wakizashi makes WAKIZASHI_PORT and the like in the pods of its namespace."""
    for name in ("center", "influxdb", "probe-daemonset"):
        for workload in workloads(render(name)):
            assert pod(workload)["enableServiceLinks"] is False


def test_the_readme_shows_the_sidecar_that_is_deployed() -> None:
    example = re.search(r"```yaml\n(spec:.+?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example
    (shown,) = yaml.safe_load(example[1])["spec"]["initContainers"]
    deployed = yaml.safe_load((FOLDER / "probe-sidecar/probe.yaml").read_text())
    (whole,) = deployed["spec"]["template"]["spec"]["initContainers"]
    assert shown["restartPolicy"] == whole["restartPolicy"]
    assert shown["securityContext"].items() <= whole["securityContext"].items()
    for item in shown["env"]:
        assert item in whole["env"]
