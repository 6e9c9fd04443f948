"""What the engine does not train: diverged runs, torn states, weights that do not fit, processes that drift apart."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.core.errors import UserError
from mambrane.engine.config import EngineConfig
from mambrane.engine.counters import Counters
from mambrane.engine.extensions import Extensions
from mambrane.engine.precision import Precision
from mambrane.engine.ranks import Ranks
from mambrane.engine.shards import piece_of


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


def refuse_divergence(reason: str, counters: Counters, precision: Precision, config: EngineConfig) -> None:
    """Refuse to skip one step more: too many in a row, or a loss scale that can fall no further."""
    if counters.skips_in_a_row >= config.max_consecutive_skips or precision.is_exhausted:
        raise DivergedError(
            f"{counters.skips_in_a_row} steps in a row were not finite; {reason}, "
            f"at step {counters.applied}, loss scale {precision.scale:g}",
            wanted="finite gradients",
            way_out="a lower --learning-rate, a longer --warmup-ratio, or --precision fp32",
        )


def refuse_another_average(weights: Mapping[str, Any], config: EngineConfig) -> None:
    """Refuse saved weights that come with an average where the run keeps none, or the reverse."""
    if ("ema" in weights) != (config.ema_decay > 0):
        saved = "an average" if "ema" in weights else "no average"
        raise UserError(
            f"--ema-decay {config.ema_decay}, and the saved run has {saved}",
            wanted="averaged weights in both, or in neither",
            way_out="the --ema-decay that the run started with, or another --output-dir",
        )


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a model the weights of a saved run; refuse those of another model."""
    own = model.state_dict()
    try:
        # What the model does not have is left for torch to name.
        model.load_state_dict({name: piece_of(saved, like=own.get(name, saved)) for name, saved in weights.items()})
    except RuntimeError as error:
        raise UserError(
            f"the saved weights do not fit this model: {error}",
            wanted="the model that the run started with",
            way_out="the model flags that the run started with, or another --output-dir",
        ) from error
