"""Pairs of spikes on a GPU: the traces of both sides in Triton, for all synapses at once, then three batched products.

The formula is in `reference.py`. Not differentiable, as the operation; float64 is for the reference. The products are
PyTorch's own in float32: spikes and high traces are 0 or 1, so their counts are exact.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mambrane.kernels.arguments import count_blocks
from mambrane.kernels.triton.launch import Kernels
from mambrane.kernels.triton.operators import plain_gpu_operator
from mambrane.ops.spike_pairs.reference import SpikePairs

TYPES = (torch.float32,)
BLOCK_UNITS = 32
UNROLLED_TICKS = 8
"""Ticks whose rows are loaded together."""

_KERNELS = Kernels("mambrane.ops.spike_pairs.triton_kernels")


def spike_pairs_triton(
    pre: Sequence[Tensor],
    post: Sequence[Tensor],
    *,
    decay_plus: float,
    decay_minus: float,
    high_x: float,
    high_y: float,
    resets_BT: Tensor,
    counted_BT: Tensor,
) -> SpikePairs:
    """Return the sums; arguments as in `mambrane.ops.spike_pairs.spike_pairs`."""
    resets_BT, counted_BT = resets_BT.contiguous(), counted_BT.contiguous()
    pre_NRS, x_NRS, x_is_high_NRS = (
        each.flatten(1, 2) for each in _traces(torch.stack(list(pre)), resets_BT, counted_BT, decay_plus, high_x, False)
    )
    post_NRU, y_NRU, y_is_high_NRU = (
        each.flatten(1, 2)
        for each in _traces(torch.stack(list(post)), resets_BT, counted_BT, decay_minus, high_y, True)
    )
    return SpikePairs(post_NRU.mT @ x_NRS, y_NRU.mT @ pre_NRS, y_is_high_NRU.mT @ x_is_high_NRS)


def _make_traces(
    spikes_NBTS: Tensor, resets_BT: Tensor, counted_BT: Tensor, decay: float, high: float, is_post: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(spikes_NBTS), torch.empty_like(spikes_NBTS), torch.empty_like(spikes_NBTS)


def _run(
    spikes_NBTS: Tensor, resets_BT: Tensor, counted_BT: Tensor, decay: float, high: float, is_post: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return counted spikes, traces (of the post side without the spike of the tick itself) and where they are high."""
    outputs = _make_traces(spikes_NBTS, resets_BT, counted_BT, decay, high, is_post)
    synapses, batch, ticks, units = spikes_NBTS.shape
    _KERNELS.start(
        "traces",
        (count_blocks(units, BLOCK_UNITS), synapses * batch),
        *(spikes_NBTS, resets_BT, counted_BT, *outputs, ticks, batch, decay, high),
        S=units,
        BLOCK=BLOCK_UNITS,
        UNROLL=UNROLLED_TICKS,
        IS_WHOLE=ticks % UNROLLED_TICKS == 0,
        LEAVES_OUT_SPIKE=is_post,
        COUNTS_HIGH=is_post,
        num_warps=1,
        enable_fp_fusion=False,
    )
    return outputs


_traces = plain_gpu_operator("spike_traces", _run, _make_traces)
