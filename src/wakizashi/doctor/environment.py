"""Variables of the environment that look as if they were meant for us, and are not heard. Pure.

A daemon takes the variables of its keys and no other: in a pod the kubelet sets variables
for each Service beside it, and one may be named ``wakizashi``. So a misspelt one is silent.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping

from wakizashi.config import ENVIRONMENT_PREFIX
from wakizashi.doctor.finding import Finding, fault, note, ok

# What the kubelet makes of a Service whose name begins with "wakizashi": _SERVICE_HOST,
# _SERVICE_PORT, _SERVICE_PORT_NAME, _PORT=tcp://…, _PORT_80_TCP=tcp://…, _PORT_80_TCP_ADDR.
_SERVICE_NAME = re.compile(
    r"\w*_SERVICE_(HOST|PORT(_\w+)?)|\w*_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
_SERVICE_VALUE = re.compile(r"(tcp|udp|sctp)://.*")


def look(
    environment: Mapping[str, str], ours: Collection[str], others: Collection[str], daemon: str
) -> Iterator[Finding]:
    """Tell of each variable that is not heard; never of a value.

    Args:
        environment: all variables.
        ours: the variables that the daemon hears.
        others: those that the other daemon hears.
        daemon: ``probe`` or ``center``.
    """
    heard = sorted(name for name in environment if name in ours)
    strange = False
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in ours:
            continue
        if _SERVICE_NAME.fullmatch(name) or _SERVICE_VALUE.fullmatch(environment[name]):
            continue
        strange = True
        yield _stray(name, ours, others, daemon)
    if not strange:
        shown = f"{', '.join(heard)} set" if heard else "no variable sets a key"
        yield ok("environment", shown)


def _stray(name: str, ours: Collection[str], others: Collection[str], daemon: str) -> Finding:
    if name in others:
        return note("environment", f"{name} is no key of a {daemon}", f"the {daemon} ignores it")
    # The keys alone are compared: the prefix makes any two alike.
    keys = {known.removeprefix(ENVIRONMENT_PREFIX): known for known in ours}
    close = difflib.get_close_matches(name.removeprefix(ENVIRONMENT_PREFIX), keys, n=1, cutoff=0.7)
    if close:
        return fault(
            "environment",
            f"{name} means no key, so it is not heard",
            f"did you mean {keys[close[0]]}?",
        )
    return note("environment", f"{name} means no key", f"the {daemon} ignores it; unset it")
