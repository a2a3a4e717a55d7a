"""Would an InfluxDB 1.x take the center's points, and how long does it keep them? Writes none."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from wakizashi.center.backend import Remark
from wakizashi.center.influx.answers import NoDatabase
from wakizashi.errors import WakizashiError

_SHORT_SECONDS = 86_400
"""Of a retention: a center or a backend may be away for as long over a bad day."""
_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


def look(
    describe: str,
    database: str,
    user: str,
    answer: Callable[[str], tuple[str, Any]],
    write_nothing: Callable[[], None],
) -> Iterator[Remark]:
    """Ask a server.

    Args:
        describe: kind and place.
        database: where the center writes.
        user: as whom; empty for nobody.
        answer: runs a statement; the server's version, and its answer.
        write_nothing: writes no point, which needs all that writing needs.

    Raises:
        WakizashiError: it is not there, or does not let the user in.
    """
    version, _ = answer("SHOW DATABASES")
    yield Remark(f"{describe}: version {version or 'not told'}, lets {user or 'anybody'} in")
    try:
        write_nothing()
    except NoDatabase:
        yield _missing(database, user, answer)
        return
    yield Remark(f"database {database} takes points")
    try:
        _, document = answer(f'SHOW RETENTION POLICIES ON "{database}"')
    except WakizashiError:  # what only takes lines as InfluxDB does has none
        return
    yield from judge_retention(database, document)


def _missing(database: str, user: str, answer: Callable[[str], tuple[str, Any]]) -> Remark:
    try:
        answer("SHOW USERS")  # for administrators alone, as is making a database
    except WakizashiError:
        return Remark(
            f"database {database} is not there, and {user!r} may not create it",
            f'as an administrator: CREATE DATABASE "{database}"; GRANT ALL ON "{database}" TO "{user}"',
            fault=True,
        )
    return Remark(f"database {database} is not there yet; the first write creates it")


def judge_retention(database: str, document: Any) -> Iterator[Remark]:
    """How long the default retention policy keeps points."""
    for result in document.get("results") or ():
        for series in result.get("series") or ():
            for values in series["values"]:
                policy = dict(zip(series["columns"], values, strict=True))
                if not policy.get("default"):
                    continue
                kept = seconds(policy["duration"])
                text = (
                    f"database {database} keeps points for {policy['duration'] if kept else 'ever'}"
                )
                if 0 < kept < _SHORT_SECONDS:
                    yield Remark(
                        f"{text}: windows that waited for longer are refused",
                        f'ALTER RETENTION POLICY "{policy["name"]}" ON "{database}" DURATION 30d',
                    )
                else:
                    yield Remark(text)


def seconds(duration: str) -> int:
    """Seconds in ``168h0m0s``, ``0s``."""
    return sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([wdhms])", duration))
