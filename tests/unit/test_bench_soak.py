"""By what rule a soak is judged: what is flat, what is not, and what can't be told."""

import random
from collections.abc import Callable

import pytest

from bench.soak import judge as judging
from bench.soak.judge import DESCRIPTORS, FILES, MEMORY, MOST_RISE, THREADS, Series, fit, judge
from bench.soak.report import markdown, table
from bench.soak.run import sample_process

SECONDS = [3.0 * n for n in range(200)]  # ten minutes
MIB = 2**20


def verdict(kind: str, value: Callable[[float], float]) -> str:
    made = Series("probe", "it", kind, SECONDS, [int(value(second)) for second in SECONDS])
    return judge(made).fault


def noisy(value: Callable[[float], float], by: float) -> Callable[[float], float]:
    dice = random.Random(1)
    return lambda second: value(second) + dice.uniform(-by, by)


def test_the_line_of_least_squares() -> None:
    assert fit([0, 1, 2, 3], [5, 7, 9, 11]) == (2.0, 0.0)
    slope, error = fit([0, 1, 2, 3], [1, -1, 1, -1])
    assert slope == pytest.approx(-0.4) and error == pytest.approx(0.32**0.5)


def test_memory_that_fills_its_caches_while_it_warms_up_is_flat() -> None:
    assert not verdict(MEMORY, noisy(lambda s: 60 * MIB + min(s, 190) * MIB / 10, 2 * MIB))


@pytest.mark.parametrize("kilobytes", [1, 8, 100])
def test_a_list_that_grows_with_each_window_is_seen(kilobytes: int) -> None:
    """A window a second: 8 kB in each are 28 MiB an hour; one is 3.5, below what can be told."""
    said = verdict(MEMORY, noisy(lambda s: 60 * MIB + s * kilobytes * 1024, 0.3 * MIB))
    assert bool(said) == (kilobytes > 1)
    assert not said or said.startswith("rises by")


def test_the_bound_is_sharp_where_there_is_no_noise() -> None:
    assert not verdict(MEMORY, lambda s: s * MOST_RISE * 0.999 / 3_600)
    assert verdict(MEMORY, lambda s: s * MOST_RISE * 1.001 / 3_600)


def test_noise_alone_is_no_rise() -> None:
    """One step of 3 MiB near the end has a steep line through it, and a large error."""
    assert not verdict(MEMORY, lambda s: 60 * MIB + (3 * MIB if 540 < s < 555 else 0))


@pytest.mark.parametrize("kind", [DESCRIPTORS, THREADS])
def test_a_descriptor_that_leaks_now_and_then_is_seen(kind: str) -> None:
    assert not verdict(kind, lambda s: 20 + s % 5)
    assert verdict(kind, lambda s: 20 + s // 60) == "up to 29 in the second half, 26 in the first"
    assert verdict(kind, lambda s: 20 + 3 * (s > 500))
    assert not verdict(kind, lambda s: 20 + 2 * (s > 500))


def test_files_come_and_go_but_do_not_stay() -> None:
    tide = lambda s: s % 40 * (s % 40 > 20)
    assert not verdict(FILES, tide)
    assert verdict(FILES, lambda s: tide(s) + s // 60).startswith("never fewer than")


def test_what_happens_while_it_warms_up_does_not_count() -> None:
    assert not verdict(DESCRIPTORS, lambda s: 500 if s < 199 else 20)
    assert not verdict(MEMORY, lambda s: 500 * MIB - s * MIB if s < 199 else 20 * MIB)


def test_too_few_samples_are_no_verdict() -> None:
    for count in (0, 1, judging.LEAST_SAMPLES):
        with pytest.raises(ValueError, match="too few to judge by"):
            judge(Series("probe", "it", MEMORY, SECONDS[:count], [1] * count))


def test_the_table_says_which_is_not_flat() -> None:
    verdicts = [
        judge(Series("probe", "resident", MEMORY, SECONDS, [int(s) * MIB for s in SECONDS])),
        judge(Series("center", "threads", THREADS, SECONDS, [9] * len(SECONDS))),
    ]
    lines = table(verdicts).splitlines()
    assert lines[2].startswith("| probe | resident | 0.0 MiB | 201.0 MiB | 597.0 MiB | +3600.0 MiB")
    assert "rises by 3600 MiB an hour" in lines[2] and lines[3].endswith("| flat |")
    assert "\n\ncpu x.\n\nminutes: 10.\n\n| process" in markdown(
        verdicts, {"cpu": "x"}, {"minutes": "10"}
    )


def test_a_process_is_sampled() -> None:
    import os

    found = sample_process(os.getpid())
    assert {kind for kind, _ in found.values()} == {MEMORY, DESCRIPTORS, THREADS}
    assert found["resident"][1] > MIB
    assert found["descriptors"][1] > 2 and found["threads"][1] >= 1
