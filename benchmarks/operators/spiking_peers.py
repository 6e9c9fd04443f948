"""Leaky integrate-and-fire neurons against SpikingJelly, snnTorch and Norse: identical spikes, the same surrogate.

Each peer gets its inputs in its own layout, time first. What its settings mean in ours: tests/parity/test_lif.py.
The reset is to zero. The surrogate is the peer's own with its own slope: arc tangent with slope 2 for SpikingJelly
and snnTorch, fast sigmoid with slope 1 for Norse.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.operators.contest import Contest, Side
from mambrane.core.seeding import make_generator
from mambrane.ops.lif import Surrogate, lif

BATCH, TICKS, UNITS = 8, 256, 1024
DECAY, THRESHOLD = 0.875, 1.0
TAU = 1.0 / (1.0 - DECAY)
TIE = 1e-5
"""No membrane comes closer to the threshold: rounding differs, and snnTorch and Norse fire above it, others at it."""


def lif_against_spikingjelly() -> Contest:
    """Against its multi-step node, the fastest that it has on a CPU."""
    from spikingjelly.activation_based import neuron, surrogate

    peer = neuron.LIFNode(
        tau=TAU,
        decay_input=False,
        v_threshold=THRESHOLD,
        v_reset=0.0,
        surrogate_function=surrogate.ATan(2.0),
        step_mode="m",
    )

    def forward(current_TBS: Tensor) -> Tensor:
        peer.reset()
        return peer(current_TBS)

    return _contest(forward, surrogate="atan", slope=2.0)


def lif_against_snntorch() -> Contest:
    """Against its neuron in the loop over `current[t]` that its tutorials show."""
    return _snntorch(lambda current_TBS: [current_TBS[t] for t in range(TICKS)])


def lif_against_snntorch_unbound() -> Contest:
    """The same over inputs cut once, so that the backward pass does not fill a whole tensor for each tick."""
    return _snntorch(torch.unbind)


def lif_against_norse() -> Contest:
    """Against its box neuron, the one without synaptic currents, in `Lift`, its own loop over time."""
    from norse.torch import Lift

    peer = Lift(_norse_cell())
    return _contest(lambda current_TBS: peer(current_TBS)[0], surrogate="fast_sigmoid", slope=1.0, scale=TAU)


def lif_against_norse_unbound() -> Contest:
    """The same neuron over inputs cut once, so that the backward pass does not fill a whole tensor for each tick."""
    cell = _norse_cell()
    return _contest(
        lambda current_TBS: _loop(cell, None, current_TBS.unbind()), surrogate="fast_sigmoid", slope=1.0, scale=TAU
    )


def _snntorch(cut: Callable[[Tensor], Sequence[Tensor]]) -> Contest:
    import snntorch
    from snntorch import surrogate

    peer = snntorch.Leaky(
        beta=DECAY, threshold=THRESHOLD, spike_grad=surrogate.atan(2.0), reset_mechanism="zero", reset_delay=False
    )
    return _contest(lambda current_TBS: _loop(peer, peer.init_leaky(), cut(current_TBS)), surrogate="atan", slope=2.0)


def _norse_cell() -> nn.Module:
    with warnings.catch_warnings():
        # It compiles functions with torch.jit.script at import.
        warnings.simplefilter("ignore", DeprecationWarning)
        from norse.torch.functional.lif_box import LIFBoxParameters
        from norse.torch.module.lif_box import LIFBoxCell

    # Its neuron multiplies the current by dt / tau: it is given tau times as much.
    return LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor(1.0 / TAU)), dt=1.0)


def _loop(step: Callable[..., tuple[Tensor, Any]], state: Any, currents: Sequence[Tensor]) -> Tensor:  # noqa: ANN401
    spikes = []
    for current_BS in currents:
        spikes_BS, state = step(current_BS, state)
        spikes.append(spikes_BS)
    return torch.stack(spikes)


def _contest(forward: Callable[[Tensor], Tensor], *, surrogate: Surrogate, slope: float, scale: float = 1.0) -> Contest:
    decay_S, current_BTS = torch.full((UNITS,), DECAY), _currents()
    grad_BTS = torch.randn(BATCH, TICKS, UNITS, generator=make_generator(0, "gradients"))

    def ours() -> Tensor:
        options = {"reset": "zero", "surrogate": surrogate, "surrogate_slope": slope}
        return lif(current_BTS, decay_S, threshold=THRESHOLD, **options).spikes_BTS

    theirs_TBS = (scale * current_BTS).transpose(0, 1).contiguous().detach().requires_grad_()
    to_common = {"output": lambda x: x.transpose(0, 1), "current": lambda x: scale * x.transpose(0, 1)}
    return Contest(
        Side(ours, {"current": current_BTS.requires_grad_()}, grad_BTS),
        Side(lambda: forward(theirs_TBS), {"current": theirs_TBS}, grad_BTS.transpose(0, 1).contiguous(), to_common),
        is_output_exact=True,
    )


def _currents() -> Tensor:
    """Return currents at which no membrane comes within `TIE` of the threshold."""
    current_BTS = torch.rand(BATCH, TICKS, UNITS, generator=make_generator(0, "currents")) * 0.5 - 0.1
    decay_S = torch.full((UNITS,), DECAY)
    while True:
        neurons = lif(current_BTS, decay_S, threshold=THRESHOLD, reset="zero", keep_membranes=True)
        is_tie_BTS = (neurons.membrane_BTS - THRESHOLD).abs() < TIE
        if not is_tie_BTS.any():
            return current_BTS
        current_BTS[is_tie_BTS] += 10 * TIE
