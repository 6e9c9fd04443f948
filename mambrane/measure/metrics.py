"""How well a model predicts text it has not trained on.

    bits per byte = sum over targets of -ln p(target) / (ln 2 * bytes of text)

Bits per byte compares models with different tokenizers and may be averaged over domains; perplexity = exp(nats per
token) is for the eye only. The loss is the pure cross entropy: no regulariser, no smoothing, no loss term.
Source: Gao et al., The Pile (arXiv 2101.00027), section 3.1.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from mambrane.data.loader import heldout_batches
from mambrane.data.tokens import TokenFile
from mambrane.engine.objective import ObjectiveFunction, fused_next_token_objective, nats_of
from mambrane.engine.snapshot import evaluation_mode


class HeldoutLoss(NamedTuple):
    """Cross entropy summed over a held-out split, with what it is divided by."""

    nats_sum: float
    num_targets: int
    num_bytes: int

    @property
    def nats_per_token(self) -> float:
        """Mean loss of a target token."""
        return self.nats_sum / self.num_targets

    @property
    def bits_per_byte(self) -> float:
        """Bits needed for a byte of the raw text."""
        return self.nats_sum / (math.log(2) * self.num_bytes)

    @property
    def value(self) -> float:
        """Bits per byte: what the matrix holds."""
        return self.bits_per_byte

    @property
    def details(self) -> dict[str, float]:
        """Perplexity of a token, for the eye only."""
        return {"perplexity": self.perplexity}

    @property
    def perplexity(self) -> float:
        """exp(nats per token); infinite where that overflows."""
        return torch.tensor(self.nats_per_token, dtype=torch.float64).exp().item()


def heldout_loss(
    model: nn.Module,
    token_file: TokenFile,
    *,
    sequence_length: int,
    batch_size: int,
    device: torch.device,
    objective: ObjectiveFunction = fused_next_token_objective,
) -> HeldoutLoss:
    """Return the loss on every target of a token file, read in sequences that each start from the zero state.

    The model is in evaluation mode meanwhile and gets its mode back; nothing random is drawn. The default objective
    asks the model for the nats of the targets, so that B x T x V logits never exist; `next_token_objective` takes them
    from the logits of a model that gives nothing else.
    """
    nats_sum, num_targets = torch.zeros((), dtype=torch.float64, device=device), 0
    with evaluation_mode(model), torch.no_grad():
        for batch in heldout_batches(token_file, sequence_length, batch_size):
            num_targets += batch.num_targets
            batch = batch.to(device)
            # Added up on the device, which is asked once, at the end.
            nats_sum += nats_of(objective(model, batch).output, batch).double().sum()
    return HeldoutLoss(nats_sum.item(), num_targets, token_file.num_bytes)
