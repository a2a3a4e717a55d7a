"""A changed configuration takes hold of a running probe, between two rounds of the capture loop.

In: a validated configuration. Out: nothing but its effect. Lost is nothing, and nothing
is counted twice: a device that is in both goes on without a gap, windows go on in
number and start, and a delivery in progress ends as it began.
"""

from wakizashi.errors import ConfigError
from wakizashi.logs import set_level
from wakizashi.probe.channel import Credentials, Way
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.courier import Courier
from wakizashi.probe.dump import Dump
from wakizashi.probe.loop import Probe


def apply(
    before: ProbeConfig,
    config: ProbeConfig,
    probe: Probe,
    dump: Dump,
    courier: Courier,
    *,
    devices_may_lack: bool,
) -> None:
    """Make ``config`` hold in place of ``before``. On the capture thread.

    Raises:
        ConfigError: it means no device of this host, as at the start, or its files can't be
            used; nothing changed.
    """
    credentials = courier.way.credentials
    if not credentials.are_of(config):
        credentials = Credentials.of(config)
    moved = config.networkDevs != before.networkDevs
    if moved and not devices_may_lack and not probe.watch.meant(config.networkDevs):
        raise ConfigError(
            f"networkDevs: {', '.join(config.networkDevs) or '(all that are up)'} means no device "
            "of this host now; mend networkDevs, or start with --wait-for-devices"
        )
    set_level(config.logLev)
    dump.change(
        limit_bytes=config.dumpLimit, auto_clear=config.autoClear, max_flows=config.maxFlows
    )
    probe.change(config)
    courier.change(
        upload_retry=config.uploadRetry,
        interval_seconds=config.capInterval,
        way=Way(config.centerAddr, credentials, config.channelLifetime),
    )
