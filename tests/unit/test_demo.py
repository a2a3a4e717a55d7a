"""The demo without its programs: what it tells where one of them does not get on."""

import subprocess
import sys
from pathlib import Path

import pytest

from wakizashi.demo import run
from wakizashi.lifecycle import StopSignal


def test_who_waits_in_vain_is_told_what_the_program_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    def child(*words: object, **more: object) -> "subprocess.Popen[bytes]":
        return sleeper

    monkeypatch.setattr(run, "STOP_SECONDS", 0.0)
    with monkeypatch.context() as starting:
        starting.setattr(subprocess, "Popen", child)
        center = run._Child("wakizashi.center", tmp_path / "c.yaml", tmp_path)
    (tmp_path / "center.log").write_text("one\ntwo: no such device\n")
    try:
        with StopSignal() as stop, pytest.raises(run.DemoError) as told:
            run._wait(lambda: False, center, stop, "the center to be ready")
    finally:
        sleeper.communicate(timeout=60)
    first, *rest = str(told.value).splitlines()
    assert first == (
        "waited 0 s in vain for the center to be ready; is this machine very busy? center said:"
    )
    assert rest == ["one", "two: no such device"]
