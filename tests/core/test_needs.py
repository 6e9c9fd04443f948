"""What settings need, said beside them."""

from dataclasses import dataclass, field
from typing import Annotated

from mambrane.core.needs import Needs, unmet_needs

SWITCH = Needs("--use-it", lambda run: run.part.use_it)
LARGE = Needs("--size above 3", lambda run: run.part.size > 3)


@dataclass
class Part:
    use_it: bool = False
    size: int = 1
    depends: Annotated[float, "a note that is no need", SWITCH] = 0.5
    depends_on_both: Annotated[float, SWITCH, LARGE] = 0.5


@dataclass
class Run:
    part: Part = field(default_factory=Part)
    number: int = 3


def test_every_need_that_is_not_met_is_named_with_its_setting():
    assert list(unmet_needs(Run())) == [
        ("part", "depends", "--use-it"),
        ("part", "depends_on_both", "--use-it and --size above 3"),
    ]


def test_a_need_that_is_met_is_not_named():
    assert list(unmet_needs(Run(Part(use_it=True)))) == [("part", "depends_on_both", "--size above 3")]
    assert list(unmet_needs(Run(Part(use_it=True, size=4)))) == []
