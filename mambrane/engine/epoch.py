"""An epoch: where its micro-batches come from, and what became of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mambrane.data.batch import MicroBatch
from mambrane.engine.step import WindowResult
from mambrane.engine.window import WindowState


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


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochResult:
    """What became of an epoch, or of the rest of one."""

    num_windows: int
    num_applied: int
    num_targets: int
    """Counted targets of the applied windows."""
    loss: float | None
    """Mean main loss of the applied windows, in nats per target; None without an applied window."""
    is_finished: bool
    """False when a stop was asked for before the end of the epoch."""


class EpochTally:
    """Adds up the windows of an epoch."""

    def __init__(self) -> None:
        self.num_windows = 0
        self._num_applied = 0
        self._num_targets = 0
        self._nats = 0.0

    def add(self, result: WindowResult) -> None:
        """Count a closed window."""
        self.num_windows += 1
        if result.state is WindowState.COMMITTED:
            self._num_applied += 1
            self._num_targets += result.num_targets
            self._nats += result.loss * result.num_targets

    def result(self, *, is_finished: bool) -> EpochResult:
        """Return what has been added up."""
        return EpochResult(
            num_windows=self.num_windows,
            num_applied=self._num_applied,
            num_targets=self._num_targets,
            loss=self._nats / self._num_targets if self._num_applied else None,
            is_finished=is_finished,
        )
