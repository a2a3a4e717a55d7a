"""An audit that was not answered is none."""

import json
import subprocess
from typing import Any

import pytest

from supply import audit, lock

FINE = {"name": "click", "version": "8.2", "vulns": []}
FOUND = {
    "name": "idna",
    "version": "1.0",
    "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}, {"id": "CVE-2", "fix_versions": []}],
}
SKIPPED = {"name": "six", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What pip-audit prints, call by call; three packages are locked."""
    texts: list[str] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        # It ends with 0 also when nothing was audited.
        return subprocess.CompletedProcess(command, 0, texts.pop(0), "ConnectionError: no route")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(audit, "locked", lambda: ["click==8.2", "idna==1.0", "six==1"])
    return texts


def report(*dependencies: object) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (report(FINE, FINE, FINE), 0, "no vulnerability is known in any of the 3"),
        (report(FINE, FOUND, FINE), 1, "idna 1.0: CVE-1, mended in 1.1"),
        (report(FINE, FOUND, FINE), 1, "idna 1.0: CVE-2, mended in no version yet"),
        (report(FINE, FINE, SKIPPED), 75, "did not answer: six of the 3"),
        (report(SKIPPED, SKIPPED, SKIPPED), 75, "did not answer: all of the 3"),
        (report(FINE, FOUND, SKIPPED), 1, "did not answer: six of the 3"),
        (report(FINE, FINE), 75, "did not answer: 1 that the report leaves out of the 3"),
        (report(), 75, "did not answer"),
        ("", 75, "pip-audit did not report: ConnectionError: no route"),
    ],
)
def test_nothing_found_is_told_from_nothing_asked(
    answers: list[str], capsys: pytest.CaptureFixture[str], text: str, code: int, said: str
) -> None:
    answers.append(text)
    assert audit.main() == code
    printed = capsys.readouterr()
    assert said in printed.out + printed.err
    assert ("no vulnerability" in printed.out) is (code == 0)


def test_everything_that_is_locked_is_asked_about_once() -> None:
    pins = audit.locked()
    assert {pin.partition("==")[0] for pin in pins} == {
        name for lock_name in lock.LOCKS for name in lock.pins(lock_name)
    }
    rounds = audit.rounds(pins)
    assert sorted(pin for some in rounds for pin in some) == pins
    for some in rounds:
        assert len({pin.partition("==")[0] for pin in some}) == len(some)
    names = [pin.partition("==")[0] for pin in pins]
    assert len(rounds) == max(map(names.count, names))
