"""A loop's promises, and when it has broken one."""

from wakizashi.pulse import STUCK_SECONDS, Pulse


def test_a_wait_that_was_announced_is_no_silence_and_what_is_longer_is() -> None:
    now = 1000.0
    pulse = Pulse("delivery", lambda: now)
    assert pulse.trouble() is None  # it has not begun
    pulse.beat(3600.0)
    now += 3600.0 + STUCK_SECONDS
    assert pulse.trouble() is None
    now += 1.0
    assert pulse.trouble() == "delivery stands still for 31 s"
    pulse.beat(0.0)
    assert pulse.trouble() is None
    now += STUCK_SECONDS + 1.0
    assert pulse.trouble() is not None
    pulse.rest()
    assert pulse.trouble() is None
