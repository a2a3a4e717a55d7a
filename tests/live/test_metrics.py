"""The metrics of running daemons with traffic between them: as documented, and they add up."""

import math
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.center_servers import free_port, until
from tests.certificates import Authority
from tests.daemons import Link, is_ready, need_root, running, scrape, veth
from tests.metric_tables import documented, exposed, value
from tests.prometheus import promtool
from wakizashi.model import OUTCOMES
from wakizashi.probe.capture import engine_names

FRAMES = 200
ARP = b"\xff" * 6 + b"\x02" + bytes(5) + b"\x08\x06" + bytes(46)


@pytest.fixture(autouse=True)
def needs_root() -> None:
    need_root()


@pytest.fixture
def link() -> Iterator[Link]:
    with veth("wkm") as made:
        yield made


def center_keys(folder: Path, port: int) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "healthPort": free_port(),
        "recoverDir": str(folder / "recovery"),
        "backendConfig": {"type": "sqlite", "sqliteConfig": {"path": str(folder / "x.db")}},
    }


def probe_keys(folder: Path, link: Link, port: int) -> dict[str, Any]:
    return {
        "name": "p",
        "centerAddr": f"127.0.0.1:{port}",
        "dumpDir": str(folder / "dump"),
        "networkDevs": [link.name, "lo"],
        "capInterval": 1,
        "healthPort": free_port(),
    }


def tally(text: str, program: str, unit: str) -> dict[str, float]:
    """What became of packets or bytes, and ``device``."""
    prefix = f"wakizashi_{program}_"
    outcomes = {name: value(text, f"{prefix}{unit}_total", outcome=name) for name in OUTCOMES}
    return outcomes | {"device": value(text, f"{prefix}device_{unit}_total")}


def metrics_of(text: str) -> dict[str, Any]:
    found = exposed(text)
    engine = found.pop("wakizashi_probe_engine_info", None)
    if engine is not None:
        ((label, values),) = engine.labels
        assert label == "engine" and values <= set(engine_names())
    return found


def test_metrics_of_running_daemons(tmp_path: Path, link: Link) -> None:
    port = free_port()
    center, probe = center_keys(tmp_path, port), probe_keys(tmp_path, link, port)
    with running("center", tmp_path, **center), running("probe", tmp_path, **probe):
        until(lambda: is_ready(probe["healthPort"]), "the probe captures")
        link.send(FRAMES)

        def all_there() -> bool:
            texts = scrape(probe["healthPort"]), scrape(center["healthPort"])
            return (
                all(texts)
                and all(
                    value(text, f"wakizashi_{program}_packets_total", outcome="counted") >= FRAMES
                    for text, program in zip(texts, ("probe", "center"), strict=True)
                )
                and value(texts[1], "wakizashi_center_loop_lag_seconds_count") >= 1
            )

        until(all_there, "the frames are counted and stored, a second is over", seconds=60)
        texts = {"probe": scrape(probe["healthPort"]), "center": scrape(center["healthPort"])}

    wanted = documented()
    wanted.pop("wakizashi_probe_engine_info")
    assert metrics_of(texts["probe"]) | metrics_of(texts["center"]) == wanted
    for program, text in texts.items():
        assert promtool("check", "metrics", given=text) == ""
        other = {"probe": "center", "center": "probe"}[program]
        assert f"wakizashi_{other}_" not in text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                assert not any(map(is_address, sample.labels.values())), sample
    assert value(texts["probe"], "wakizashi_probe_devices", state="captured") == 2
    assert value(texts["probe"], "wakizashi_probe_delivery_seconds_count") >= 1
    assert value(texts["probe"], "wakizashi_probe_window_close_seconds_count") >= 1
    assert value(texts["probe"], "wakizashi_probe_flows") >= 1
    assert value(texts["center"], "wakizashi_center_window_delay_seconds_count") >= 1
    assert value(texts["center"], "process_open_fds") > 3


def test_ends_of_certificates_are_those_of_what_is_shown_now(tmp_path: Path, link: Link) -> None:
    authority = Authority(tmp_path / "authority")
    port = free_port()
    center, probe = center_keys(tmp_path, port), probe_keys(tmp_path, link, port)
    issued = {"center": authority.server(days=20), "probe": authority.client("p", days=20)}
    tls = {name: {"cert": str(its.cert), "key": str(its.key)} for name, its in issued.items()}
    center["tls"] = {**tls["center"], "clientCA": str(authority.cert)}
    probe["tls"] = {"ca": str(authority.cert)}
    ports = {"center": center["healthPort"], "probe": probe["healthPort"]}

    def end(name: str) -> float:
        text = scrape(ports[name])
        return value(text, f"wakizashi_{name}_certificate_end_timestamp_seconds") if text else 0.0

    def days(name: str) -> int:
        return round((end(name) - time.time()) / 86_400)

    with running("center", tmp_path, **center):
        with running("probe", tmp_path, **probe):
            until(lambda: math.isnan(end("probe")), "the probe to have none", 30)
        with running("probe", tmp_path, **{**probe, "tls": probe["tls"] | tls["probe"]}):
            until(lambda: [*map(days, ports)] == [20, 20], "both to be known", 30)
            authority.server(days=25).put(issued["center"])
            authority.client("p", days=25).put(issued["probe"])
            until(lambda: [*map(days, ports)] == [25, 25], "the new ones to be known", 30)


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def test_what_passed_is_what_the_outcomes_say(tmp_path: Path, link: Link) -> None:
    """On a device with quiet edges, to the packet and to the byte, at the probe and at the center."""
    port = free_port()
    center, probe = center_keys(tmp_path, port), probe_keys(tmp_path, link, port)
    probe["networkDevs"] = [link.name]
    before = link.passed
    with running("center", tmp_path, **center), running("probe", tmp_path, **probe):
        until(lambda: "capturing wkm" in (tmp_path / "probe.log").read_text(), "the probe captures")
        link.send(FRAMES)
        link.send_raw(ARP)
        passed = tuple(now - then for now, then in zip(link.passed, before, strict=True))

        def stored() -> bool:
            text = scrape(center["healthPort"])
            return bool(text) and value(text, "wakizashi_center_device_packets_total") == passed[0]

        until(stored, "all windows are acknowledged", seconds=60)
        texts = {"probe": scrape(probe["healthPort"]), "center": scrape(center["healthPort"])}
    for program, text in texts.items():
        for unit, expected in zip(("packets", "bytes"), passed, strict=True):
            found = tally(text, program, unit)
            assert found.pop("device") == expected
            assert sum(found.values()) == expected
            assert found["non_ip"] == {"packets": 1, "bytes": 60}[unit]
            assert found["counted"] == {"packets": FRAMES, "bytes": FRAMES * 142}[unit]
