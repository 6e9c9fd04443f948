"""Our operations against what others have written for GPUs, where it is installed; each is checked before it is timed.

Texts have no resets here, which not all of them know. A peer that is not installed, fails or computes something else
is told in a line and not timed. flash-linear-attention and SpikingJelly have no operation of the same definition: the
first no scan of one decay for each channel and state, the second no decay of its own for each neuron and token.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.calls import BASE, Call, Sizes, calls
from benchmarks.gpu.measurement import TOLERANCE, largest_difference, median_s
from mambrane.ops import causal_conv, gated_norm, gated_skip


@dataclass(frozen=True)
class Peer:
    """Somebody's function for an operation of ours."""

    operation: str
    name: str
    """Of the package, or what it is."""
    module: str
    """Where the function is."""
    call: Callable[..., Tensor]
    """Takes the module and our inputs; returns the first output in our layout."""


def _scan(module: Any, x_BTE: Tensor, delta_BTE: Tensor, A_EN: Tensor, B_BTN: Tensor, C_BTN: Tensor) -> Tensor:  # noqa: ANN401
    x_BET, delta_BET, B_BNT, C_BNT = (each.mT.contiguous() for each in (x_BTE, delta_BTE, B_BTN, C_BTN))
    return module.selective_scan_fn(x_BET, delta_BET, A_EN.float(), B_BNT, C_BNT).mT


def _ssd(module: Any, x_BTHP: Tensor, delta_BTH: Tensor, A_H: Tensor, B_BTN: Tensor, C_BTN: Tensor) -> Tensor:  # noqa: ANN401
    B_BTGN, C_BTGN = B_BTN.unsqueeze(2), C_BTN.unsqueeze(2)
    return module.mamba_chunk_scan_combined(x_BTHP, delta_BTH, A_H.float(), B_BTGN, C_BTGN, chunk_size=64)


def _conv(module: Any, x_BTE: Tensor, taps_EK: Tensor, bias_E: Tensor) -> Tensor:  # noqa: ANN401
    return module.causal_conv1d_fn(x_BTE.mT, taps_EK, bias_E, activation="silu").mT


def _compiled(operation: Callable[..., Any]) -> Callable[..., Tensor]:
    """Return the reference through torch's compiler."""

    def first(*inputs: Tensor) -> Tensor:
        found = operation(*inputs, backend="reference")
        return found[0] if isinstance(found, tuple) else found

    compiled = cache(lambda: torch.compile(first))
    return lambda _, *inputs: compiled()(*inputs)


def installed_peers() -> list[Peer]:
    """Return whom we compare with; of compiled references those without a loop over tokens, which would be unrolled."""
    return [
        Peer("selective_scan", "mamba_ssm", "mamba_ssm.ops.selective_scan_interface", _scan),
        Peer("ssd", "mamba_ssm", "mamba_ssm.ops.triton.ssd_combined", _ssd),
        Peer("causal_conv", "causal_conv1d", "causal_conv1d", _conv),
        Peer("causal_conv", "the reference, compiled", "torch", _compiled(causal_conv)),
        Peer("gated_norm", "the reference, compiled", "torch", _compiled(gated_norm)),
        Peer("gated_skip", "the reference, compiled", "torch", _compiled(gated_skip)),
    ]


def compared(
    device: torch.device, peers: Sequence[Peer], sizes: Sizes = BASE, *, rounds: int = 10
) -> Iterator[dict[str, Any]]:
    """Yield a row for each peer: times of both in bfloat16 inputs, or why there are none."""
    ours = calls(sizes)
    for peer in peers:
        row = {"operation": peer.operation, "peer": peer.name}
        try:
            module = importlib.import_module(peer.module)
        except ImportError as error:
            yield {**row, "left_out": f"not installed: {error}"}
            continue
        try:
            yield row | _against(peer, module, ours[peer.operation], device, rounds)
        except Exception as error:  # A peer's failure must not end the measurement.
            yield {**row, "left_out": f"fails: {str(error)[:200]}"}


def _against(peer: Peer, module: Any, call: Call, device: torch.device, rounds: int) -> dict[str, Any]:  # noqa: ANN401
    """Return parity in float32, and the times of both where it is met."""
    options = {name: value for name, value in call.options.items() if name != "resets_BT"}
    plain = Call(call.run, call.inputs, options)
    here = plain.moved(device, torch.float32)
    difference = largest_difference(here.outputs()[:1], [peer.call(module, *here.inputs)])
    # Others multiply in TF32 or bfloat16 inside.
    if difference > 30 * TOLERANCE:
        return {"difference": difference, "left_out": "computes something else"}
    half = plain.moved(device, torch.bfloat16)
    theirs_s = median_s(lambda: half.gradients([peer.call(module, *half.inputs)]), device, rounds=rounds)
    ours_s = median_s(lambda: half.gradients(half.outputs()), device, rounds=rounds)
    return {"difference": difference, "theirs_us": 1e6 * theirs_s, "ours_us": 1e6 * ours_s}
