"""Python's garbage collector, for processes through which records go by the million."""

import gc


def collect_less() -> None:
    """Let what is there alone, and look at what comes less often.

    Records are no cycles; looking for some among them took half of the time of a large window.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
