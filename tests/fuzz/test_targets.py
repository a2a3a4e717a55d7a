"""What is kept is replayed, and some mutations of it are tried: the same ones each time."""

import importlib
import random
from pathlib import Path

import pytest

from tests.fuzz.__main__ import KEPT, TARGETS
from tests.fuzz.choices import Choices

RUNS = {"ingest": 250, "files": 1_000, "configuration": 300, "capture_files": 1_500, "packets": 200}
"""A few seconds each."""


def corpus(target: str) -> list[bytes]:
    seeds = list(importlib.import_module(f"tests.fuzz.{target}").seeds())
    return seeds + [path.read_bytes() for path in sorted((KEPT / target).glob("*"))]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        pytest.param(target, path, id=f"{target}-{path.name}")
        for target in TARGETS
        for path in sorted((KEPT / target).glob("*"))
    ],
)
def test_what_was_found_once_is_not_found_again(target: str, path: Path) -> None:
    importlib.import_module(f"tests.fuzz.{target}").fuzz(path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_and_mutations_hold(target: str) -> None:
    fuzz = importlib.import_module(f"tests.fuzz.{target}").fuzz
    kept, dice = corpus(target), random.Random(target)
    for data in kept:
        fuzz(data)
    for number in range(RUNS[target]):
        data = Choices(dice.randbytes(64)).altered(dice.choice(kept))
        if number % 4 == 0:
            data = dice.randbytes(dice.randrange(400))
        try:
            fuzz(data)
        except BaseException as error:
            error.add_note(f"{target}: bytes.fromhex({data.hex()!r})")
            raise


def test_every_target_is_run() -> None:
    here = Path(__file__).parent
    found = {path.stem for path in here.glob("*.py") if "\ndef fuzz(" in path.read_text()}
    assert found == set(TARGETS) == set(RUNS)
