"""What a model is measured by: a name, a unit, and whether more of it is better. The matrix works with any."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A number that says how well a model does on a domain."""

    name: str
    """Its key in events and files: bits_per_byte."""
    title: str
    """Its name in titles, which is also its unit in full: bits per byte."""
    unit: str
    """Its unit beside a number: bits/byte."""
    is_lower_better: bool = True
    """Whether it is a loss; False for an accuracy."""
    smallest_gain: float = 1e-3
    """What a task must have gained, in this unit, for the part of the gain that is lost to be defined."""

    @property
    def sign(self) -> float:
        """What turns the number into a loss: 1, or -1 where more is better."""
        return 1.0 if self.is_lower_better else -1.0


@runtime_checkable
class Measurement(Protocol):
    """What an evaluation of one domain hands over; `mambrane.HeldoutLoss` is one."""

    @property
    def value(self) -> float:
        """The number, in the unit of the measure."""
        ...

    @property
    def details(self) -> dict[str, float]:
        """Numbers that are shown beside it by name, and never averaged."""
        ...


BITS_PER_BYTE = Measure(name="bits_per_byte", title="bits per byte", unit="bits/byte")
"""The measure of text: it compares models with different tokenizers, and may be averaged over domains."""
