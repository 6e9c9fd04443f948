"""Weights of one model taken over by another, by name: what fits is taken, what does not is said."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.models.language_model import LanguageModel

OF_THE_TOKENIZER = ("embedding.weight", "head.weight")
"""Weights with a row for each token: they mean nothing behind another tokenizer."""


class Fit(NamedTuple):
    """What became of every weight, by name."""

    taken: tuple[str, ...]
    anew: tuple[str, ...]
    """Weights of the model that the other has not: they keep their first draw."""
    other_shape: tuple[str, ...]
    """The same with the two shapes, where the other's is not the model's."""
    left_over: tuple[str, ...]
    """Weights of the other that the model has no place for."""

    def sentence(self, source: str) -> str:
        """Return all of it in a line; blocks of one kind are named once."""
        parts = [f"weights from {source}: {len(self.taken):,} tensors taken"]
        for title, names in (
            ("drawn anew", self.anew),
            ("of another shape or tokenizer, drawn anew", self.other_shape),
            ("left over", self.left_over),
        ):
            if names:
                parts.append(f"{title}: {', '.join(_in_all_blocks(names))}")
        return "; ".join(parts)


@torch.no_grad()
def take_weights(model: LanguageModel, weights: Mapping[str, Tensor], *, same_tokenizer: bool, source: str) -> Fit:
    """Copy into a model every weight of the same name and shape, and return what became of each.

    Args:
        model: changed in place.
        weights: by our names.
        same_tokenizer: whether both models read the same tokens.
        source: where the weights come from, for the message.

    Raises:
        UserError: nothing fits.
    """
    taken, anew, other_shape = [], [], []
    own = model.state_dict()
    for name, value in own.items():
        given = weights.get(name)
        if given is None:
            anew.append(name)
        elif given.shape != value.shape:
            other_shape.append(f"{name} ({list(given.shape)} there, {list(value.shape)} here)")
        elif not same_tokenizer and name in OF_THE_TOKENIZER:
            other_shape.append(f"{name} (another tokenizer)")
        else:
            value.copy_(given)
            taken.append(name)
    if not taken:
        raise UserError(
            f"--init-from {source}: none of its {len(weights):,} weights fits",
            wanted="a model with at least one part of the same name and shape",
            way_out="leave the flags of the model out: its sizes are then taken from there",
        )
    left_over = [name for name in weights if name not in own]
    return Fit(tuple(taken), tuple(anew), tuple(other_shape), tuple(left_over))


def _in_all_blocks(names: Iterable[str]) -> list[str]:
    """Return the names, those of equal parts of several blocks as one."""
    return list(dict.fromkeys(re.sub(r"^blocks\.\d+\.", "blocks.*.", name) for name in names))
