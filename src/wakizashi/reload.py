"""What a changed configuration means to a daemon that runs: per key, and in words.

Each key says with a :class:`Takes` in its annotation when a change of it takes
effect; ``docs/reload.md`` has the same as a table, and a test holds them together.
"""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar, cast

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from wakizashi.errors import WakizashiError
from wakizashi.lifecycle import HangUp
from wakizashi.notify import Supervisor
from wakizashi.sections import Section

Model = TypeVar("Model", bound=Section)

_SHOWN = 100
"""Characters of a value in a message."""

_log = logging.getLogger(__name__)


class Takes(Enum):
    """When a changed value takes effect; put into the annotation of each key."""

    AT_ONCE = "at once"
    WINDOW = "with the next window"
    DELIVERY = "with the next delivery"
    CONNECTION = "with the next delivery, over a new connection"
    DEVICE = "for devices that are opened from then on"
    RESTART = "after a restart"


@dataclass(frozen=True, slots=True)
class Change:
    """One key whose value is another one now."""

    key: str
    """Levels joined by dots."""
    before: object
    after: object
    takes: Takes

    def __str__(self) -> str:
        """``capInterval 30 → 10``; of what may hold a secret no value."""
        values = (self.before, self.after)
        secret = re.search(r"password|token|secret", self.key, re.IGNORECASE)
        if secret or any(isinstance(value, SecretStr | Section) for value in values):
            text = f"{self.key} changed"
        else:
            text = f"{self.key} {_shown(self.before)} → {_shown(self.after)}"
        return text if self.takes is Takes.AT_ONCE else f"{text} ({self.takes.value})"


def keys(model: type[Section], section: Takes | None = None) -> dict[str, Takes | None]:
    """Every key that has a value of its own, with what it says of changes; None: nothing.

    ``section`` is what the section says, for those of its keys that say nothing themselves.
    """
    found: dict[str, Takes | None] = {}
    for name, field in model.model_fields.items():
        takes = _takes(field) or section
        if _is_section(field):
            inner = keys(cast(type[Section], field.annotation), takes)
            found |= {f"{name}.{key}": each for key, each in inner.items()}
        else:
            found[name] = takes
    return found


def changes(old: Section, new: Section) -> Iterator[Change]:
    """Where two configurations of one model differ."""
    for key, takes in keys(type(new)).items():
        before, after = _value(old, key), _value(new, key)
        if before != after:
            yield Change(key, before, after, takes or Takes.RESTART)


def effective(old: Model, new: Model) -> Model:
    """``new``, but with the values of ``old`` where only a restart changes them."""
    for change in changes(old, new):
        if change.takes is Takes.RESTART:
            new = _with(new, change.key, change.before)
    return new


def told(source: str, changed: list[Change]) -> str:
    """What was reloaded, in one line: what holds now, and what can't change."""
    taken = [str(change) for change in changed if change.takes is not Takes.RESTART]
    fixed = [change.key for change in changed if change.takes is Takes.RESTART]
    text = f"reloaded {source}: {', '.join(taken) or 'nothing changed'}"
    if fixed:
        them = "it" if len(fixed) == 1 else "them"
        text += f"; {', '.join(fixed)} can't change while running; restart to change {them}"
    return text


@dataclass(frozen=True, slots=True)
class Source(Generic[Model]):
    """Where a configuration comes from, and who asks to read it again."""

    name: str
    """For messages."""
    load: Callable[[], Model]
    """Reads file, environment and flags; raises WakizashiError with every fault."""
    hangup: HangUp


class Reload(Generic[Model]):
    """Answers SIGHUP; belongs to the work loop of a daemon.

    Args:
        config: what holds now.
        apply: makes a configuration hold, of which ``Takes.RESTART`` keys are as they
            were; raises WakizashiError before anything changed, or not at all.
    """

    def __init__(
        self,
        config: Model,
        source: Source[Model],
        supervisor: Supervisor,
        apply: Callable[[Model], None],
    ) -> None:
        self.config = config
        self._source, self._supervisor, self._apply = source, supervisor, apply

    def answer(self) -> None:
        """Reload, if a signal asks for it; what is faulty is told and changes nothing."""
        if not self._source.hangup.take():
            return
        self._supervisor.reloading()
        try:
            new = self._source.load()
            changed = list(changes(self.config, new))
            config = effective(self.config, new)
            self._apply(config)
        except WakizashiError as error:
            for fault in str(error).splitlines():
                _log.error("not reloaded, what held before goes on: %s", fault)
        else:
            self.config = config
            _log.info("%s", told(self._source.name, changed))
        self._supervisor.ready()


def _value(section: object, key: str) -> object:
    for name in key.split("."):
        section = getattr(section, name)
    return section


def _with(section: Model, key: str, value: object) -> Model:
    name, _, rest = key.partition(".")
    if rest:
        value = _with(cast(Section, getattr(section, name)), rest, value)
    return section.model_copy(update={name: value})


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Section)


def _takes(field: FieldInfo) -> Takes | None:
    return next((each for each in field.metadata if isinstance(each, Takes)), None)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        text = f"{{{', '.join(f'{key}: {each}' for key, each in value.items())}}}"
    elif isinstance(value, tuple):
        text = f"[{', '.join(map(str, value))}]"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = str(value)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
