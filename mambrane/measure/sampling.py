"""From scores to a token: temperature, then top-k, then top-p, then one draw; each a pure function.

    top-k   keeps the k tokens with the highest scores (and those equal to the k-th)
    top-p   keeps the smallest set of most probable tokens whose probabilities sum to at least p

A removed token has the score -inf. The order and the definitions are those of the transformers library.
Source: Fan et al. 2018 (arXiv 1805.04833) for top-k; Holtzman et al. 2020 (arXiv 1904.09751) for top-p.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mambrane.core.bounds import Bounds, check_settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How a token is drawn from the scores of a model."""

    temperature: Annotated[float, Bounds(0, 1e9)] = 0.8
    """Scores are divided by it; 0 always takes the most probable token."""
    top_k: Annotated[int, Bounds(0, 2**62, meaning_of_0="off")] = 0
    """Draw among this many most probable tokens; 0 is off."""
    top_p: Annotated[float, Bounds(0, 1, "least")] = 1.0
    """Draw among the most probable tokens that together have this probability; 1 is off."""

    def __post_init__(self) -> None:
        check_settings(self)


def keep_top_k(scores_BV: Float[Tensor, "B V"], top_k: int) -> Float[Tensor, "B V"]:
    """Return the scores with -inf below the k-th highest of each row; k = 0 returns them as they are."""
    if top_k == 0 or top_k >= scores_BV.shape[-1]:
        return scores_BV
    smallest_kept_B1 = scores_BV.topk(top_k).values[:, -1:]
    return scores_BV.masked_fill(scores_BV < smallest_kept_B1, -torch.inf)


def keep_top_p(scores_BV: Float[Tensor, "B V"], top_p: float) -> Float[Tensor, "B V"]:
    """Return the scores with -inf outside the most probable tokens that reach probability p; p = 1 keeps all."""
    if top_p == 1.0:
        return scores_BV
    ascending_BV, order_BV = scores_BV.sort()
    probability_up_to_BV = ascending_BV.softmax(dim=-1).cumsum(dim=-1)
    removed_BV = probability_up_to_BV <= 1 - top_p
    removed_BV[:, -1] = False
    return scores_BV.masked_fill(removed_BV.scatter(1, order_BV, removed_BV), -torch.inf)


def draw_token(scores_V: Float[Tensor, " V"], sampling: Sampling, generator: torch.Generator) -> int:
    """Return one token drawn from the scores; temperature 0 takes the highest and draws nothing.

    At any other temperature exactly one number is taken from the generator, which is one of the CPU.
    """
    scores_1V = scores_V.detach().double().cpu()[None]
    if sampling.temperature == 0:
        return int(scores_1V.argmax())
    kept_1V = keep_top_p(keep_top_k(scores_1V / sampling.temperature, sampling.top_k), sampling.top_p)
    return int(token_at(kept_1V[0].softmax(dim=-1), torch.rand((), generator=generator, dtype=torch.float64)))


def token_at(probabilities_V: Float[Tensor, " V"], point: Float[Tensor, ""]) -> Int64[Tensor, ""]:
    """Return the token whose share of the unit interval, laid end to end, holds the point in [0, 1)."""
    edges_V = probabilities_V.cumsum(dim=-1)
    token = torch.searchsorted(edges_V, point * edges_V[-1], right=True)
    return token.clamp(max=int(probabilities_V.nonzero()[-1]))
