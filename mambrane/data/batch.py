"""What the loader hands to the engine: sequences of a token stream, side by side."""

from typing import NamedTuple

import torch
from torch import Tensor

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

    @property
    def is_read_BT(self) -> Resets:
        """True where a target counts at the position or behind it: what lies behind the last target is padding."""
        return (self.targets_BT != IGNORED_TARGET).flip(1).cummax(1).values.flip(1)

    @property
    def num_read(self) -> int:
        """Tokens that are read: all but padding."""
        every = self.targets_BT.numel()
        return every if self.num_targets == every else int(self.is_read_BT.sum())

    def rows(self, which: slice | Tensor) -> "MicroBatch":
        """Return some of the rows, by a slice, their indices or a mask."""
        return MicroBatch(*(part[which] for part in self))

    def to(self, device: torch.device | str) -> "MicroBatch":
        """Return the same batch on another device.

        To an accelerator all of it goes as one copy, from memory that the device reads by itself: nobody waits for it.
        """
        device = torch.device(device)
        if self.inputs_BT.device.type != "cpu" or device.type == "cpu":
            return MicroBatch(*(tensor.to(device, non_blocking=True) for tensor in self))
        shape = (len(self), *self.inputs_BT.shape)
        packed = torch.empty(shape, dtype=torch.int64, pin_memory=device.type == "cuda")
        for part, tensor in zip(packed, self, strict=True):
            part.copy_(tensor)
        inputs_BT, targets_BT, resets_BT = packed.to(device, non_blocking=True)
        return MicroBatch(inputs_BT, targets_BT, resets_BT.bool())


def joined(*batches: MicroBatch) -> MicroBatch:
    """Return the rows of some micro-batches, one behind the other, as one."""
    return MicroBatch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
