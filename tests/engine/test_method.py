"""What a method says of itself, where it says nothing."""

import pytest

from mambrane.engine.method import Method, Number


class Silent(Method):
    name = "silent"


def test_a_method_that_says_nothing_needs_nothing_and_is_not_used():
    assert not Silent.is_used(config=None)
    assert isinstance(Silent.build(config=None, model=None), Silent)
    assert (Silent.numbers, Silent.operations, Silent.kept_per_parameter(config=None)) == ((), (), 0)


@pytest.mark.parametrize(("headline", "shown"), [("", ""), ("replayed {}", "replayed 12 %")])
def test_a_headline_is_a_format_of_the_number(headline, shown):
    assert Number("fraction", "part of the rows", headline).headline.format("12 %") == shown
