"""The command lines of ``wakizashi``: what they refuse before anything is done."""

import pytest
from click.testing import CliRunner

from wakizashi.cli import command


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("top --interval nan", "'--interval': 'nan' is no number of seconds"),
        ("top --interval inf", "'--interval': inf is not in the range"),
        ("demo --seconds nan", "'--seconds': 'nan' is no number of seconds"),
        ("top --plain --json", "exclude each other"),
    ],
)
def test_what_an_option_can_not_be_is_a_usage_error(words: str, told: str) -> None:
    done = CliRunner().invoke(command, words.split())
    assert done.exit_code == 2 and told in done.output
