"""The errors of the project: a message for a person each, and what to do with it.

Three classes are enough. Where a foreign library is called its failure is
turned into one of them, and no other code looks at foreign exceptions.
"""

from typing import ClassVar

EXIT_OK = 0
EXIT_RUNTIME = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78
"""``EX_CONFIG`` of sysexits.h: the configuration is at fault; a restart will not help."""


class WakizashiError(Exception):
    """A failure that ends what was asked for; ``str()`` is the whole message for the user.

    The message names the thing, the value and the remedy. Command lines print
    it on one screen and exit with ``exit_code``.
    """

    exit_code: ClassVar[int] = EXIT_RUNTIME


class ConfigError(WakizashiError):
    """The configuration can't be used; the message lists every fault, a line each."""

    exit_code: ClassVar[int] = EXIT_CONFIG


class Retryable(WakizashiError):
    """It did not work now but may later: refused connections, timeouts, wrong passwords, 5xx.

    Nothing that failed this way may ever be dropped.

    Args:
        message: for the user.
        delay_seconds: how long whoever refused asked to be left alone; 0 if it did not ask.
    """

    def __init__(self, message: str, *, delay_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds


class Permanent(WakizashiError):
    """It will not work however often it is tried: the data itself is at fault.

    What failed this way is quarantined and counted, never dropped silently.
    """
