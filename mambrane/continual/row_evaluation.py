"""One row of the forgetting matrix: every domain measured after so many tasks, by all processes of the run."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from torch import nn

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.measure import BITS_PER_BYTE, Measure, Measurement
from mambrane.continual.outcome import StopError
from mambrane.continual.step_event import evaluation_event
from mambrane.continual.terms import HELDOUT_IS_GONE
from mambrane.data.domains import Domain
from mambrane.engine.trainer import Trainer


@dataclass
class RowEvaluation:
    """Measures what a row lacks; what is measured stays measured when it is stopped."""

    trainer: Trainer
    """Its model is measured, and its log told; a stop stops between two domains."""
    evaluate: Callable[[nn.Module, Domain], Measurement]
    """Measures a model on a domain's held-out text, drawing nothing at random."""
    measure: Measure = BITS_PER_BYTE
    evaluate_untrained: Callable[[Domain], Measurement] | None = None
    """Measures the untrained model, for row 0 of a domain that comes later; None where there is none any more."""
    reference: Sequence[Domain] = ()
    """Text outside the tasks, measured beside each row of the matrix."""

    def fill(self, matrix: ForgettingMatrix, row: int, domains: Sequence[Domain]) -> None:
        """Measure the domains that are missing after `row` tasks, and in row 0 those that came later.

        Raises:
            StopError: a stop was asked for, between two domains.
        """
        for column in matrix.missing(0) if row > 0 else ():
            assert self.evaluate_untrained is not None, "without it the cell has a reason"
            self._record(matrix, 0, column, self.evaluate_untrained(domains[column]))
        with self.trainer.evaluation():
            for column in matrix.missing(row):
                if not domains[column].is_measurable:
                    matrix.leave_empty(row, column, HELDOUT_IS_GONE)
            # Each process measures another domain; one alone measures them one after the other.
            # Sharded, all measure each together: a pass needs the pieces of every rank.
            together = 1 if self.trainer.is_sharded else self.trainer.ranks.size
            for columns in batched(matrix.missing(row), together):
                if self.trainer.stop_is_asked():
                    raise StopError("a stop was asked for")
                measured = self._measured([domains[column] for column in columns])
                for column, of_column in zip(columns, measured, strict=True):
                    self._record(matrix, row, column, of_column)
            for domain in self.reference:
                if not matrix.has_reference(row, domain.name):
                    matrix.record_reference(row, domain.name, self.evaluate(self.trainer.model, domain))

    def _measured(self, domains: Sequence[Domain]) -> list[Measurement]:
        """Return what all processes measured, one domain each; those without a domain return nothing."""
        ranks = self.trainer.ranks
        if self.trainer.is_sharded:
            return [self.evaluate(self.trainer.model, domain) for domain in domains]
        found = [self.evaluate(self.trainer.model, domain) for domain in domains[ranks.rank : ranks.rank + 1]]
        return [measured for of_rank in ranks.gather(found) for measured in of_rank]

    def _record(self, matrix: ForgettingMatrix, row: int, column: int, measured: Measurement) -> None:
        matrix.record(row, column, measured)
        self.trainer.events.emit(
            "evaluation", **evaluation_event(matrix.measure, measured, row, matrix.domains[column])
        )


def batched(items: Iterable[int], size: int) -> Iterator[list[int]]:
    """Yield so many items at a time; the last ones may be fewer."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch
