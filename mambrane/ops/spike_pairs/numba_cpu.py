"""Pairs of spikes on the CPU: one pass over the ticks, work for spikes and none for silence.

The formula is in `reference.py`. A task is one block of postsynaptic units of one synapse; its three blocks of
sums stay in the cache. At each tick it moves the traces on and adds, as vectors:

    to the row of each postsynaptic unit that fires, the traces of all presynaptic units      (causal)
    to the row of each presynaptic unit that fires, the traces of the block's units           (acausal, transposed)
    to the row of each postsynaptic unit that is high, 1 for each presynaptic unit that is    (both_high)

Ticks are taken in their order, so any number of threads gives the same bits.

Letters beyond core/shapes: N synapses; R rows, one for each tick of each sequence; V vectors of STRIP_LANES presynaptic
units, W vectors of postsynaptic ones, L lanes; P, Q units filled up to whole vectors.
"""

# ruff: noqa: ANN001, ANN002, ANN202 -- Numba finds the types of kernels

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mambrane.kernels.addresses import addresses_of, array_at
from mambrane.kernels.arguments import arrays
from mambrane.kernels.compiled import kernel
from mambrane.kernels.threads import parallel_for
from mambrane.kernels.vectors import STRIP_LANES, load_strip, lowest_bit, nonzero_lanes, store, where_gt, zeros
from mambrane.ops.spike_pairs.reference import SpikePairs

BLOCK_UNITS = 64
"""Postsynaptic units in a block: with 512 presynaptic units its sums fill 384 KiB."""

_BLOCK_VECTORS = BLOCK_UNITS // STRIP_LANES


def spike_pairs_numba(
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
    pre_units, post_units, num_synapses = pre[0].shape[2], post[0].shape[2], len(pre)
    # The lists keep what the addresses point to alive until the kernel has run.
    pre, post = _filled_up(pre), _filled_up(post)
    pre_at, post_at = addresses_of(pre), addresses_of(post)
    dtype, number = pre_at.prototype.dtype, pre_at.prototype.dtype.type
    pre_vectors, post_vectors = pre[0].shape[2] // STRIP_LANES, post[0].shape[2] // STRIP_LANES
    causal_NQVL = np.zeros((num_synapses, post_vectors * STRIP_LANES, pre_vectors, STRIP_LANES), dtype)
    acausal_NPWL = np.zeros((num_synapses, pre_vectors * STRIP_LANES, post_vectors, STRIP_LANES), dtype)
    both_high_NQVL = np.zeros_like(causal_NQVL)
    parallel_for(
        _pair,
        num_synapses * -(-post_vectors // _BLOCK_VECTORS),
        pre_at.addresses_LN[0],
        post_at.addresses_LN[0],
        pre_at.prototype,
        *arrays(resets_BT, counted_BT),
        *(number(each) for each in (decay_plus, decay_minus, high_x, high_y)),
        *(causal_NQVL, acausal_NPWL, both_high_NQVL),
        # About one unit in ten fires or is high.
        work_ns=0.02 * num_synapses * pre[0].numel() * post_units,
    )
    causal_NUS, both_high_NUS = (
        torch.from_numpy(sums_NQVL.reshape(*sums_NQVL.shape[:2], -1)[:, :post_units, :pre_units])
        for sums_NQVL in (causal_NQVL, both_high_NQVL)
    )
    acausal_NUP = acausal_NPWL.reshape(*acausal_NPWL.shape[:2], -1).swapaxes(1, 2)
    return SpikePairs(causal_NUS, torch.from_numpy(acausal_NUP[:, :post_units, :pre_units]), both_high_NUS)


def _filled_up(spikes: Sequence[Tensor]) -> list[Tensor]:
    """Return rows of whole vectors, one row for each tick of each sequence; zeros fill the last vector up."""
    missing = -spikes[0].shape[2] % STRIP_LANES
    filled = [functional.pad(each, (0, missing)) for each in spikes] if missing else spikes
    return [each.contiguous() for each in filled]


@kernel(makes_arrays=True)
def _pair(first, last, *arguments):
    """Run tasks first, ..., last - 1."""
    pre_addresses_N, post_addresses_N, prototype, resets_BT, counted_BT = arguments[:5]
    decay_plus, decay_minus, high_x, high_y, causal_NQVL, acausal_NPWL, both_high_NQVL = arguments[5:]
    (batch, tokens), num_pre, num_post = resets_BT.shape, causal_NQVL.shape[2], acausal_NPWL.shape[2]
    num_blocks = -(-num_post // _BLOCK_VECTORS)
    x_VL, is_high_VL = np.empty_like(causal_NQVL[0, 0]), np.empty_like(causal_NQVL[0, 0])
    y_WL = np.empty_like(acausal_NPWL[0, 0])
    for task in range(first, last):
        n, start = task // num_blocks, task % num_blocks * _BLOCK_VECTORS
        stop = min(start + _BLOCK_VECTORS, num_post)
        pre_RVL = array_at(pre_addresses_N[n], (batch * tokens, num_pre, STRIP_LANES), prototype)
        post_RWL = array_at(post_addresses_N[n], (batch * tokens, num_post, STRIP_LANES), prototype)
        causal_QVL, acausal_PWL, both_high_QVL = causal_NQVL[n], acausal_NPWL[n], both_high_NQVL[n]
        for b in range(batch):
            for t in range(tokens):
                is_first = t == 0 or resets_BT[b, t]
                _fade(x_VL, decay_plus, 0, num_pre, is_first)
                _fade(y_WL, decay_minus, start, stop, is_first)
                if counted_BT[b, t]:
                    r = b * tokens + t
                    _note_pre(pre_RVL, r, y_WL, start, stop, high_x, x_VL, is_high_VL, acausal_PWL)
                    _note_post(post_RWL, r, x_VL, is_high_VL, start, stop, high_y, y_WL, causal_QVL, both_high_QVL)


@kernel()
def _fade(trace_VL, decay, start, stop, is_first):
    """Move traces on by a tick without spikes; at the first tick of a document they start from zero."""
    zero_L = zeros(trace_VL, STRIP_LANES)
    for v in range(start, stop):
        store(zero_L if is_first else _load(trace_VL, v) * decay, trace_VL, v)


@kernel()
def _note_pre(pre_RVL, r, y_WL, start, stop, high_x, x_VL, is_high_VL, acausal_PWL):
    """Pair the presynaptic spikes of a tick with what the postsynaptic side did before it."""
    zero, one = pre_RVL.dtype.type(0), pre_RVL.dtype.type(1)
    num_pre, num_post = pre_RVL.shape[1], y_WL.shape[0]
    for v in range(num_pre):
        spikes = _load(pre_RVL, r * num_pre + v)
        x = _load(x_VL, v) + spikes
        store(x, x_VL, v)
        store(where_gt(x, high_x, one, zero), is_high_VL, v)
        bits = nonzero_lanes(spikes)
        while bits:
            row = (v * STRIP_LANES + lowest_bit(bits)) * num_post
            for w in range(start, stop):
                store(_load(acausal_PWL, row + w) + _load(y_WL, w), acausal_PWL, row + w)
            bits &= bits - np.uint64(1)


@kernel()
def _note_post(post_RWL, r, x_VL, is_high_VL, start, stop, high_y, y_WL, causal_QVL, both_high_QVL):
    """Pair the postsynaptic spikes of a tick with what the presynaptic side did up to it."""
    zero, one = post_RWL.dtype.type(0), post_RWL.dtype.type(1)
    for w in range(start, stop):
        spikes = _load(post_RWL, r * post_RWL.shape[1] + w)
        y = _load(y_WL, w) + spikes
        store(y, y_WL, w)
        _add_to_rows(nonzero_lanes(spikes), w, x_VL, causal_QVL)
        _add_to_rows(nonzero_lanes(where_gt(y, high_y, one, zero)), w, is_high_VL, both_high_QVL)


@kernel()
def _add_to_rows(bits, w, addend_VL, sum_QVL):
    """Add the same vectors to the row of each unit of vector w whose bit is set."""
    num_vectors = addend_VL.shape[0]
    while bits:
        row = (w * STRIP_LANES + lowest_bit(bits)) * num_vectors
        for v in range(num_vectors):
            store(_load(sum_QVL, row + v) + _load(addend_VL, v), sum_QVL, row + v)
        bits &= bits - np.uint64(1)


@kernel()
def _load(array, row):
    return load_strip(zeros(array, STRIP_LANES), array, row * STRIP_LANES)
