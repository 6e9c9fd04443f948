"""Controls: what a plasticity rule must beat before it deserves the credit for what it seems to do.

    STDP               shuffled   each unit's output spikes at other times of the sequence: rates stay, timing goes
                       flipped    potentiation and depression change places
                       random     a change drawn at random, for each synapse matrix as large as the rule's
    meta-plasticity    uniform    every gated weight is held back alike, as much as the gate does on average
                       permuted   the importances of a tensor stand at other weights of it
                       decay      plasticity falls with each task, and no weight matters more than another

What is drawn follows from the seed and the step, so that a resumed run draws the same. Sources of the last two: random
consolidation and decaying plasticity in Zohora et al., Probabilistic Metaplasticity (arXiv 2403.08718).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mambrane.core.seeding import make_generator


def shuffled_in_time(
    spikes_BTU: Float[Tensor, "B T U"], counted_BT: Bool[Tensor, "B T"] | None, generator: torch.Generator
) -> Float[Tensor, "B T U"]:
    """Return each unit's spikes at other ticks of its sequence; what does not count stays where it is."""
    keys_BTU = torch.rand(spikes_BTU.shape, generator=generator).to(spikes_BTU.device)
    if counted_BT is not None:
        # Uncounted ticks stand behind all others, in their order: they are the last ones.
        ticks_T = torch.arange(spikes_BTU.shape[1], device=spikes_BTU.device)
        keys_BTU = torch.where(counted_BT.unsqueeze(-1), keys_BTU, 1.0 + ticks_T[:, None])
    return spikes_BTU.gather(1, keys_BTU.argsort(dim=1))


def random_of_same_size(change_NUS: Float[Tensor, "N U S"], generator: torch.Generator) -> Float[Tensor, "N U S"]:
    """Return numbers drawn from a normal distribution, scaled to the length of each synapse matrix's change."""
    drawn_NUS = torch.randn(change_NUS.shape, generator=generator).to(change_NUS)
    return drawn_NUS * (change_NUS.norm(dim=(1, 2), keepdim=True) / drawn_NUS.norm(dim=(1, 2), keepdim=True))


def permuted(importance: Tensor, *, seed: int, name: str) -> Tensor:
    """Return the importances of a parameter at other weights of it, always at the same ones."""
    order = torch.randperm(importance.numel(), generator=make_generator(seed, "permuted importance", name))
    return importance.flatten()[order.to(importance.device)].view_as(importance)
