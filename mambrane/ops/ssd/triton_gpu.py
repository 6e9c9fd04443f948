"""State-space duality on a GPU, in Triton: two kernels forward, three backward.

The products over a chunk of Q tokens are those of `chunked.py`; what lies between two tokens is made in registers and
never goes to memory. With D[g] the decay over chunk g and S[g] what its tokens add to the state:

    pass_states     before[g+1] = D[g] before[g] + S[g]
    outputs         y[q] = sum over k <= q of (C[q] . B[k]) between[q, k] delta[k] x[k]  +  from_start[q] before C[q]

and on the way back, with G the gradient of the state behind a chunk:

    pass_states     G[g-1] = D[g] G[g] + sum over q of from_start[q] dy[q] C[q]^T
    read_gradients  of C, D and the scores C B^T, from x, dy and `before`; factors are computed again
    write_gradients of x, delta, A and B, from x, dy and G

Both keep sums over heads in registers; one kernel for all would not fit.

Inputs in bfloat16 enter the products as they are, and what is computed for one is rounded to bfloat16 once; so are the
states between chunks, which are the largest tensors of all. Sums, decays and all that is of one number for a token are
float32. Shares of what several programs add to (B, C, A, D) are added up in one order.
Source: Dao, Gu, arXiv 2405.21060, section 6, whose kernels (mamba_ssm) round at the same places.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import count_blocks
from mambrane.kernels.triton.launch import Kernels, power_of_two
from mambrane.kernels.triton.operators import TYPES, gpu_operator
from mambrane.ops.ssd.reference import ssd_reference

__all__ = ["TYPES", "ssd_triton", "supports"]

CHUNK_TOKENS, FLOAT32_CHUNK_TOKENS = 64, 16
"""Tokens of a chunk: float32 factors take twice the place, and products of them many instructions."""
SMALLEST_SIDE = 16
"""Of a factor, as matrix units take it."""
LARGEST_HEAD, LARGEST_STATE = 64, 128
"""Channels and states of a head whose tiles fit a processor's registers and shared memory."""
BLOCK_STATES = 64
"""States that a program of `pass_states` walks with."""
HEADS_OF_OUTPUTS = 4
PROGRAMS = 512
"""Of the gradients, at least: heads share a program, two at least, more where there are enough chunks."""

_KERNELS = Kernels("mambrane.ops.ssd.triton_kernels")


def ssd_triton(
    x_BTHP: Tensor,
    delta_BTH: Tensor,
    A_H: Tensor,
    B_BTN: Tensor,
    C_BTN: Tensor,
    *,
    skip_H: Tensor | None,
    state_BHPN: Tensor | None,
    resets_BT: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return y and the last state; arguments as in `mambrane.ops.ssd.ssd`."""
    if x_BTHP.shape[1] == 1:
        # One token is one turn of the recurrence; there is nothing to gather into a product.
        return ssd_reference(
            x_BTHP, delta_BTH, A_H, B_BTN, C_BTN, skip_H=skip_H, state_BHPN=state_BHPN, resets_BT=resets_BT
        )
    # States can leave the range of float16.
    factors = x_BTHP.dtype if x_BTHP.dtype == torch.bfloat16 else torch.float32
    whole = torch.float32
    outputs = _ssd(
        x_BTHP.to(factors).contiguous(),
        delta_BTH.to(whole).contiguous(),
        A_H.to(whole).contiguous(),
        B_BTN.to(factors).contiguous(),
        C_BTN.to(factors).contiguous(),
        None if skip_H is None else skip_H.to(whole).contiguous(),
        None if state_BHPN is None else state_BHPN.to(whole).contiguous(),
        None if resets_BT is None else resets_BT.contiguous(),
    )
    return outputs.y_BTHP.to(x_BTHP.dtype), outputs.last_BHPN


def supports(x_BTHP: Tensor, delta_BTH: Tensor, A_H: Tensor, B_BTN: Tensor, *_: Any, **__: Any) -> str | None:  # noqa: ANN401 -- the rest of a call
    """Return why a call is not for these kernels, or None."""
    if x_BTHP.shape[3] > LARGEST_HEAD or B_BTN.shape[2] > LARGEST_STATE:
        return f"it is for heads of at most {LARGEST_HEAD} channels and {LARGEST_STATE} states"
    return None


class _Inputs(NamedTuple):
    x_BTHP: Tensor
    delta_BTH: Tensor
    A_H: Tensor
    B_BTN: Tensor
    C_BTN: Tensor
    skip_H: Tensor | None
    state_BHPN: Tensor | None
    resets_BT: Tensor | None


class _Outputs(NamedTuple):
    y_BTHP: Tensor
    last_BHPN: Tensor
    before_BGHPN: Tensor


def _make_outputs(inputs: _Inputs) -> _Outputs:
    x, states = inputs.x_BTHP, inputs.B_BTN.shape[2]
    batch, tokens, heads, channels = x.shape
    num_chunks = count_blocks(tokens, _chunk_tokens(x))
    return _Outputs(
        torch.empty_like(x),
        x.new_empty(batch, heads, channels, states, dtype=torch.float32),
        x.new_empty(batch, num_chunks, heads, channels, states),
    )


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    x, delta, rate, B, C, skip, state, resets = inputs
    _pass_states(inputs, x, B, state, None, outputs.before_BGHPN, outputs.last_BHPN)
    batch, num_chunks, heads = outputs.before_BGHPN.shape[:3]
    together = _largest_divisor(heads, HEADS_OF_OUTPUTS)
    _KERNELS.start(
        "outputs",
        (heads // together, num_chunks, batch),
        *(x, delta, rate, B, C, skip, outputs.before_BGHPN, resets, outputs.y_BTHP, x.shape[1]),
        **_constants(inputs),
        HEADS=together,
        HAS_SKIP=skip is not None,
        num_warps=4,
        num_stages=2,
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    x, delta, rate, B, C, skip, state, resets, before = saved
    batch, num_chunks, heads = before.shape[:3]
    grad_y = torch.zeros_like(x) if grads.y_BTHP is None else grads.y_BTHP
    behind, grad_first = torch.empty_like(before), delta.new_empty(batch, heads, *before.shape[3:])
    kept = _pass_states(saved, grad_y, C, grads.last_BHPN, before, behind, grad_first)
    together = _largest_divisor(heads, max(2, heads // count_blocks(PROGRAMS, batch * num_chunks)))
    num_groups = heads // together
    constants = {
        **_constants(saved),
        "HEADS": together,
        "HAS_SKIP": skip is not None,
        "num_warps": 8,
        "amd_warps": 4,
        "num_stages": 1,
    }
    grad_x, grad_delta = torch.empty_like(x), torch.empty_like(delta)
    partial_B, partial_C = (delta.new_empty(num_groups, *B.shape) for _ in range(2))
    chunk_tokens = constants["Q"]
    partial_rate, partial_skip = (delta.new_empty(batch, num_chunks, heads) for _ in range(2))
    partial_score = delta.new_empty(num_groups, batch, num_chunks, chunk_tokens, chunk_tokens)
    passing = delta.new_empty(batch, num_chunks, chunk_tokens, heads)
    grid = (num_groups, num_chunks, batch)
    _KERNELS.start(
        "read_gradients",
        grid,
        *(x, delta, rate, B, C, before, resets, grad_y, partial_C, partial_score, grad_delta, passing),
        *(partial_skip, x.shape[1]),
        **constants,
    )
    _KERNELS.start(
        "write_gradients",
        grid,
        *(x, delta, rate, B, C, skip, behind, resets, grad_y, partial_score, passing, kept, grad_delta),
        *(grad_x, partial_rate, partial_B, x.shape[1]),
        **constants,
        SHARES=kept.shape[3],
    )
    nothing = delta.new_empty(0)
    return (
        grad_x,
        grad_delta,
        partial_rate.sum(dim=(0, 1)),
        *(partial.sum(dim=0).to(B.dtype) for partial in (partial_B, partial_C)),
        nothing if skip is None else partial_skip.sum(dim=(0, 1)),
        nothing if state is None else grad_first,
    )


def _pass_states(
    inputs: Any,  # noqa: ANN401 -- arguments, or what was saved of them
    drive_BTHP: Tensor,
    side_BTN: Tensor,
    first_BHPN: Tensor | None,
    before_BGHPN: Tensor | None,
    states_BGHPN: Tensor,
    last_BHPN: Tensor,
) -> Tensor:
    """Start the kernel, backward where `before` is given; return the shares of `kept`, which is for backward."""
    batch, tokens, heads = inputs.delta_BTH.shape
    constants = _constants(inputs)
    constants["BLOCK_N"] = min(constants["BLOCK_N"], BLOCK_STATES)
    num_shares, is_backward = count_blocks(side_BTN.shape[2], constants["BLOCK_N"]), before_BGHPN is not None
    kept = last_BHPN.new_empty((*states_BGHPN.shape[:3], num_shares) if is_backward else 0)
    _KERNELS.start(
        "pass_states",
        (num_shares, heads, batch),
        *(drive_BTHP, inputs.delta_BTH, inputs.A_H, side_BTN, first_BHPN, inputs.resets_BT),
        *(before_BGHPN, states_BGHPN, last_BHPN, kept, tokens),
        **constants,
        HAS_FIRST=first_BHPN is not None,
        IS_BACKWARD=is_backward,
        num_warps=4,
    )
    return kept


def _constants(inputs: Any) -> dict[str, Any]:  # noqa: ANN401 -- arguments, or what was saved of them
    """Return what all kernels are compiled for."""
    heads, channels = inputs.x_BTHP.shape[2:]
    states = inputs.B_BTN.shape[2]
    return {
        "H": heads,
        "P": channels,
        "N": states,
        "Q": _chunk_tokens(inputs.x_BTHP),
        "BLOCK_P": max(SMALLEST_SIDE, power_of_two(channels)),
        "BLOCK_N": max(SMALLEST_SIDE, power_of_two(states)),
        "HAS_RESETS": inputs.resets_BT is not None,
        "SUMS_PAIRS": inputs.x_BTHP.dtype == torch.float32,
    }


def _chunk_tokens(x_BTHP: Tensor) -> int:
    largest = FLOAT32_CHUNK_TOKENS if x_BTHP.dtype == torch.float32 else CHUNK_TOKENS
    return max(SMALLEST_SIDE, min(largest, power_of_two(x_BTHP.shape[1])))


def _largest_divisor(number: int, largest: int) -> int:
    return max(each for each in range(1, max(1, largest) + 1) if number % each == 0)


_ssd = gpu_operator(
    "ssd",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=(*_Inputs._fields, "before_BGHPN"),
    gradients={name: name for name in _Inputs._fields if name != "resets_BT"},
    internal=("before_BGHPN",),
)
