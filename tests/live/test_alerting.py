"""Prometheus itself watches a probe and a center: the database breaks, and it says so."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.center_servers import free_port, until
from tests.daemons import Link, need_root, running, veth
from tests.influx_fake import Exchange, fake_influx, take
from tests.prometheus import Prometheus, prometheus

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
FAILING, DOWN = "WakizashiCenterBackendFailing", "WakizashiProbeDown"


@pytest.fixture(autouse=True)
def needs_root() -> None:
    need_root()


@pytest.fixture
def link() -> Iterator[Link]:
    with veth("wka") as made:
        yield made


def configured(folder: Path, probe: int, center: int) -> Path:
    """What ``deploy`` has, with these targets, and seconds instead of minutes."""
    rules = (FOLDER / "alerts.yaml").read_text()
    (folder / "alerts.yaml").write_text(re.sub(r"for: \d+\w", "for: 1s", rules))
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job, port in zip(config["scrape_configs"], (probe, center), strict=True):
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def refuse(exchange: Exchange) -> None:
    exchange.lines()
    exchange.answer(503, {"error": "the disk is full"})


def watched(server: Prometheus) -> bool:
    """Prometheus has a window that came all the way."""
    return bool(server.value('wakizashi_center_windows_total{status="stored"} > 2'))


def test_prometheus_says_when_the_database_breaks_and_when_a_probe_is_gone(
    tmp_path: Path, link: Link
) -> None:
    ports = {"probe": free_port(), "center": free_port()}
    port = free_port()
    with fake_influx() as influx:
        center = {
            "host": "127.0.0.1",
            "port": port,
            "healthPort": ports["center"],
            "recoverDir": str(tmp_path / "recovery"),
            "recoverInterval": 1,
            "backendConfig": {"type": "influxdb", "influxConfig": {"host": influx.url}},
        }
        probe = {
            "centerAddr": f"127.0.0.1:{port}",
            "dumpDir": str(tmp_path / "dump"),
            "networkDevs": [link.name],
            "capInterval": 1,
            "healthPort": ports["probe"],
        }
        config = configured(tmp_path, **ports)
        with running("center", tmp_path, **center), prometheus(tmp_path, config) as server:
            with running("probe", tmp_path, **probe):
                until(lambda: watched(server), "windows are stored and Prometheus sees it", 60)
                assert not {FAILING, DOWN} & set(server.firing())
                influx.otherwise = refuse
                until(lambda: FAILING in server.firing(), "the alert of the backend", 60)
                told = server.firing()[FAILING]
                assert told["summary"] == f"127.0.0.1:{ports['center']}: the backend takes nothing"
                assert DOWN not in server.firing()
                influx.otherwise = take
                until(lambda: FAILING not in server.firing(), "the alert to end", 60)
            until(lambda: DOWN in server.firing(), "the alert of the probe", 60)
