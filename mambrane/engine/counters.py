"""What a run has done so far, counted once, at the close of each step.

    closed = attempted + empty + aborted          attempted = applied + skipped

"Step", as a number, means applied steps everywhere: in the schedule, in the EMA, on the screen and in the names of
checkpoints.
"""

from dataclasses import asdict, dataclass, fields

from mambrane.engine.transaction import StepState


@dataclass(kw_only=True, slots=True)
class Counters:
    """Totals since the start of the run; micro-batches, samples and tokens of aborted steps are not in them."""

    closed: int = 0
    """Steps that were opened and closed."""
    attempted: int = 0
    """Steps with gradients: applied or skipped."""
    applied: int = 0
    """Steps that changed the weights."""
    skipped: int = 0
    """Steps left out because a gradient was not finite."""
    empty: int = 0
    """Steps without a counted target or without a gradient."""
    aborted: int = 0
    """Steps interrupted and rolled back; their data comes again."""
    micro_steps: int = 0
    """Micro-batches consumed by closed steps."""
    samples: int = 0
    """Sequences of text consumed, over all ranks."""
    tokens: int = 0
    """Counted targets consumed, over all ranks."""
    loss_spikes: int = 0
    """Applied steps whose loss stood far above the usual."""
    skips_in_a_row: int = 0
    """Skipped steps since the last applied one."""

    def count(self, outcome: StepState, *, micro_batches: int = 0, samples: int = 0, tokens: int = 0) -> None:
        """Count one closed step."""
        self.closed += 1
        if outcome is StepState.ABORTED:
            self.aborted += 1
        else:
            self.micro_steps += micro_batches
            self.samples += samples
            self.tokens += tokens
        if outcome is StepState.EMPTY:
            self.empty += 1
        elif outcome is StepState.COMMITTED:
            self.attempted += 1
            self.applied += 1
            self.skips_in_a_row = 0
        elif outcome is StepState.SKIPPED:
            self.attempted += 1
            self.skipped += 1
            self.skips_in_a_row += 1
        assert self.attempted == self.applied + self.skipped
        assert self.closed == self.attempted + self.empty + self.aborted

    def state_dict(self) -> dict[str, int]:
        """Return every counter by name."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take every counter back."""
        for field in fields(self):
            setattr(self, field.name, int(state[field.name]))
