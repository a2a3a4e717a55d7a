"""The units of ``deploy/systemd`` on paper; ``tests/live/test_systemd.py`` runs them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from wakizashi.center import app as center
from wakizashi.probe import app as probe

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
THRESHOLD = 2.0


def settings(name: str) -> dict[str, list[str]]:
    """What a unit sets, every value of each name."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / f"{name}.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", ["probe", "center"])
def test_exposure_is_low_and_as_the_readme_says(name: str) -> None:
    if shutil.which("systemd-analyze") is None:
        if "CI" in os.environ:
            pytest.fail("there is no systemd-analyze")
        pytest.skip("there is no systemd-analyze")
    unit = UNITS / f"{name}.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={THRESHOLD * 10:.0f}", unit],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    said = re.search(r"Overall exposure level for \S+: (\d+\.\d)", done.stdout)
    assert said is not None
    assert float(said[1]) <= THRESHOLD
    version = subprocess.run(
        ["systemd-analyze", "--version"], capture_output=True, text=True, check=True
    )
    readme = " ".join((UNITS / "README.md").read_text().split())
    figure = re.search(rf"(\d\.\d) for the {name}.*?\(systemd (\d+);", readme)
    assert figure is not None
    if version.stdout.split()[1] == figure[2]:  # another version counts otherwise
        assert said[1] == figure[1]


def test_capabilities_are_those_that_the_engines_need() -> None:
    from wakizashi.probe.capture import engines_in_order

    needed = {c for _, engine in engines_in_order() for c in engine.capabilities}
    names = {f"CAP_{capability.name}" for capability in needed}
    unit = settings("probe")
    for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert {name for text in unit[key] for name in text.split()} == names
    assert settings("center")["CapabilityBoundingSet"] == [""]


def test_systemd_waits_longer_than_a_daemon_takes_to_stop() -> None:
    (patience,) = settings("probe")["TimeoutStopSec"]
    assert float(patience) > probe.STOP_SECONDS + 1
    (patience,) = settings("center")["TimeoutStopSec"]
    assert float(patience) > 2 * center.STOP_SECONDS


@pytest.mark.parametrize("name", ["probe", "center"])
def test_what_a_unit_names_is_there(name: str) -> None:
    unit = settings(name)
    users = re.findall(r"^u (\S+) ", (UNITS / "wakizashi.conf").read_text(), re.MULTILINE)
    (user,), (group,) = unit["User"], unit["Group"]
    assert user == group == f"wakizashi-{name}"
    assert user in users
    (state,), (work,) = unit["StateDirectory"], unit["WorkingDirectory"]
    assert work == f"/var/lib/{state}"
    (start,) = unit["ExecStart"]
    program, dash_c, file, *_ = start.split()
    assert (program, dash_c) == (f"/usr/local/bin/{name}", "-c")
    assert (ROOT / "config" / Path(file).name).exists()


@pytest.mark.parametrize("name", ["probe", "center"])
def test_a_restart_is_no_answer_to_usage_and_configuration(name: str) -> None:
    from wakizashi.errors import EXIT_CONFIG, EXIT_USAGE

    assert settings(name)["RestartPreventExitStatus"] == [f"{EXIT_USAGE} {EXIT_CONFIG}"]


@pytest.mark.parametrize("name", ["probe", "center"])
def test_no_core_file_holds_secrets(name: str) -> None:
    assert settings(name)["LimitCORE"] == ["0"]
    assert "`LimitCORE=0`" in (UNITS / "README.md").read_text()


@pytest.mark.parametrize("name", ["probe", "center"])
def test_a_unit_does_for_a_single_file_program_what_the_document_asks(name: str) -> None:
    """Two processes: the second one speaks, and hears a stop from the first one alone."""
    text = " ".join((ROOT / "docs/images-and-binaries.md").read_text().split())
    asked = re.search(r"In a systemd unit .*? so it takes `(\w+)=(\w+)`; and `(\w+)=(\w+)`", text)
    assert asked is not None
    unit, (first, all_, second, mixed) = settings(name), asked.groups()
    assert (first, second) == ("NotifyAccess", "KillMode")
    assert (unit[first], unit[second]) == ([all_], [mixed])
