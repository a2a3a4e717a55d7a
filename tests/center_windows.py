"""Windows for tests of the center."""

from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Tally, Window

START = 1_700_000_000_000
NOTHING = Tally()


def ip(last: int, third: int = 0) -> bytes:
    """10.0.THIRD.LAST."""
    return bytes((10, 0, third, last))


def window(
    number: int = 0,
    flows: tuple[Flow, ...] | None = None,
    *,
    probe: str = "vm-1",
    tags: tuple[tuple[str, str], ...] = (),
    size: int = 100,
    lost: Tally = NOTHING,
    windows: int = 1,
) -> Window:
    """The ``number``-th window of a probe, 30 s long, with one flow unless told."""
    if flows is None:
        flows = (Flow(0, Direction.OUT, ip(1), ip(2), size, 1),)
    counted = Tally(sum(f.packets for f in flows), sum(f.size for f in flows))
    start = START + 30_000 * number
    ledger = Ledger(device=counted + lost, counted=counted, lost=lost)
    return Window(
        probe=probe,
        start_ms=start,
        end_ms=start + 30_000,
        number=number,
        tags=tags,
        devices=(DeviceLedger("eth0", ip(1), ledger),),
        flows=flows,
        windows=windows,
    )
