"""What each sequence cost in the steps since the last applied one; of use is the step that is applied in the end."""

import math

import torch
from torch import Tensor

from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.engine.objective import nats_of
from mambrane.models.state import ModelOutput


class SeenLosses:
    """Fingerprints and losses, micro-batch by micro-batch, on the device where they were computed; never saved."""

    def __init__(self, entries: list[tuple[Tensor, Tensor]] | None = None) -> None:
        self._entries = entries or []

    def copy(self) -> "SeenLosses":
        """Return what was seen so far."""
        return SeenLosses(list(self._entries))

    @torch.no_grad()
    def look(self, fingerprints_B: Tensor, output: ModelOutput, batch: MicroBatch) -> None:
        """Note the mean loss of each sequence; one that is seen again counts as it was seen last."""
        num_targets_B = (batch.targets_BT != IGNORED_TARGET).sum(dim=1).clamp(min=1)
        self._entries.append((fingerprints_B, (nats_of(output, batch).sum(dim=1) / num_targets_B).float()))

    def take(self, applied: list[Tensor]) -> dict[int, float]:
        """Return the finite losses of the sequences with these fingerprints, and forget all others."""
        entries, self._entries = self._entries, []
        if not entries or not applied:
            return {}
        wanted, (numbers, losses) = torch.cat(applied), (torch.cat(parts) for parts in zip(*entries, strict=True))
        # Losses travel as the bits they are, so that one copy brings all from the device.
        lengths = [len(wanted), len(numbers), len(losses)]
        fetched = torch.cat([wanted, numbers, losses.view(torch.int32).long()]).cpu().split(lengths)
        last = dict(zip(fetched[1].tolist(), fetched[2].int().view(torch.float32).tolist(), strict=True))
        of_step = set(fetched[0].tolist())
        return {number: loss for number, loss in last.items() if number in of_step and math.isfinite(loss)}
