"""An epoch: where its micro-batches come from, and what was learned in it."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from mambrane.data.batch import MicroBatch
from mambrane.engine.step_result import StepResult
from mambrane.engine.transaction import StepState


@runtime_checkable
class Loader(Protocol):
    """A stream of micro-batches whose cursor counts what was consumed, not what was read."""

    def epoch_batches(self) -> Iterator[MicroBatch]:
        """Yield the rest of the epoch."""
        ...

    def commit(self) -> None:
        """Count everything handed out as consumed."""
        ...

    def rewind(self) -> None:
        """Forget what was handed out since the last commit; it comes again."""
        ...


class EpochLoss:
    """The mean loss of an epoch, or of the part of one that this process ran."""

    def __init__(self) -> None:
        self._num_targets = 0
        self._nats = 0.0

    def add(self, result: StepResult) -> None:
        """Count a closed step; only applied ones have learned anything."""
        if result.state is StepState.COMMITTED and result.loss is not None:
            self._num_targets += result.num_targets
            self._nats += result.loss * result.num_targets

    @property
    def mean(self) -> float | None:
        """Mean main loss of the applied steps in nats per target; None without an applied step."""
        return self._nats / self._num_targets if self._num_targets else None
