"""What all tests share: the servers they need, and scapy's manners."""

import logging
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# By default Hypothesis fails an example that takes 0.2 s: on a busy machine any may.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = [
    "tests.center_servers",
    "tests.browser",  # behind the one that it imports
    "tests.e2e.images",
    "tests.mongo_servers",
    "tests.namespaces",
    "tests.redis_servers",
]


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """What a test sets with ``logLev`` holds for it alone."""
    loggers = [logging.getLogger(name) for name in (None, "grpc", "urllib3", "asyncio", "scapy")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def hang_ups() -> Iterator[None]:
    """A daemon that ends in a test ignores SIGHUP from then on, and so would all programs started
    after it: they'd take it for what nohup wants."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)
