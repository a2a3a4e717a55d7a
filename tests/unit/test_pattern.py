"""Names, and regular expressions for whole names."""

import re

import pytest

from wakizashi.pattern import Pattern


@pytest.mark.parametrize("text", ["(", "a{99999999999}", "(" * 5_000 + ")" * 5_000])
def test_whatever_is_no_expression_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(re.error):
        Pattern(text)


def test_a_name_or_an_expression_for_all_of_it() -> None:
    assert Pattern("eth0").matches("eth0") and not Pattern("eth0").matches("veth01")
    assert Pattern("veth.*").matches("veth01") and Pattern("a+b").matches("a+b")
