"""Compiles the CPU kernels before they are needed, and says so: no silent pause in the middle of a run.

A kernel is compiled once on a machine and kept on disk beside the source (or in the user's cache folder), for this
processor. Later runs only read it, which takes well under a second.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mambrane.kernels import compiler_process
from mambrane.ops.causal_conv import causal_conv
from mambrane.ops.causal_trace import causal_trace
from mambrane.ops.cfc import CfcWeights, cfc
from mambrane.ops.gated_skip import gated_skip
from mambrane.ops.lif import lif
from mambrane.ops.ltc import LtcWeights, ltc
from mambrane.ops.selective_scan import selective_scan
from mambrane.ops.spike_pairs import spike_pairs
from mambrane.ops.update_gate import hold_back_, note_usage_
from mambrane.ops.windowed_attention import windowed_attention


def compile_kernels(announce: Callable[[str], None], operations: Sequence[str] | None = None) -> None:
    """Read the kernels of operations from the disk; those that are not there are compiled first.

    Args:
        announce: receives a line when a kernel really has to be compiled, and one at the end; nothing if none has. Also
            one for each file of a kernel that is damaged, and one where kernels cannot be kept.
        operations: names of operations; all that have kernels where not given.

    Raises:
        UserError: a kernel could not be compiled.
    """
    with compiler_process.notices.to(announce):
        run_kernels(list(operations or _EXAMPLES))


def run_kernels(operations: Sequence[str]) -> None:
    """Run operations forward and backward on small float32 tensors."""
    with torch.enable_grad():
        for name in operations:
            total = torch.stack([output.sum() for output in _EXAMPLES[name]()]).sum()
            if total.requires_grad:
                total.backward()


def _ones(*shape: int) -> Tensor:
    return torch.ones(shape, requires_grad=True)


def _cfc() -> tuple[Tensor, ...]:
    heads = ("ff1", "ff2", "time_a", "time_b")
    backbone = {"backbone_weight": _ones(2, 4), "backbone_bias": _ones(2)}
    weights = {f"{head}_weight": _ones(2, 2) for head in heads} | {f"{head}_bias": _ones(2) for head in heads}
    return cfc(_ones(2, 2, 2), CfcWeights(**backbone, **weights))


def _ltc() -> tuple[Tensor, ...]:
    matrices = ("sensory_w", "sensory_mu", "sensory_sigma", "sensory_erev", "w", "mu", "sigma", "erev")
    weights = {name: _ones(2, 2) if name in matrices else _ones(2) for name in LtcWeights._fields}
    return ltc(_ones(2, 2, 2), LtcWeights(**weights))


def _update_gate() -> tuple[Tensor, ...]:
    weight_W, before_W, usage_W = torch.ones(2), torch.zeros(2), torch.ones(2)
    note_usage_(usage_W, [weight_W], [0], rate=0.5)
    hold_back_([weight_W], [before_W], usage_W, usage_W, [0])
    return usage_W, weight_W


# Two of everything: an array of one row is contiguous in both orders, and would hide the transposed form of a kernel.
_EXAMPLES: dict[str, Callable[[], tuple[Tensor, ...]]] = {
    "causal_conv": lambda: causal_conv(_ones(2, 2, 2), _ones(2, 2), _ones(2)),
    "causal_trace": lambda: causal_trace(_ones(2, 2, 2), _ones(2)),
    "cfc": _cfc,
    "gated_skip": lambda: (gated_skip(_ones(2, 2, 2), _ones(2, 2, 2), _ones(2), _ones(2, 2, 2)),),
    "lif": lambda: lif(_ones(2, 2, 2), _ones(2))[::2],
    "ltc": _ltc,
    "selective_scan": lambda: selective_scan(
        _ones(2, 2, 2), _ones(2, 2, 2), _ones(2, 2), _ones(2, 2, 2), _ones(2, 2, 2)
    ),
    "spike_pairs": lambda: spike_pairs([_ones(2, 2, 2)], [_ones(2, 2, 2)], decay_plus=0.5, decay_minus=0.5),
    "update_gate": _update_gate,
    "windowed_attention": lambda: windowed_attention(*(_ones(2, 2, 2) for _ in range(3)), heads=2, window=2)[:1],
}
