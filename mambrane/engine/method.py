"""A method: an extension with all that the program must know of it, so that a new one is one file.

Replay, regularisers, distillation, STDP, meta-plasticity and probes are methods, and so is what another package brings
(`--extension package.module:Class`). Its settings say beside themselves what they need (`core/needs.py`); here it says
how it is built, what it costs in memory, which operations it calls, and what the numbers it shows are.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple


class Number(NamedTuple):
    """A number that a method shows after each step, by the name it returns it under."""

    name: str
    title: str
    """What it is, with its unit: the title of its picture."""
    headline: str = ""
    """How it stands on the line of the console, as a format: "replayed {:.0%}"; empty where it does not."""


class Method:
    """What a method says of itself; the defaults are those of one that needs nothing.

    A method also fills the seams of `extensions.py` that it wants: it stands in each seam whose methods it has.
    """

    name: ClassVar[str]
    """Its name in states, events and files."""
    label: ClassVar[str] = ""
    """How a person calls it; left out, as its name."""
    numbers: ClassVar[tuple[Number, ...]] = ()
    """The numbers that it shows."""
    operations: ClassVar[tuple[str, ...]] = ()
    """Operations with kernels that it calls."""
    across_ranks: ClassVar[bool] = False
    """Whether several processes may train with it: all that it draws and learns is then the same on every rank, because
    it comes from what is global (micro-batches before they are cut, reduced gradients, weights) or goes through
    `view.ranks`."""
    across_shards: ClassVar[bool] = False
    """Whether a run may hold weights in pieces (`--shard`) with it: it reads no weights and gradients, makes them whole
    by `engine.shards.whole`, or works on what its rank holds of them (`engine.shards.own_numbers`)."""

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return whether a run has it.

        Args:
            config: sections as attributes: run, data, model, engine, plasticity, continual.
        """
        return False

    @classmethod
    def label_in(cls, config: Any) -> str:  # noqa: ANN401 -- a run's configuration
        """Return how a run's summary names it; empty where it does not."""
        return cls.label or cls.name.replace("_", " ")

    @classmethod
    def build(cls, config: Any, model: Any) -> "Method":  # noqa: ANN401 -- a run's configuration, its module
        """Return the method for a run that has it; the model is the one that will be trained, on its device."""
        return cls()

    @classmethod
    def kept_per_parameter(cls, config: Any) -> int:  # noqa: ANN401 -- a run's configuration
        """Return how many numbers it keeps for each parameter of the model from the second task on."""
        return 0

    @classmethod
    def kept_bytes(cls, config: Any) -> int:  # noqa: ANN401 -- a run's configuration
        """Return what it keeps beside that, in bytes."""
        return 0

    def meet(self, others: "Sequence[Method]") -> None:
        """Remember what it needs of the other methods of the run, which are all built; it reads them only."""
