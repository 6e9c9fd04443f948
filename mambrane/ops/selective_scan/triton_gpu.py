"""Selective scan on a GPU, in Triton; no tensor of size B x T x E x N is ever made.

The formula is in `reference.py`. T is cut into G chunks of tokens that run side by side, so that one long text fills a
GPU as well as many short ones:

    chunk_ends     each chunk from the zero state: its last state, and the sum of its step sizes
                   (the decay over a whole chunk is exp(A sum delta): no product of decays is stored)
    pass_on        over the G chunks, one after the other: the state before each chunk
    chunk_outputs  each chunk again from its true first state: y

A text of one chunk needs the last alone. Backward, the first two once more in reverse order of time (`chunk_starts`),
for the gradient of the state behind each chunk; then `chunk_gradients`, each chunk by itself. Kept in between are the
states before the chunks, 1 / CHUNK_TOKENS of what is avoided. Sums over channels and chunks are added in one order, so
equal inputs give equal bits. The formulas of the gradients are those of `numba_cpu.py`.

Source of the two passes over chunks: Blelloch, Prefix sums and their applications, CMU-CS-90-190 (1990), section 1.4.
Letters beyond core/shapes: G chunks.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import count_blocks
from mambrane.kernels.triton.launch import Kernels, power_of_two
from mambrane.kernels.triton.operators import TYPES, gpu_operator

__all__ = ["TYPES", "selective_scan_triton"]

CHUNK_TOKENS = 64
UNROLLED_TOKENS = 4
"""Tokens whose loads run ahead of the recurrence, and whose states stand in registers on the way back."""
BLOCK_CHANNELS = 16
BLOCK_PASSED = 256
"""Numbers that a program passes on from chunk to chunk."""
PROGRAMS = 2048
"""Programs that run_forward a GPU; a text of more chunks and channels gives a program several blocks of channels."""

_KERNELS = Kernels("mambrane.ops.selective_scan.triton_kernels")


def selective_scan_triton(
    x_BTE: Tensor,
    delta_BTE: Tensor,
    A_EN: Tensor,
    B_BTN: Tensor,
    C_BTN: Tensor,
    *,
    state_BEN: Tensor | None,
    resets_BT: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return y and the last state; arguments as in `mambrane.ops.selective_scan.selective_scan`."""
    outputs = _scan(
        *(each.contiguous() for each in (x_BTE, delta_BTE, A_EN.t(), B_BTN, C_BTN)),
        None if state_BEN is None else state_BEN.float().transpose(1, 2).contiguous(),
        None if resets_BT is None else resets_BT.contiguous(),
    )
    return outputs.y_BTE, outputs.last_BNE.transpose(1, 2)


class _Inputs(NamedTuple):
    x_BTE: Tensor
    delta_BTE: Tensor
    A_NE: Tensor
    B_BTN: Tensor
    C_BTN: Tensor
    state_BNE: Tensor | None
    resets_BT: Tensor | None


class _Outputs(NamedTuple):
    y_BTE: Tensor
    last_BNE: Tensor
    before_BGNE: Tensor
    """The states before the chunks; G = 0 for a text of one chunk, whose first state is an argument."""
    steps_BGE: Tensor
    """Sum of the step sizes in each chunk; minus infinity where a document starts in it."""


def _make_outputs(inputs: _Inputs) -> _Outputs:
    (batch, tokens, channels), num_states = inputs.x_BTE.shape, inputs.A_NE.shape[0]
    num_chunks = count_blocks(tokens, CHUNK_TOKENS) if tokens > CHUNK_TOKENS else 0
    make, whole = inputs.x_BTE.new_empty, torch.float32
    return _Outputs(
        torch.empty_like(inputs.x_BTE),
        make(batch, num_states, channels, dtype=whole),
        make(batch, num_chunks, num_states, channels, dtype=whole),
        make(batch, num_chunks, channels, dtype=whole),
    )


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    x, delta, A, B, C, state, resets = inputs
    (batch, tokens, channels), num_chunks = x.shape, outputs.before_BGNE.shape[1]
    grid = (count_blocks(channels, BLOCK_CHANNELS), max(num_chunks, 1), batch)
    constants = _constants(x, A, resets)
    before = state
    if num_chunks:
        before = outputs.before_BGNE
        _KERNELS.start("chunk_ends", grid, x, delta, A, B, resets, before, outputs.steps_BGE, tokens, **constants)
        _pass_on(before, outputs.steps_BGE, A, state, outputs.last_BNE, reverse=False)
    _KERNELS.start(
        "chunk_outputs",
        grid,
        *(x, delta, A, B, C, resets, before, outputs.y_BTE, outputs.last_BNE, tokens),
        **constants,
        HAS_BEFORE=before is not None,
        WRITES_LAST=not num_chunks,
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    x, delta, A, B, C, state, resets, before, steps = saved
    (batch, tokens, channels), num_states, num_chunks = x.shape, A.shape[0], before.shape[1]
    constants = _constants(x, A, resets)
    make, whole = x.new_empty, torch.float32
    grad_first_BNE = make(0, dtype=whole) if state is None else torch.empty_like(state)
    behind = grads.last_BNE
    grad_A_BGNE = make(batch, max(num_chunks, 1), num_states, channels, dtype=whole)
    if num_chunks:
        # What comes in at a chunk is read before the gradient of A takes its place.
        behind = grad_A_BGNE
        if grads.y_BTE is None:
            behind.zero_()
        else:
            grid = (count_blocks(channels, BLOCK_CHANNELS), num_chunks, batch)
            _KERNELS.start("chunk_starts", grid, grads.y_BTE, delta, A, C, resets, behind, tokens, **constants)
        _pass_on(behind, steps, A, grads.last_BNE, None if state is None else grad_first_BNE, reverse=True)
    num_blocks = count_blocks(channels, BLOCK_CHANNELS)
    num_splits = min(num_blocks, max(1, PROGRAMS // max(batch * num_chunks, batch, 1)))
    grid = (num_splits, max(num_chunks, 1), batch)
    kept = CHUNK_TOKENS // UNROLLED_TOKENS * BLOCK_CHANNELS * power_of_two(num_states)
    scratch = make(batch, max(num_chunks, 1), num_splits, kept, dtype=whole)
    grad_x, grad_delta = torch.empty_like(x), torch.empty_like(delta)
    partial_B, partial_C = (make(num_splits, batch, tokens, num_states, dtype=whole) for _ in range(2))
    _KERNELS.start(
        "chunk_gradients",
        grid,
        *(x, delta, A, B, C, resets, before if num_chunks else state, grads.y_BTE, behind, scratch),
        *(grad_x, grad_delta, grad_A_BGNE, partial_B, partial_C, grad_first_BNE, tokens, batch),
        **constants,
        HAS_BEFORE=num_chunks > 0 or state is not None,
        HAS_BEHIND=behind is not None,
        HAS_GRAD_Y=grads.y_BTE is not None,
        WRITES_FIRST=not num_chunks and state is not None,
    )
    grad_C = torch.zeros_like(C) if grads.y_BTE is None else partial_C.sum(dim=0).to(C.dtype)
    sums = (grad_A_BGNE.sum(dim=(0, 1)).to(A.dtype), partial_B.sum(dim=0).to(B.dtype), grad_C)
    return grad_x, grad_delta, *sums, grad_first_BNE


def _pass_on(
    own: Tensor, steps: Tensor, A: Tensor, first: Tensor | None, last: Tensor | None, *, reverse: bool
) -> None:
    batch, num_chunks, num_states, channels = own.shape
    _KERNELS.start(
        "pass_on",
        (count_blocks(channels * num_states, BLOCK_PASSED), batch),
        *(own, steps, A, first, last, num_chunks),
        E=channels,
        N=num_states,
        BLOCK=BLOCK_PASSED,
        REVERSE=reverse,
        HAS_FIRST=first is not None,
        WRITES_LAST=last is not None,
        num_warps=4,
    )


def _constants(x_BTE: Tensor, A_NE: Tensor, resets: Tensor | None) -> dict[str, Any]:
    """Return what the kernels over chunks are compiled for."""
    return {
        "E": x_BTE.shape[2],
        "N": A_NE.shape[0],
        "BLOCK_N": power_of_two(A_NE.shape[0]),
        "BLOCK_E": BLOCK_CHANNELS,
        "CHUNK": CHUNK_TOKENS,
        "UNROLL": UNROLLED_TOKENS,
        "IS_WHOLE": x_BTE.shape[1] % UNROLLED_TOKENS == 0,
        "HAS_RESETS": resets is not None,
        "num_warps": 1,
    }


_scan = gpu_operator(
    "selective_scan",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=(*_Inputs._fields, "before_BGNE", "steps_BGE"),
    gradients={name: name for name in _Inputs._fields[:6]},
    internal=("before_BGNE", "steps_BGE"),
)
