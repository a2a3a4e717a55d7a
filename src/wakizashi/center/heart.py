"""Whether a center works: its event loop turns, and its store goes on or waits for the backend.

The event loop feeds the service manager's watchdog and says to people how it is;
``/healthz`` asks from a thread of its own, so that it answers for a loop that stands still.
A backend that is down or hangs is no reason to begin anew: windows wait, and are told so.
"""

import asyncio
import logging
from collections.abc import Callable

from wakizashi.center.store import Store
from wakizashi.notify import Supervisor
from wakizashi.pulse import Pulse
from wakizashi.telemetry import Throttle

BEAT_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Heart:
    """Belongs to the event loop; :meth:`trouble` may be called on any thread.

    Args:
        status: one line for people.
    """

    def __init__(self, store: Store, supervisor: Supervisor, status: Callable[[], str]) -> None:
        self._store, self._supervisor, self._status = store, supervisor, status
        self._pulse = Pulse("the event loop")
        self._throttle = Throttle(_log)
        self._seconds = min(BEAT_SECONDS, supervisor.feed_seconds or BEAT_SECONDS)

    def trouble(self) -> str | None:
        """None while the center works, else what does not."""
        return self._pulse.trouble() or self._store.stuck()

    async def loop(self) -> None:
        """Run until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(self._seconds)

    def beat(self) -> None:
        """The event loop has come round."""
        self._pulse.beat(self._seconds)
        trouble = self._store.stuck()
        if trouble is None:
            self._supervisor.alive()
        else:
            self._throttle.error("stuck", trouble)
        self._supervisor.status(trouble or self._status())
