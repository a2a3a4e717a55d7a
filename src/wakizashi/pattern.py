"""A name, or a regular expression for the whole name: what ``networkDevs`` and ``tokensFile`` hold."""

import re


class Pattern:
    """One entry: a name, or a regular expression for the whole name.

    Raises:
        re.error: it is no regular expression.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._expression = re.compile(text)
        except (OverflowError, RecursionError) as error:  # a{99999999999}; ((((…
            raise re.error(str(error)) from error

    def matches(self, name: str) -> bool:
        """Whether it means ``name``."""
        return name == self.text or self._expression.fullmatch(name) is not None
