"""LTC cell on a GPU: the six steps of every token in one kernel of Triton, all that does not wait for time beside it.

The formula is in `reference.py`. What the sensory synapses send is known for all tokens before the first step
(`receive`). `forward` then goes from step to step, a program for each sequence, and keeps v before each step and what
each step received. With v' = above / below, above = cm v + d pull and below = cm + d conductance, `backward` goes back:

    d above = dv' / below       d below = -dv' v' / below
    dv      = cm d above + sum over units of d (d above erev + d below) w sigmoid' sigma

The gradients of synapses are sums over all steps of all tokens, computed side by side afterwards (`synapse_gradients`),
and added up over chunks in one order; those of cm, leak and time follow from d above and d below. A step takes some two
to three microseconds, the time in which a multiprocessor reads the four matrices from the second cache (an estimate).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambrane.kernels.arguments import count_blocks
from mambrane.kernels.triton.launch import Kernels
from mambrane.kernels.triton.operators import TYPES, gpu_operator
from mambrane.ops.ltc.reference import EPSILON, NUM_UNFOLDS, LtcOutput, LtcWeights

__all__ = ["TYPES", "ltc_triton"]

BLOCK_UNITS = 32
"""Units on each side of a tile of synapses: eight numbers a thread of each kind."""
PROGRAMS = 1024
"""Programs that fill a GPU: into so many the sums over tokens are cut."""

_KERNELS = Kernels("mambrane.ops.ltc.triton_kernels")


def ltc_triton(
    x_BTI: Tensor,
    weights: LtcWeights,
    *,
    state_BL: Tensor | None,
    resets_BT: Tensor | None,
    elapsed_BT: Tensor | None,
) -> LtcOutput:
    """Return the states of an LTC cell; arguments as in `mambrane.ops.ltc.ltc`."""
    p = LtcWeights(*(weight.float().contiguous() for weight in weights))
    u_BTI = x_BTI.float() * p.input_weight + p.input_bias
    sent = _sensory(u_BTI.contiguous(), p.sensory_w, p.sensory_mu, p.sensory_sigma, p.sensory_erev)
    outputs = _cell(
        p.gleak * p.vleak + sent.pull_BTL,
        p.gleak + sent.conductance_BTL + EPSILON,
        *(p.w, p.mu, p.sigma, p.erev, p.cm),
        None if state_BL is None else state_BL.float().contiguous(),
        None if resets_BT is None else resets_BT.contiguous(),
        None if elapsed_BT is None else (elapsed_BT.float() / NUM_UNFOLDS).contiguous(),
    )
    return LtcOutput(outputs.hidden_BTL.to(x_BTI.dtype), outputs.last_BL)


class _Sensory(NamedTuple):
    u_BTI: Tensor
    w_IL: Tensor
    mu_IL: Tensor
    sigma_IL: Tensor
    erev_IL: Tensor


class _Sent(NamedTuple):
    pull_BTL: Tensor
    conductance_BTL: Tensor


def _make_sent(inputs: _Sensory) -> _Sent:
    shape = (*inputs.u_BTI.shape[:2], inputs.w_IL.shape[1])
    return _Sent(inputs.u_BTI.new_empty(shape), inputs.u_BTI.new_empty(shape))


def _run_sensory(inputs: _Sensory, outputs: _Sent) -> None:
    pre, post = inputs.w_IL.shape
    grid = (count_blocks(post, BLOCK_UNITS), inputs.u_BTI.shape[:2].numel())
    _KERNELS.start("receive", grid, *inputs, *outputs, P=pre, L=post, BLOCK=BLOCK_UNITS, num_warps=4)


def _run_sensory_backward(grads: _Sent, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    u_BTI, w_IL, *_ = saved
    (pre, post), rows = w_IL.shape, u_BTI.shape[:2].numel()
    grad_pull, grad_conductance = (u_BTI.new_zeros(*u_BTI.shape[:2], post) if each is None else each for each in grads)
    grad_u_BTI = torch.empty_like(u_BTI)
    given = (*saved, grad_pull, grad_conductance)
    grid = (count_blocks(pre, BLOCK_UNITS), rows)
    _KERNELS.start("send_back", grid, *given, grad_u_BTI, P=pre, L=post, BLOCK=BLOCK_UNITS, num_warps=4)
    return grad_u_BTI, *_synapse_gradients(rows, *given)


def _synapse_gradients(rows: int, pre_RP: Tensor, w_PL: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of w, mu, sigma and erev from what was read, and from those of pull and conductance."""
    pre, post = w_PL.shape
    blocks = (count_blocks(pre, BLOCK_UNITS), count_blocks(post, BLOCK_UNITS))
    num_chunks = max(1, min(rows, PROGRAMS // (blocks[0] * blocks[1])))
    chunk_rows = max(1, count_blocks(rows, num_chunks))
    share_C4PL = pre_RP.new_empty(num_chunks, 4, pre, post)
    _KERNELS.start(
        "synapse_gradients",
        (*blocks, num_chunks),
        *(pre_RP, w_PL, *others, share_C4PL, rows, chunk_rows),
        P=pre,
        L=post,
        BLOCK=BLOCK_UNITS,
        num_warps=4,
    )
    return tuple(each.clone() for each in share_C4PL.sum(dim=0).unbind())


_sensory = gpu_operator(
    "ltc_sensory",
    _Sensory,
    _Sent,
    _make_sent,
    _run_sensory,
    _run_sensory_backward,
    saves=_Sensory._fields,
    gradients={name: name for name in _Sensory._fields},
)


class _Inputs(NamedTuple):
    pull_BTL: Tensor
    """What a unit receives beside the recurrent synapses."""
    conductance_BTL: Tensor
    w_LL: Tensor
    mu_LL: Tensor
    sigma_LL: Tensor
    erev_LL: Tensor
    cm_L: Tensor
    state_BL: Tensor | None
    resets_BT: Tensor | None
    step_BT: Tensor | None
    """Time of one of the six steps; for each token, or for each token and unit."""


class _Outputs(NamedTuple):
    hidden_BTL: Tensor
    last_BL: Tensor
    states_BTKL: Tensor
    """v before each of K steps."""
    sums_BTK2L: Tensor
    """The pull and the conductance of each step, all sources together."""


def _make_outputs(inputs: _Inputs) -> _Outputs:
    batch, tokens, units = inputs.pull_BTL.shape
    make = inputs.pull_BTL.new_empty
    return _Outputs(
        torch.empty_like(inputs.pull_BTL),
        make(batch, units),
        make(batch, tokens, NUM_UNFOLDS, units),
        make(batch, tokens, NUM_UNFOLDS, 2, units),
    )


def _run_forward(inputs: _Inputs, outputs: _Outputs) -> None:
    batch, tokens, _ = inputs.pull_BTL.shape
    _KERNELS.start(
        "forward",
        (batch,),
        *(*inputs, *outputs, tokens),
        **_constants(inputs),
        HAS_STATE=inputs.state_BL is not None,
        num_warps=8,
        # Without a limit NVIDIA's assembler sets itself one of 64 registers and lacks two.
        maxnreg=128,
    )


def _run_backward(grads: _Outputs, saved: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 -- what `saves` names
    synapses, cm_L, step_BT = saved[:4], saved.cm_L, saved.step_BT
    states_BTKL, sums_BTK2L = saved.states_BTKL, saved.sums_BTK2L
    batch, tokens, _, units = states_BTKL.shape
    grad_v_BL = states_BTKL.new_empty(batch, units)
    above, below, to_pull, to_conductance = (torch.empty_like(states_BTKL) for _ in range(4))
    _KERNELS.start(
        "backward",
        (batch,),
        *(*synapses, cm_L, saved.resets_BT, step_BT, states_BTKL, sums_BTK2L, grads.hidden_BTL, grads.last_BL),
        *(grad_v_BL, above, below, to_pull, to_conductance, tokens),
        **_constants(saved),
        HAS_GRAD_HIDDEN=grads.hidden_BTL is not None,
        HAS_GRAD_LAST=grads.last_BL is not None,
        num_warps=4,
    )
    grad_synapses = _synapse_gradients(batch * tokens * NUM_UNFOLDS, states_BTKL, *synapses, to_pull, to_conductance)
    grad_cm_L = (above * states_BTKL + below).sum(dim=(0, 1, 2))
    grad_step = states_BTKL.new_empty(0)
    if step_BT is not None:
        grad_step = (above * sums_BTK2L[..., 0, :] + below * sums_BTK2L[..., 1, :]).sum(dim=2)
        grad_step = grad_step if step_BT.ndim == 3 else grad_step.sum(dim=2)
    grad_first = states_BTKL.new_empty(0) if saved.state_BL is None else grad_v_BL
    return to_pull.sum(dim=2), to_conductance.sum(dim=2), *grad_synapses, grad_cm_L, grad_first, grad_step


def _constants(inputs: Any) -> dict[str, Any]:  # noqa: ANN401 -- arguments, or what was saved of them
    """Return what both kernels that follow time are compiled for."""
    step = inputs.step_BT
    return {
        "L": inputs.w_LL.shape[0],
        "BLOCK": BLOCK_UNITS,
        "UNFOLDS": NUM_UNFOLDS,
        "HAS_RESETS": inputs.resets_BT is not None,
        "HAS_STEP": step is not None,
        "IS_PER_UNIT": step is not None and step.ndim == 3,
    }


_cell = gpu_operator(
    "ltc",
    _Inputs,
    _Outputs,
    _make_outputs,
    _run_forward,
    _run_backward,
    saves=(*_Inputs._fields[2:], "hidden_BTL", "states_BTKL", "sums_BTK2L"),
    gradients={
        "pull_BTL": "hidden_BTL",
        "conductance_BTL": "hidden_BTL",
        **{name: name for name in ("w_LL", "mu_LL", "sigma_LL", "erev_LL", "cm_L", "state_BL", "step_BT")},
    },
    internal=("states_BTKL", "sums_BTK2L"),
)
