"""How far a run is in its stream of tasks; what a resumed run takes the loop up by."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Phase(StrEnum):
    """What the run does next."""

    EVALUATE = "evaluate"
    BEGIN = "begin"
    TRAIN = "train"
    BOUNDARY = "boundary"
    DONE = "done"


@dataclass(kw_only=True)
class Progress:
    """What is learned, and how far the task is that is being learned."""

    phase: Phase = Phase.EVALUATE
    num_learned: int = 0
    """Tasks whose boundary is behind; also the row of the matrix that comes next."""
    steps_closed: int = 0
    """Steps closed in the task that is being learned."""
    steps_taken: list[int] = field(default_factory=list)
    """Steps closed in each learned task."""
    attempts: list[dict[str, Any]] = field(default_factory=list)
    """Tasks that were learned and taken back."""
    base_step: int | None = None
    """Step of the checkpoint before the task that is being learned, if the task may be taken back."""

    def end_task(self) -> None:
        """Count the task that was being learned as learned."""
        self.steps_taken.append(self.steps_closed)
        self.steps_closed = 0
        self.num_learned += 1
        self.phase = Phase.EVALUATE

    def take_back(self) -> int:
        """Count the task that was learned last as not learned; returns its steps."""
        self.num_learned -= 1
        self.base_step = None
        return self.steps_taken.pop()

    def end_row(self, num_tasks: int) -> None:
        """Turn to the next of so many tasks, if there is one."""
        self.phase = Phase.BEGIN if self.num_learned < num_tasks else Phase.DONE

    def state_dict(self) -> dict[str, Any]:
        """Return all of it, by name."""
        return asdict(self) | {"phase": self.phase.value}

    @classmethod
    def of_state(cls, state: dict[str, Any], steps_of: Callable[[int], int]) -> "Progress":
        """Return what `state_dict` said; `steps_of` says how many steps the task of a number has."""
        # Versions that did not save these could not add tasks: the text of all is there.
        steps_taken = state.get("steps_taken", map(steps_of, range(state["num_learned"])))
        return cls(
            phase=Phase(state["phase"]),
            num_learned=state["num_learned"],
            steps_closed=state["steps_closed"],
            steps_taken=list(steps_taken),
            attempts=list(state.get("attempts", [])),
            base_step=state.get("base_step"),
        )
