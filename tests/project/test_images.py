"""The images as the README runs them."""

import re
from pathlib import Path

import pytest
import yaml

from wakizashi.center.config import CenterConfig
from wakizashi.config import load, variables
from wakizashi.probe.config import ProbeConfig

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["probe", "center"])
def test_an_image_holds_the_file_it_starts_with(name: str) -> None:
    text = (ROOT / f"Dockerfile.{name}").read_text()
    start = re.search(r'^CMD \["-c", "(.+)"\]$', text, re.MULTILINE)
    assert start
    made = re.search(rf"echo '(.*)' > {re.escape(start[1])}$", text, re.MULTILINE)
    assert made
    assert yaml.safe_load(made[1]) is None  # the defaults hold


def test_the_sidecar_of_the_readme_is_configured_by_its_environment() -> None:
    example = re.search(r"```yaml\n(spec:.+?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example
    (probe,) = yaml.safe_load(example[1])["spec"]["initContainers"]
    ours = {item["name"]: item["value"] for item in probe["env"] if "value" in item}
    assert set(ours) <= set(variables(ProbeConfig))
    config = load(ProbeConfig, None, environment=ours)
    assert config.centerAddr == ours["WAKIZASHI_CENTER_ADDR"]
    assert [mount["mountPath"] for mount in probe["volumeMounts"]] == [str(config.dumpDir)]


def test_a_center_with_an_empty_file_is_reachable(tmp_path: Path) -> None:
    empty = tmp_path / "center-config.yaml"
    empty.write_text("# the defaults\n")
    assert load(CenterConfig, empty, environment={}).host == "0.0.0.0"


def test_the_center_is_shipped_with_the_packages_of_its_backends() -> None:
    for lock in ("center", "binary"):
        pinned = re.findall(r"^([a-z-]+)==", (ROOT / f"requirements/{lock}.txt").read_text(), re.M)
        assert {"hiredis", "influxdb", "pymongo", "redis"} <= set(pinned), lock
    program = (ROOT / "build-binary.sh").read_text()
    assert {"influxdb", "pymongo", "redis"} <= set(re.findall(r"--hidden-import (\w+)", program))


def test_what_both_images_share_is_one_layer() -> None:
    """The base's updates are built once, and are pulled once by a node that runs both."""
    texts = [(ROOT / f"Dockerfile.{name}").read_text() for name in ("probe", "center")]
    shared = [
        re.findall(r"^RUN --mount=type=secret,id=apt-mirror.+?^# To run", text, re.M | re.S)
        for text in texts
    ]
    assert shared[0] == shared[1] != []
