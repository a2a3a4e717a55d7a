"""The end of a last window that the dump directory did not take.

In: a window, in memory alone. Out: the same in the dump directory or at the center; or,
where neither takes it, its ledger in the dump directory, with all that was counted as
``lost``, so that the loss is stored to the byte. It is so only if no center was offered
the window: one that has it stored must not hear that it was lost.
"""

import logging
from dataclasses import replace

from wakizashi import wire
from wakizashi.errors import Retryable
from wakizashi.model import Tally, Window
from wakizashi.probe.dump import Dump
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.transmit import Transmitter, Unsaved

_log = logging.getLogger(__name__)


def last_resort(window: Window, transmitter: Transmitter, dump: Dump, stats: ProbeStats) -> None:
    """Save a window, or deliver it, or tell of its loss. For the end, when the threads have ended."""
    try:
        dump.save(window)  # what was delivered since may have made room
    except Retryable as error:
        _log.warning("%s", error)
    else:
        return
    try:
        # Else a shorter form of it would be delivered over it, some day.
        dump.directory.withdraw(window)
    except Retryable as error:
        _log.error("%s", error)
        outcome = Unsaved.NOT_OFFERED
    else:
        outcome = transmitter.deliver_unsaved(wire.encode(window))
    if outcome is Unsaved.TAKEN:
        dump.took(window)
        _use_up(window, dump)
    elif outcome is Unsaved.NOT_OFFERED:
        _lose(window, dump, stats)
    else:
        _keep(window, dump)


def lost(window: Window) -> Window:
    """What is to be stored of a window that is lost: its ledger, which says so."""
    return replace(
        window,
        flows=(),
        devices=tuple(
            replace(
                device,
                ledger=replace(
                    device.ledger,
                    counted=Tally(),
                    other=Tally(),
                    lost=device.ledger.lost + device.ledger.counted,
                ),
            )
            for device in window.devices
        ),
    )


def _lose(window: Window, dump: Dump, stats: ProbeStats) -> None:
    told = lost(window)
    loss = sum((device.ledger.lost for device in told.devices), Tally())
    try:
        dump.save_past_limit(told)  # some hundred bytes
        how = "the ledger that waits says so"
    except Retryable as error:
        stats.account(told)
        how = f"not even its ledger: {error}"
    _log.critical(
        "lost: %d bytes in %d packets of the last window: neither dumpDir nor center took it; %s",
        loss.bytes,
        loss.packets,
        how,
    )


def _keep(window: Window, dump: Dump) -> None:
    """The center may have it or not: delivered again it stores the same, so it is kept whole."""
    directory = dump.directory
    try:
        if directory.used_bytes > directory.limit_bytes:
            raise Retryable(f"{directory.limit_key}: passed by an earlier last window already")
        dump.save_past_limit(window)
    except Retryable as error:
        _log.critical(
            "%d bytes in %d packets of the last window may be lost: the center was offered it and "
            "did not answer, and it can't be kept: %s",
            sum(flow.size for flow in window.flows),
            sum(flow.packets for flow in window.flows),
            error,
        )
        _use_up(window, dump)


def _use_up(window: Window, dump: Dump) -> None:
    """A center may have that number: it may not be another window's. If it is missing that tells."""
    try:
        dump.use_up(window)
    except Retryable as error:
        _log.warning("%s; number %d may be used again", error, window.number)
