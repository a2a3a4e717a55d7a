"""A changed configuration takes hold of a running center, on its event loop.

In: a validated configuration. Out: nothing but its effect. Lost is nothing: windows
that are in go on, and what came to have no room by it waits for its turn as ever.
"""

from wakizashi.center.admission import Admission
from wakizashi.center.config import CenterConfig
from wakizashi.center.recovery import Recovery
from wakizashi.center.store import Store
from wakizashi.logs import set_level


def apply(
    config: CenterConfig, store: Store, admission: Admission, recovery: Recovery | None
) -> None:
    """Make ``config`` hold."""
    set_level(config.logLev)
    admission.change(config.limits)
    store.change(config.recoverInterval)
    if recovery is not None:
        recovery.change(config.recoverLimit)
