"""What the engine does not train: diverged runs, torn states, half weights, and processes that would drift apart."""

import torch
from torch import nn

from mambrane.core.errors import UserError
from mambrane.engine.extensions import Extensions
from mambrane.engine.ranks import num_ranks


class DivergedError(UserError, ArithmeticError):
    """Too many steps in a row had a gradient that was not finite."""


class TornStateError(UserError, RuntimeError):
    """An update was broken off half-way; only a checkpoint can bring the run back."""


def refuse_sight_of_one_rank(extensions: Extensions) -> None:
    """Refuse what draws or learns from the text of its own process: the processes would drift apart."""
    own_data = (*extensions.batch_mixers, *extensions.after_steps, *extensions.boundaries)
    if own_data:
        names = ", ".join(dict.fromkeys(extension.name for extension in own_data))
        raise UserError(
            f"{num_ranks()} processes train together with {names}, which would see the data of one process only",
            wanted="loss terms, penalties and update gates only",
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
