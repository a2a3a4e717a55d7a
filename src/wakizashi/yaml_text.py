"""The value in a YAML text, within bounds: whatever it is, it takes neither long nor much memory.

PyYAML has none. A few aliases stand for billions of values, a thousand brackets, one in another,
take seconds, and a number may have more digits than Python will show.
"""

from collections.abc import Callable
from typing import Any

import yaml

MOST_VALUES = 10_000
"""In a file, what aliases stand for included: a few of them can stand for billions."""
MOST_DEPTH = 32
MOST_CHARACTERS = 2_048
"""In one value, so that no number takes long to make, or has too many digits to be shown."""

NO_YAML = (
    *(yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError),
    *(OverflowError, RecursionError),
)
"""What PyYAML raises over text: its own errors, and those of the types it makes (2026-13-01)."""


class _Loader(yaml.SafeLoader):
    """PyYAML's, which takes seconds for a thousand brackets, one in another."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A value, with those in it."""
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def parse(text: str, look: Callable[[yaml.Node], None] = lambda root: None) -> Any:
    """The value in a YAML text; ``look`` sees its nodes first.

    Raises:
        yaml.MarkedYAMLError: it is no YAML; says where.
        NO_YAML: the same, or what it stands for is too large.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _count(root, {})
        look(root)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values in a node. What an alias names counts each time: it is made as often.

    Raises:
        ValueError: they are too many or too long.
    """
    if id(node) in known:
        if not known[id(node)]:
            raise ValueError("an alias (*NAME) stands inside what it names")
        return known[id(node)]
    known[id(node)] = 0
    count = 1
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > MOST_CHARACTERS:
            raise ValueError(
                f"line {node.start_mark.line + 1}: a value has {len(node.value)} characters, "
                f"and {MOST_CHARACTERS} are the most"
            )
    else:
        for value in node.value:
            for part in value if isinstance(value, tuple) else (value,):
                count += _count(part, known)
                if count > MOST_VALUES:
                    raise ValueError(f"it stands for more than {MOST_VALUES} values")
    known[id(node)] = count
    return count
