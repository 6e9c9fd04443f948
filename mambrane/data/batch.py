"""What the loader hands to the engine: sequences of a token stream, side by side."""

from typing import NamedTuple

import torch

from mambrane.core.shapes import IGNORED_TARGET, Resets, Tokens


class MicroBatch(NamedTuple):
    """Some sequences, one a row. Each row starts from zero state."""

    inputs_BT: Tokens
    """Tokens that are read."""
    targets_BT: Tokens
    """The token that follows each input, or IGNORED_TARGET where nothing is to be predicted."""
    resets_BT: Resets
    """True at END_OF_TEXT, where a document starts."""

    @property
    def num_targets(self) -> int:
        """Targets that count."""
        return int((self.targets_BT != IGNORED_TARGET).sum())

    def to(self, device: torch.device | str) -> "MicroBatch":
        """Return the same batch on another device."""
        return MicroBatch(*(tensor.to(device, non_blocking=True) for tensor in self))
