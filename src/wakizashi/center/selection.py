"""``where`` of a reading in a form that every backend can ask its server for. Pure.

Alternatives that name the same keys are put together, so that hundreds of pairs are
one list of values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from wakizashi.center.backend import BY_KEYS, Where


@dataclass(frozen=True, slots=True)
class Choice:
    """The alternatives of a clause that name the same keys."""

    keys: tuple[str, ...]
    """In the order of ``BY_KEYS``; at least one."""
    values: frozenset[tuple[str, ...]]
    """Each as long as ``keys``; at least one."""


Clause = tuple[Choice, ...]
"""One of its choices holds."""


@dataclass(frozen=True, slots=True)
class Selection:
    """All clauses hold."""

    clauses: tuple[Clause, ...]

    @classmethod
    def of(cls, where: Where) -> Self:
        """From ``where``, whose keys are known ones; clauses that say nothing are left out."""
        clauses = []
        for clause in where:
            found: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
            for choice in clause:
                keys = tuple(key for key in BY_KEYS if key in choice)
                values = tuple(choice[key] for key in keys)
                if all(map(_storable, values)):
                    found.setdefault(keys, set()).add(values)
            if () not in found:
                clauses.append(
                    tuple(Choice(keys, frozenset(all_of)) for keys, all_of in found.items())
                )
        return cls(tuple(clauses))

    @property
    def nothing(self) -> bool:
        """Whether no record can hold."""
        return not all(self.clauses)

    def may_hold(self, probe: str) -> bool:
        """Whether a record of that probe can hold."""
        return all(
            any(_probe_agrees(choice, probe) for choice in clause) for clause in self.clauses
        )

    def holds(self, names: Sequence[str]) -> bool:
        """Whether a record holds, whose values are ``names``, in the order of ``BY_KEYS``."""
        own = dict(zip(BY_KEYS, names, strict=True))
        return all(
            any(tuple(own[key] for key in choice.keys) in choice.values for choice in clause)
            for clause in self.clauses
        )


def _probe_agrees(choice: Choice, probe: str) -> bool:
    if "probe" not in choice.keys:
        return True
    at = choice.keys.index("probe")
    return any(values[at] == probe for values in choice.values)


def _storable(value: str) -> bool:
    """Whether a record can have that value; not every server can be asked for others.

    What has control characters no center takes in (``wire.name_fault``); what is half of
    a surrogate pair is no text.
    """
    return not any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in value)
