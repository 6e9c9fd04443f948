"""State-space duality on a GPU: the matrix products of `chunked.py`, and the states passed on by one kernel in Triton.

With bfloat16 the products are those of `half_products.py`. They are what a GPU is best at, and a loop over the chunks
between them would start four kernels for each, forward and backward. With D[g] the decay over chunk g and S[g] what it
adds to the state:

    before[g+1] = D[g] before[g] + S[g]
    dS[g] = G[g]        dD[g] = G[g] . before[g]        G[g-1] = D[g] G[g] + d before[g]

Each block's share of dD is added up in one order.
Source: Dao, Gu, arXiv 2405.21060, section 6 (state passing).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import no_resets
from mambrane.kernels.autocast import without_autocast
from mambrane.kernels.triton.launch import Kernels, count_blocks
from mambrane.kernels.triton.operators import TYPES, gpu_operator
from mambrane.ops.ssd.chunked import CHUNK_TOKENS, ssd_chunked
from mambrane.ops.ssd.half_products import scan_chunks_in_half

__all__ = ["TYPES", "ssd_triton"]

BLOCK_NUMBERS = 512

_KERNELS = Kernels("mambrane.ops.ssd.triton_kernels")


def ssd_triton(
    x_BTHP: Tensor,
    delta_BTH: Tensor,
    A_H: Tensor,
    B_BTN: Tensor,
    C_BTN: Tensor,
    *,
    state_BHPN: Tensor | None,
    resets_BT: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return y and the last state; arguments as in `mambrane.ops.ssd.ssd`."""
    if x_BTHP.dtype == torch.bfloat16 and x_BTHP.shape[1] > 1:
        if resets_BT is None:
            resets_BT = no_resets(x_BTHP)
        if state_BHPN is None:
            shape = (x_BTHP.shape[0], *x_BTHP.shape[2:], B_BTN.shape[-1])
            state_BHPN = x_BTHP.new_zeros(shape, dtype=torch.float32)
        with without_autocast(x_BTHP.device):
            return scan_chunks_in_half(
                *(x_BTHP, delta_BTH.float(), A_H.float(), B_BTN.to(x_BTHP.dtype), C_BTN.to(x_BTHP.dtype)),
                state_BHPN.float(),
                resets_BT,
                min(CHUNK_TOKENS, x_BTHP.shape[1]),
                _pass_on,
            )
    return ssd_chunked(
        *(x_BTHP, delta_BTH, A_H, B_BTN, C_BTN),
        state_BHPN=state_BHPN,
        resets_BT=resets_BT,
        chunk_tokens=CHUNK_TOKENS,
        pass_on=_pass_on,
    )


class _Inputs(NamedTuple):
    first_BHPN: Tensor
    decay_BGH: Tensor
    added_BGHPN: Tensor


class _Outputs(NamedTuple):
    before_BGHPN: Tensor
    last_BHPN: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    return _Outputs(torch.empty_like(inputs.added_BGHPN), torch.empty_like(inputs.first_BHPN))


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    grid, num_chunks, constants = _sizes(inputs.added_BGHPN)
    _KERNELS.start("forward", grid, *inputs, *outputs, num_chunks, **constants)


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    first_BHPN, decay_BGH, before_BGHPN = saved
    grid, num_chunks, constants = _sizes(before_BGHPN)
    grad_added_BGHPN, grad_first_BHPN = torch.empty_like(before_BGHPN), torch.empty_like(first_BHPN)
    partial_decay = decay_BGH.new_empty(*decay_BGH.shape, grid[0])
    _KERNELS.start(
        "backward",
        grid,
        *(decay_BGH, before_BGHPN, *grads, grad_first_BHPN, partial_decay, grad_added_BGHPN, num_chunks),
        **constants,
        HAS_GRAD_BEFORE=grads.before_BGHPN is not None,
        HAS_GRAD_LAST=grads.last_BHPN is not None,
    )
    return grad_first_BHPN, partial_decay.sum(dim=-1), grad_added_BGHPN


def _sizes(states_BGHPN: Tensor) -> tuple[tuple[int, ...], int, dict[str, Any]]:
    """Return the grid, the number of chunks and what both kernels are compiled for."""
    batch, num_chunks, heads, channels, num_states = states_BGHPN.shape
    numbers = channels * num_states
    constants = {"H": heads, "M": numbers, "BLOCK": BLOCK_NUMBERS, "num_warps": 4}
    return (count_blocks(numbers, BLOCK_NUMBERS), heads, batch), num_chunks, constants


_operator = gpu_operator(
    "ssd_states",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=("first_BHPN", "decay_BGH", "before_BGHPN"),
    gradients={"first_BHPN": "first_BHPN", "decay_BGH": "decay_BGH", "added_BGHPN": "before_BGHPN"},
)


def _pass_on(first_BHPN: Tensor, decay_BGH: Tensor, added_BGHPN: Tensor) -> tuple[Tensor, Tensor]:
    """Return the state before each chunk and the one behind the last, as `chunked.pass_on`."""
    outputs = _operator(*(each.contiguous() for each in (first_BHPN, decay_BGH, added_BGHPN)))
    return outputs.before_BGHPN, outputs.last_BHPN
