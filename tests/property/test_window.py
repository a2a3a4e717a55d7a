"""Window starts strictly increase under any clock."""

from hypothesis import given
from hypothesis import strategies as st

from wakizashi.probe.window import Moment, WindowClock

walls = st.integers(min_value=0, max_value=4_000_000_000_000)
steps = st.lists(
    st.tuples(walls, st.floats(min_value=0.0, max_value=100_000.0, allow_nan=False)), max_size=30
)


@given(
    interval=st.integers(min_value=1, max_value=86_400),
    last=st.integers(min_value=-1, max_value=4_000_000_000_000),
    first=walls,
    steps=steps,
)
def test_starts_strictly_increase_and_windows_have_a_length(
    interval: int, last: int, first: int, steps: list[tuple[int, float]]
) -> None:
    monotonic = 0.0
    clock = WindowClock(interval, last, Moment(first, monotonic))
    assert clock.start_ms > last
    for wall, elapsed in steps:
        monotonic += elapsed
        now = Moment(wall, monotonic)
        end, following = clock.end(now)
        assert end > clock.start_ms
        assert following > clock.start_ms
        before = clock.start_ms
        clock.next(now)
        assert clock.start_ms == following > before
        assert monotonic < clock.deadline <= monotonic + interval + 0.001


@given(
    interval=st.integers(min_value=1, max_value=3_600),
    first=walls,
    late_ms=st.lists(st.integers(min_value=0, max_value=400), min_size=1, max_size=20),
)
def test_a_steady_clock_leaves_no_gap_and_no_overlap(
    interval: int, first: int, late_ms: list[int]
) -> None:
    clock = WindowClock(interval, -1, Moment(first, 0.0))
    for late in late_ms:
        monotonic = clock.deadline + late / 1000
        now = Moment(first + round(monotonic * 1000), monotonic)
        end, following = clock.end(now)
        assert end == following
        assert end % (interval * 1000) == 0
        clock.next(now)
