"""What the base preset calls on a GPU, on the meta device: shapes and types, no numbers, no memory, no GPU.

A micro-batch of 8 sequences of 256 tokens under bfloat16 autocast, with resets and no state before, as in training; its
Mamba-2 has heads of 64 channels and 128 states, as published. Each call runs forward and backward; the kernels that it
would start are its launches (`mambrane.kernels.triton.launch`).
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mambrane.kernels.triton.launch import Launch, rehearsal
from mambrane.ops import (
    CfcWeights,
    LtcWeights,
    causal_conv,
    causal_trace,
    cfc,
    gated_norm,
    gated_skip,
    lif,
    ltc,
    selective_scan,
    spike_pairs,
    ssd,
)

BATCH, TOKENS, EXPANDED, STATES, TAPS, UNITS, HEADS, HEAD_STATES, LAYERS = 8, 256, 1024, 32, 4, 128, 16, 128, 8


def half(*shape: int) -> Tensor:
    """Return a tensor as a layer's product leaves it under autocast."""
    return torch.empty(*shape, dtype=torch.bfloat16, device="meta", requires_grad=True)


def whole(*shape: int) -> Tensor:
    """Return a tensor of float32: parameters, and what is computed from them."""
    return torch.empty(*shape, device="meta", requires_grad=True)


def _scan() -> tuple[Tensor, ...]:
    x_BTE, B_BTN, C_BTN = half(BATCH, TOKENS, EXPANDED), half(BATCH, TOKENS, STATES), half(BATCH, TOKENS, STATES)
    delta_BTE, A_EN = whole(BATCH, TOKENS, EXPANDED), whole(EXPANDED, STATES)
    return selective_scan(x_BTE, delta_BTE, A_EN, B_BTN, C_BTN, resets_BT=_resets())[:1]


def _lif() -> tuple[Tensor, ...]:
    return (lif(half(BATCH, TOKENS, UNITS), whole(BATCH, TOKENS, UNITS), resets_BT=_resets()).spikes_BTS,)


def _trace() -> tuple[Tensor, ...]:
    return causal_trace(half(BATCH, TOKENS, UNITS), 0.9, resets_BT=_resets())[:1]


def _conv() -> tuple[Tensor, ...]:
    return causal_conv(half(BATCH, TOKENS, EXPANDED), whole(EXPANDED, TAPS), whole(EXPANDED), resets_BT=_resets())[:1]


def _gated_skip() -> tuple[Tensor, ...]:
    y_BTE, x_BTE, gate_BTE = (half(BATCH, TOKENS, EXPANDED) for _ in range(3))
    return (gated_skip(y_BTE, x_BTE, whole(EXPANDED), gate_BTE),)


def _gated_norm() -> tuple[Tensor, ...]:
    y_BTE, gate_BTE = (half(BATCH, TOKENS, EXPANDED) for _ in range(2))
    return (gated_norm(y_BTE, gate_BTE, whole(EXPANDED)),)


def _spike_pairs() -> tuple[Tensor, ...]:
    pre, post = ([whole(BATCH, TOKENS, UNITS)] * LAYERS for _ in range(2))
    return spike_pairs(pre, post, decay_plus=0.9, decay_minus=0.9, resets_BT=_resets())


def _ssd() -> tuple[Tensor, ...]:
    x_BTHP, delta_BTH = half(BATCH, TOKENS, HEADS, EXPANDED // HEADS), whole(BATCH, TOKENS, HEADS)
    B_BTN, C_BTN = half(BATCH, TOKENS, HEAD_STATES), half(BATCH, TOKENS, HEAD_STATES)
    return ssd(x_BTHP, delta_BTH, whole(HEADS), B_BTN, C_BTN, skip_H=whole(HEADS), resets_BT=_resets())[:1]


def _cfc() -> tuple[Tensor, ...]:
    heads = [part for _ in range(4) for part in (whole(UNITS, UNITS), whole(UNITS))]
    weights = CfcWeights(whole(UNITS, 2 * UNITS), whole(UNITS), *heads)
    return cfc(whole(BATCH, TOKENS, UNITS), weights, resets_BT=_resets())[:1]


def _ltc() -> tuple[Tensor, ...]:
    inputs, synapses, units = [UNITS] * 2, [(UNITS, UNITS)] * 8, [UNITS] * 3
    weights = LtcWeights(*map(whole, inputs), *(whole(*shape) for shape in synapses), *map(whole, units))
    return ltc(whole(BATCH, TOKENS, UNITS), weights, resets_BT=_resets())[:1]


def _resets() -> Tensor:
    return torch.empty(BATCH, TOKENS, dtype=torch.bool, device="meta")


CALLS: dict[str, Callable[[], tuple[Tensor, ...]]] = {
    "selective_scan": _scan,
    "lif": _lif,
    "causal_trace": _trace,
    "causal_conv": _conv,
    "gated_skip": _gated_skip,
    "gated_norm": _gated_norm,
    "spike_pairs": _spike_pairs,
    "ssd": _ssd,
    "cfc": _cfc,
    "ltc": _ltc,
}
"""One call of each operation; the outputs that training reads."""


def launches() -> Iterator[tuple[str, Launch]]:
    """Return the operation and the launch of every kernel of ours, in the order in which they are started."""
    for operation, call in CALLS.items():
        with rehearsal() as started:
            outputs = [output for output in call() if output.requires_grad]
            if outputs:
                torch.autograd.backward(outputs, [torch.empty_like(output) for output in outputs])
        yield from ((operation, launch) for launch in started if launch.module)
