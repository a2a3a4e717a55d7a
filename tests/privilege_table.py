"""The table of ``docs/privileges.md``, and what running processes say of themselves."""

import contextlib
import pwd
from dataclasses import dataclass
from pathlib import Path

from wakizashi.privileges import Capability, Held, held, mask

DOCUMENT = Path(__file__).parents[1] / "docs" / "privileges.md"
_COLUMNS = 9


@dataclass(frozen=True)
class Row:
    """What the document says of one daemon, started one way."""

    started: str
    daemon: str
    engine: str
    user: str
    groups: str
    capabilities: int
    bounding: int

    def __str__(self) -> str:
        return f"{self.started}-{self.daemon}-{self.engine}".strip("-")


def rows(*started: str) -> list[Row]:
    """The rows of these ways to start a daemon."""
    found = []
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == _COLUMNS and cells[1] in ("probe", "center"):
            *front, both, bounding, inheritable, no_new_privs = cells
            assert (inheritable, no_new_privs) == ("none", "1")
            way, daemon, engine, user, groups = (text.replace("`", "") for text in front)
            found.append(Row(way, daemon, engine, user, groups, _mask(both), _mask(bounding)))
    assert len(found) > 10
    return [row for row in found if row.started in started]


def _mask(cell: str) -> int:
    if cell == "none":
        return 0
    return mask([Capability[name.strip("`")] for name in cell.split()])


def check(row: Row, pid: int, user: str = "") -> list[Held]:
    """Every thread of a process holds what the document says; ``user`` is the key's value."""
    account = pwd.getpwnam(user or row.user) if not (user or row.user).isdecimal() else None
    uid = account.pw_uid if account else int(user or row.user)
    gid = account.pw_gid if account else uid
    return check_ids(row, pid, uid, gid)


def check_ids(row: Row, pid: int, uid: int, gid: int) -> list[Held]:
    """As :func:`check`, with numbers."""
    threads = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # gRPC's come and go
            threads.append(held(str(task)))
    assert threads
    groups = {"none": frozenset[int](), "its own": frozenset({gid})}[row.groups]
    for thread in threads:
        assert thread == Held(
            name=thread.name,
            inheritable=0,
            permitted=row.capabilities,
            effective=row.capabilities,
            bounding=row.bounding,
            ambient=0,
            no_new_privs=True,
            uids=frozenset({uid}),
            gids=frozenset({gid}),
            groups=groups,
        )
    return threads
