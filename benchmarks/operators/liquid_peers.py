"""Liquid cells against ncps: the same parameters on both sides."""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.operators.contest import Contest, Side
from mambrane.core.seeding import make_generator
from mambrane.ops.cfc import CfcWeights, cfc
from mambrane.ops.ltc import LtcWeights, ltc

BATCH, TOKENS, INPUTS, CFC_UNITS = 8, 256, 128, 256
POSITIVE = ("sensory_w", "w", "cm", "gleak")
THEIR_NAMES = {"input_weight": "input_w", "input_bias": "input_b"}


def cfc_against_ncps() -> Contest:
    """A CfC layer with the 128 backbone units that ncps gives it."""
    import ncps.torch

    torch.manual_seed(0)
    peer = ncps.torch.CfC(INPUTS, CFC_UNITS)
    cell = peer.rnn_cell
    layers = (cell.backbone[0], cell.ff1, cell.ff2, cell.time_a, cell.time_b)
    weights = CfcWeights(*(tensor for layer in layers for tensor in (layer.weight, layer.bias)))
    x_BTI, grad_BTL = _inputs(CFC_UNITS)
    leaves = {"x": x_BTI, **weights._asdict()}
    return Contest(
        Side(lambda: cfc(x_BTI, weights).hidden_BTL, leaves, grad_BTL), Side(lambda: peer(x_BTI)[0], leaves, grad_BTL)
    )


def ltc_64_against_ncps() -> Contest:
    """A fully connected LTC layer of 64 units."""
    return _ltc(64)


def ltc_32_against_ncps() -> Contest:
    """A fully connected LTC layer of 32 units."""
    return _ltc(32)


def _ltc(units: int) -> Contest:
    import ncps.torch

    torch.manual_seed(0)
    peer = ncps.torch.LTC(INPUTS, units, output_mapping=None)
    free = {name: getattr(peer.rnn_cell, THEIR_NAMES.get(name, name)) for name in LtcWeights._fields}
    x_BTI, grad_BTL = _inputs(units)

    def ours() -> Tensor:
        weights = LtcWeights(*(F.softplus(each) if name in POSITIVE else each for name, each in free.items()))
        return ltc(x_BTI, weights).hidden_BTL

    leaves = {"x": x_BTI, **free}
    sides = Side(ours, leaves, grad_BTL), Side(lambda: peer(x_BTI)[0], leaves, grad_BTL)
    # A state that has settled hardly depends on cm: in float32 this gradient is what rounding leaves of a difference
    # of equal numbers (against float64 we are off by 1.4e-3, ncps by 5e-4).
    return Contest(*sides, looser={"cm": 5e-3})


def _inputs(units: int) -> tuple[Tensor, Tensor]:
    generator = make_generator(0, "operators")
    x_BTI = torch.randn(BATCH, TOKENS, INPUTS, generator=generator)
    return x_BTI.requires_grad_(), torch.randn(BATCH, TOKENS, units, generator=generator)
