"""The kernel of spike pairs on a GPU: the traces of all synapses in one pass over time; see `triton_gpu.py`."""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.numbers import load, load_flag


@kernel
def traces(
    spikes_ptr,
    resets_ptr,
    counted_ptr,
    spikes_out_ptr,
    trace_ptr,
    high_ptr,
    T,
    BATCH,
    decay,
    high,
    S: tl.constexpr,
    BLOCK: tl.constexpr,
    UNROLL: tl.constexpr,
    IS_WHOLE: tl.constexpr,
    LEAVES_OUT_SPIKE: tl.constexpr,
    COUNTS_HIGH: tl.constexpr,
):
    """Write counted spikes, their traces (less the spike itself where it is left out), and 1 where a trace is high."""
    row = tl.program_id(1).to(tl.int64)
    b = row % BATCH
    s = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    in_s = (s < S) | (S % BLOCK == 0)
    x = tl.zeros([BLOCK], tl.float32)
    for start in range(0, T, UNROLL):
        rows, resets, counts = (), (), ()
        for i in tl.static_range(UNROLL):
            is_there = (start + i < T) | IS_WHOLE
            rows = rows + (load(spikes_ptr + (row * T + start + i) * S, s, in_s & is_there),)
            resets = resets + (load_flag(resets_ptr, b * T + start + i, is_there),)
            counts = counts + (load_flag(counted_ptr, b * T + start + i, is_there),)
        for i in tl.static_range(UNROLL):
            place, here = (row * T + start + i) * S, in_s & ((start + i < T) | IS_WHOLE)
            spikes = tl.where(counts[i], rows[i], 0.0)
            x = tl.where(resets[i], 0.0, x * decay) + spikes
            is_high = (x > high).to(tl.float32)
            if COUNTS_HIGH:
                is_high = tl.where(counts[i], is_high, 0.0)
            tl.store(spikes_out_ptr + place + s, spikes, mask=here)
            tl.store(trace_ptr + place + s, x - spikes if LEAVES_OUT_SPIKE else x, mask=here)
            tl.store(high_ptr + place + s, is_high, mask=here)
