"""What a run has done so far, counted once, at the close of each window.

    windows = attempted + empty + aborted          attempted = applied + skipped

"Step" means applied windows everywhere: in the schedule, in the average, on the screen and in checkpoint names.
"""

from dataclasses import asdict, dataclass, fields

from mambrane.engine.window import WindowState


@dataclass(kw_only=True, slots=True)
class Counters:
    """Totals since the start of the run; micro-batches, samples and tokens of aborted windows are not in them."""

    windows: int = 0
    """Windows that were opened and closed."""
    attempted: int = 0
    """Windows with gradients: applied or skipped."""
    applied: int = 0
    """Windows that changed the weights."""
    skipped: int = 0
    """Windows left out because a gradient was not finite."""
    empty: int = 0
    """Windows without a counted target or without a gradient."""
    aborted: int = 0
    """Windows interrupted and rolled back; their data comes again."""
    micro_steps: int = 0
    """Micro-batches consumed by closed windows."""
    samples: int = 0
    """Windows of text consumed, over all ranks."""
    tokens: int = 0
    """Counted targets consumed, over all ranks."""
    loss_spikes: int = 0
    """Applied windows whose loss stood far above the usual."""
    skips_in_a_row: int = 0
    """Skipped windows since the last applied one."""

    def count(self, outcome: WindowState, *, micro_batches: int = 0, samples: int = 0, tokens: int = 0) -> None:
        """Count one closed window."""
        self.windows += 1
        if outcome is WindowState.ABORTED:
            self.aborted += 1
        else:
            self.micro_steps += micro_batches
            self.samples += samples
            self.tokens += tokens
        if outcome is WindowState.EMPTY:
            self.empty += 1
        elif outcome is WindowState.COMMITTED:
            self.attempted += 1
            self.applied += 1
            self.skips_in_a_row = 0
        elif outcome is WindowState.SKIPPED:
            self.attempted += 1
            self.skipped += 1
            self.skips_in_a_row += 1
        assert self.attempted == self.applied + self.skipped
        assert self.windows == self.attempted + self.empty + self.aborted

    def state_dict(self) -> dict[str, int]:
        """Return every counter by name."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take every counter back."""
        for field in fields(self):
            setattr(self, field.name, int(state[field.name]))
