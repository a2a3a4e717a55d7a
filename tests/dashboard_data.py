"""A small store that is known, and what is on the dashboard of it."""

from pathlib import Path

from tests.center_windows import START, ip
from tests.memory_backend import Memory
from wakizashi.center.aggregate import aggregate
from wakizashi.dashboard.answers import Answers
from wakizashi.dashboard.app import application
from wakizashi.dashboard.guarding import Application
from wakizashi.dashboard.names import Labels
from wakizashi.dashboard.static import Static
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, StoredWindow, Tally, Window

WINDOW = 30_000
NUMBER = 20
END = START + WINDOW * NUMBER
SPAN = f"since={START}&until={END}"


def stored(probe: str, number: int, own: bytes, flows: list[tuple[bytes, int]]) -> StoredWindow:
    """The ``number``-th window of a probe that sends so much to each, and gets a tenth back."""
    made = []
    for peer, size in flows:
        made.append(Flow(0, Direction.OUT, own, peer, size, size // 100))
        made.append(Flow(0, Direction.IN, peer, own, size // 10, size // 1000))
    counted = Tally(sum(f.packets for f in made), sum(f.size for f in made))
    lost = Tally(1, 60)
    ledger = Ledger(device=counted + lost, counted=counted, dropped=lost)
    start = START + WINDOW * number
    return aggregate(
        Window(
            probe=probe,
            start_ms=start,
            end_ms=start + WINDOW,
            number=number + 1,
            tags=(),
            devices=(DeviceLedger("eth0", own, ledger),),
            flows=tuple(made),
        )
    )


def windows() -> list[StoredWindow]:
    """Three probes; 10.0.0.1 and 10.0.0.2 both see what goes from one to the other."""
    found = []
    for number in range(NUMBER):
        one = [(ip(n), 10_000 * n + number) for n in range(2, 9)]
        found.append(stored("web", number, ip(1), one))
        found.append(stored("db", number, ip(2), [(ip(1), 5_000 + number), (ip(9), 700)]))
        if number != 7:  # one is missing
            found.append(stored("v6", number, bytes(15) + b"\x01", [(ip(1, 3), 90_000)]))
    return found


def dashboard(
    backend: Memory | None = None,
    *,
    names: Path | None = None,
    now_ms: int = END + 10_000,
    listen: str = "127.0.0.1",
    bound: str | None = None,
    static: Path | None = None,
) -> Application:
    """The application over what is in memory."""
    answers = Answers(
        backend or Memory(windows()), Labels(names), table="traffic", clock=lambda: now_ms
    )
    return application(answers, Static(static) if static else Static(), listen, bound)
