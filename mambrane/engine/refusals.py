"""What the engine does not train: diverged runs, torn states, half weights, and processes that would drift apart."""

import torch
from torch import nn

from mambrane.core.errors import UserError
from mambrane.engine.extensions import Extensions
from mambrane.engine.ranks import Ranks


class DivergedError(UserError, ArithmeticError):
    """Too many steps in a row had a gradient that was not finite."""


class TornStateError(UserError, RuntimeError):
    """An update was broken off half-way; only a checkpoint can bring the run back."""


def refuse_sight_of_one_rank(extensions: Extensions, ranks: Ranks) -> None:
    """Refuse what draws or learns from the rows of its own process: the processes would drift apart."""
    see_rows = (*extensions.batch_mixers, *extensions.after_steps, *extensions.boundaries)
    names = dict.fromkeys(extension.name for extension in see_rows if not getattr(extension, "across_ranks", False))
    if names:
        raise UserError(
            f"{ranks.size} processes train together with {', '.join(names)}, which would see one process only",
            wanted="extensions with `across_ranks = True`, which sum what they see by `view.ranks` (docs/extending.md)",
            way_out="train in one process, or leave these extensions out",
        )


def refuse_half_weights(model: nn.Module) -> None:
    """Refuse weights in a half precision: small updates would vanish in them."""
    for name, parameter in model.named_parameters():
        if parameter.dtype in (torch.float16, torch.bfloat16):
            raise UserError(
                f"the weight {name} is {parameter.dtype}",
                wanted="float32 weights; --precision decides the arithmetic of the forward pass",
                way_out="model.float()",
            )
