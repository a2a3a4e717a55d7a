"""A probe that was built without scapy says so, and does what it can."""

import sys
from pathlib import Path

import pytest

from wakizashi.probe.capture import FlowCounter
from wakizashi.probe.engines import scapy
from wakizashi.probe.engines.replay import CaptureFileError, ReplayTap


def test_the_engine_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scapy, "find_spec", lambda name: None)
    assert scapy.ScapyEngine().obstacle() == "scapy is not installed"


def test_a_capture_file_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "scapy.config", None)
    with pytest.raises(CaptureFileError, match="read with scapy, which is not installed here"):
        ReplayTap(tmp_path / "x.pcap", FlowCounter(10, ()))
