"""What an evaluation hands over, with numbers of one's choice."""

from typing import NamedTuple


class Loss(NamedTuple):
    bits_per_byte: float
    perplexity: float

    @property
    def value(self) -> float:
        return self.bits_per_byte

    @property
    def details(self) -> dict[str, float]:
        return {"perplexity": self.perplexity}


class Accuracy(NamedTuple):
    value: float

    @property
    def details(self) -> dict[str, float]:
        return {}
