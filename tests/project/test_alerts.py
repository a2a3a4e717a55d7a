"""The alert rules: they work, each is tested both ways, and what they name exists."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.metric_tables import documented
from tests.prometheus import program, promtool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RUNBOOK = (ROOT / "docs" / "alerts.md").read_text()


def loaded(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


RULES = {
    rule["alert"]: rule for group in loaded("alerts.yaml")["groups"] for rule in group["rules"]
}
CASES = loaded("alerts_test.yaml")["tests"]


def fires(case: dict[str, Any], alert: str) -> list[bool]:
    """Whether the case expects the alert, at each time that it looks."""
    return [f'"{alert}"' in str(check["exp_samples"]) for check in case["promql_expr_test"]]


def test_the_rules_do_what_their_tests_say() -> None:
    promtool("check", "rules", FOLDER / "alerts.yaml")
    assert "SUCCESS" in promtool("test", "rules", FOLDER / "alerts_test.yaml")


@pytest.mark.parametrize("alert", RULES)
def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(alert: str) -> None:
    (case,) = (case for case in CASES if case["name"] == alert)
    assert True in fires(case, alert)
    series = " ".join(entry["series"] for entry in case["input_series"])
    others = [case for case in CASES if case["name"].startswith(f"{alert}, not")]
    assert 'instance="near"' in series or others
    assert not any(True in fires(case, alert) for case in others)


def test_a_rule_that_never_fires_fails_its_test(tmp_path: Path) -> None:
    """All at once, each has to be missed: promtool names the case of each."""
    rules = loaded("alerts.yaml")
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = "vector(1) > 2"
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(rules))
    shutil.copy(FOLDER / "alerts_test.yaml", tmp_path)
    with pytest.raises(AssertionError) as failed:
        promtool("test", "rules", tmp_path / "alerts_test.yaml")
    missed = set(re.findall(r'exp:.*?alertname="(\w+)"', str(failed.value)))
    assert missed == set(RULES)


@pytest.mark.parametrize("alert", RULES)
def test_each_alert_says_what_to_do_and_where_it_is_told(alert: str) -> None:
    rule = RULES[alert]
    notes = rule["annotations"]
    assert set(rule["labels"]) == {"severity"}
    severity = rule["labels"]["severity"]
    assert severity in ("critical", "warning", "info")
    assert set(notes) == {"summary", "description", "runbook"}
    assert notes["runbook"] == f"docs/alerts.md#{alert.lower()}"
    assert len(notes["description"]) > 60
    assert f"### {alert}\n\n*{severity}.*" in RUNBOOK


def test_the_runbook_tells_of_no_other() -> None:
    assert re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE) == list(RULES)


def test_the_rules_name_metrics_that_exist() -> None:
    known = set(documented())
    for alert, rule in RULES.items():
        text = rule["expr"].replace("(probe|center)_build_info", "")
        named = set(re.findall(r"\b(?:wakizashi|process)_\w+", text)) - {"wakizashi_"}
        plain = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
        assert plain <= known, alert
        for label, values in re.findall(r'(\w+)=~?"([^"]+)"', text):
            described: set[str] = set()
            for metric in plain:
                described |= dict(documented()[metric].labels).get(label, frozenset())
            assert label in ("job", "__name__") or set(values.split("|")) <= described, alert


def test_the_tests_name_metrics_that_exist() -> None:
    known = documented()
    for case in CASES:
        for entry in case["input_series"]:
            name = re.sub(r"_(bucket|sum|count)$", "", entry["series"].partition("{")[0])
            assert name == "up" or name in known, entry


def test_the_configuration_for_machines_is_one() -> None:
    assert "SUCCESS" in promtool("check", "config", FOLDER / "prometheus.yaml")


def test_the_configuration_for_kubernetes_finds_probes_and_centers_and_nothing_else(
    tmp_path: Path,
) -> None:
    """Debian's Prometheus knows nothing of Kubernetes: what its discovery would say is written here."""
    config = loaded("kubernetes.yaml")
    (job,) = config["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    meta = "__meta_kubernetes_"
    pods = [
        ("center-1", "center", "health", True),
        ("center-1", "center", "grpc", False),
        ("probe-x", "probe", "health", True),
        ("web-1", "probe", "probe-health", True),
        ("web-1", "nginx", "health", False),
        ("web-1", "my-probe", "health", False),
    ]
    job["static_configs"] = [
        {
            "targets": [f"10.0.0.{number}:1"],
            "labels": {
                f"{meta}namespace": "ns",
                f"{meta}pod_name": pod,
                f"{meta}pod_container_name": container,
                f"{meta}pod_container_port_name": port,
            },
        }
        for number, (pod, container, port, _) in enumerate(pods)
    ]
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(FOLDER / "alerts.yaml", tmp_path)
    promtool("check", "config", tmp_path / "prometheus.yaml")
    found = yaml.safe_load(
        promtool(
            "check", "service-discovery", "--timeout=3s", tmp_path / "prometheus.yaml", "wakizashi"
        )
    )
    labels = [target["labels"] for target in found if target["labels"]]
    assert sorted((label["instance"], label["job"]) for label in labels) == sorted(
        (f"ns/{pod}", f"wakizashi-{container}") for pod, container, _, kept in pods if kept
    )


def test_the_manifests_have_the_names_by_which_prometheus_finds_them() -> None:
    """Each container of ours has exactly one port that is kept."""
    (job,) = loaded("kubernetes.yaml")["scrape_configs"]
    port, name = (rule["regex"] for rule in job["relabel_configs"] if rule.get("action") == "keep")
    found = []
    for file in (ROOT / "deploy" / "kubernetes").rglob("*.yaml"):
        for container in containers(list(yaml.safe_load_all(file.read_text()))):
            if "wakizashi" in container.get("image", ""):
                assert re.fullmatch(name, container["name"]), file
                ports = [each["name"] for each in container["ports"]]
                assert len([each for each in ports if re.fullmatch(port, each)]) == 1, file
                found.append(container["name"])
    assert {"probe", "center"} <= set(found)


def containers(part: Any) -> Iterator[dict[str, Any]]:
    """All in a manifest, wherever they stand."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in ("containers", "initContainers"):
                yield from value
            yield from containers(value)
    elif isinstance(part, list):
        for each in part:
            yield from containers(each)


@pytest.mark.parametrize(
    ("spelling", "works"), [("kubernetes_sd_configs", True), ("k8s_sd", False)]
)
def test_the_configuration_for_kubernetes_is_read_by_who_knows_kubernetes(
    spelling: str, works: bool, tmp_path: Path
) -> None:
    """VictoriaMetrics takes the same scrape_configs, and no key that it does not know."""
    text = (FOLDER / "kubernetes.yaml").read_text().replace("kubernetes_sd_configs", spelling)
    config = tmp_path / "scrape.yaml"
    config.write_text(yaml.safe_dump({"scrape_configs": yaml.safe_load(text)["scrape_configs"]}))
    done = subprocess.run(
        [program("victoria-metrics"), f"-promscrape.config={config}", "-promscrape.config.dryRun"],
        check=False,
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert (done.returncode == 0) == works


def test_what_the_alerts_say_can_be_said(tmp_path: Path) -> None:
    """Each is made to fire for an instance: its templates expand, and promtool shows them."""
    rules = loaded("alerts.yaml")
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = 'label_replace(vector(0.75), "instance", "somewhere", "", "")'
            rule.pop("for", None)
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(rules))
    cases = [{"eval_time": "1m", "alertname": alert, "exp_alerts": []} for alert in RULES]
    case = {"interval": "1m", "input_series": [], "alert_rule_test": cases}
    (tmp_path / "said.yaml").write_text(
        yaml.safe_dump({"rule_files": ["alerts.yaml"], "tests": [case]})
    )
    with pytest.raises(AssertionError) as failed:
        promtool("test", "rules", tmp_path / "said.yaml")
    said = str(failed.value)
    assert set(re.findall(r'alertname="(\w+)"', said)) == set(RULES)
    assert "error" not in said and "<no value>" not in said
    assert "somewhere: 75% of the database's series are used" in said
