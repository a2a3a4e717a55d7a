"""What the README says is what there is: every configuration key."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from wakizashi import reload
from wakizashi.center.config import CenterConfig, load_center
from wakizashi.config import load
from wakizashi.probe.config import ProbeConfig

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CELLS = [
    set(re.findall(r"`([^`]+)`", line.split("|")[1]))
    for line in README.splitlines()
    if line.startswith("| `")
]
DOCUMENTED = set().union(*CELLS)


def keys(model: type[BaseModel]) -> set[str]:
    """Keys of the top level, and of ``backendConfig``."""
    found = set()
    for name, field in model.model_fields.items():
        inner = field.annotation
        if name == "backendConfig" and isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= {f"{name}.{key}" for key in inner.model_fields}
        else:
            found.add(name)
    return found


@pytest.mark.parametrize("model", [ProbeConfig, CenterConfig])
def test_every_configuration_key_is_documented(model: type[BaseModel]) -> None:
    assert keys(model) - DOCUMENTED == set()


@pytest.mark.parametrize("model", [ProbeConfig, CenterConfig])
def test_every_key_says_when_a_change_of_it_takes_effect_and_so_does_the_page(
    model: type[ProbeConfig] | type[CenterConfig],
) -> None:
    page = (ROOT / "docs" / "reload.md").read_text()
    heading = "Probe" if model is ProbeConfig else "Center"
    part = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", part, re.MULTILINE))
    said: dict[str, set[str]] = {}
    for key, takes in reload.keys(model).items():
        assert takes is not None, f"{key}: put a Takes into its annotation"
        said.setdefault(key.partition(".")[0], set()).add(takes.value)
    assert {key: {text} for key, text in told.items()} == said


def rows(heading: str) -> dict[str, str]:
    """The keys of one of the README's tables of configuration, with what it says of their defaults."""
    part = README.partition(f"\n### {heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
    return dict(re.findall(r"^\| `([\w.]+)` \| ([^|]*?) ?\|", part, re.MULTILINE))


@pytest.mark.parametrize(("heading", "model"), [("Probe", ProbeConfig), ("Center", CenterConfig)])
def test_the_documented_defaults_are_those_of_the_code(
    heading: str, model: type[ProbeConfig] | type[CenterConfig]
) -> None:
    def loaded(*overrides: str) -> dict[str, Any]:
        config = load(model, None, overrides=overrides, environment={})
        return config.model_dump()

    values = {key: cell.strip("`") for key, cell in rows(heading).items() if cell.startswith("`")}
    assert len(values) >= 9
    for key, value in values.items():
        assert loaded(f"{key}={value}") == loaded(), key


def test_every_documented_key_exists() -> None:
    known = keys(ProbeConfig) | keys(CenterConfig)
    assert DOCUMENTED - known == set()


def test_the_example_files_load() -> None:
    probe = load(ProbeConfig, ROOT / "config/probe-config.yaml", environment={})
    assert probe.networkDevs == ("eth0", "tunl0")
    center = load_center(ROOT / "config/center-config.yaml", environment={})
    assert center.backendConfig.type == "influxdb"
    assert center.host == "0.0.0.0"


@pytest.mark.parametrize("name", ["probe-config.yaml", "center-config.yaml"])
def test_the_commented_keys_of_the_example_files_exist(name: str) -> None:
    text = (ROOT / "config" / name).read_text()
    commented = set(re.findall(r"^# ([a-z]\w*): ", text, re.MULTILINE))
    model = ProbeConfig if name.startswith("probe") else CenterConfig
    assert commented
    assert commented <= set(model.model_fields)


def test_the_comparison_has_the_figures_of_the_bench() -> None:
    measured = (ROOT / "bench/results/capture.md").read_text()
    part = measured.partition("## 64-byte packets, as fast as")[2].partition("\n## ")[0]
    rows = re.findall(
        r"^\| 1,024 \| \*{0,2}(\w+)\*{0,2} \|[^|]*\|[^|]*\| (\S+)", part, re.MULTILINE
    )
    all_in = {tool: float(figure) for tool, figure in rows if figure != "–"}
    page = (ROOT / "docs/comparison.md").read_text()
    (line,) = re.findall(r"^\| CPU a packet, all in.*$", page, re.MULTILINE)
    told = [cell.strip() for cell in line.split("|")]
    assert told[2] == f"{all_in['ebpf']} µs (`ebpf`), {all_in['ring']} µs (`ring`)"
    assert told[3] == f"{all_in['pmacctd']:.1f} µs"
    assert told[4] == f"{all_in['softflowd']} µs"
    assert round(all_in["pmacctd"] / all_in["ebpf"]) == 8 and "an eighth of the CPU" in README
    assert round(all_in["ebpf"] / all_in["softflowd"], 1) == 0.4 and "0.4 of the CPU" in README


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"""\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)\"""", page.read_text())
    targets = {(one or other).partition("#")[0] for one, other in links}
    local = {target for target in targets if target and "://" not in target}
    assert {target for target in local if not (page.parent / target).exists()} == set()
