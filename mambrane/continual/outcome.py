"""How a call of a run ended, and what ends it before its time."""

from typing import NamedTuple

from mambrane.core.errors import TAKEN_BACK_EXIT_CODE


class Outcome(NamedTuple):
    """How a call of `run` ended."""

    is_finished: bool
    """False when the run was stopped before its end; the same command goes on from there."""
    reason: str
    signal_number: int | None = None
    """The signal that asked to stop, if one did."""
    taken_back: tuple[str, ...] = ()
    """Tasks that this call learned and took back, by name."""

    def also_taken_back(self, before: tuple[str, ...]) -> "Outcome":
        """Return how a call ended that had taken back these tasks before it came to what this tells of."""
        return self._replace(taken_back=tuple(dict.fromkeys((*before, *self.taken_back))))

    @property
    def exit_code(self) -> int:
        """128 + signal number after a signal, as a shell reports it; 3 where a task was taken back; or 0."""
        if self.signal_number is not None:
            return 128 + self.signal_number
        return TAKEN_BACK_EXIT_CODE if self.taken_back else 0


class StopError(Exception):
    """Leaves the loop, from however deep, for the place that saves; its text is the reason."""
