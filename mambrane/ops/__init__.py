"""The maths: tensors in, tensors out. One folder an operation.

reference.py is plain PyTorch on any device and defines the operation; numba_cpu.py is the same on the CPU as fused
kernels, forward and backward; chunked.py is the same as matrix products over chunks of tokens; onednn_cpu.py hands
products to oneDNN; triton_gpu.py is for GPUs. __init__.py holds the public function. `dispatch` finds the backends by
the names of their files, chooses one for each call and can say why.
"""

from mambrane.ops.causal_conv import causal_conv
from mambrane.ops.causal_trace import causal_trace
from mambrane.ops.cfc import CfcWeights, cfc
from mambrane.ops.dispatch import Backend, choose_backend, explain
from mambrane.ops.gated_norm import gated_norm
from mambrane.ops.gated_skip import gated_skip
from mambrane.ops.lif import LifOutput, lif
from mambrane.ops.linear import linear
from mambrane.ops.linear_cross_entropy import linear_cross_entropy
from mambrane.ops.ltc import LtcWeights, ltc
from mambrane.ops.rms_norm import rms_norm
from mambrane.ops.selective_scan import selective_scan
from mambrane.ops.spike_pairs import SpikePairs, spike_pairs
from mambrane.ops.ssd import ssd
from mambrane.ops.update_gate import hold_back_, note_usage_
from mambrane.ops.warm_up import compile_kernels
from mambrane.ops.windowed_attention import KeyValueCache, windowed_attention

__all__ = [
    "Backend",
    "CfcWeights",
    "KeyValueCache",
    "LifOutput",
    "LtcWeights",
    "SpikePairs",
    "causal_conv",
    "causal_trace",
    "cfc",
    "choose_backend",
    "compile_kernels",
    "explain",
    "gated_norm",
    "gated_skip",
    "hold_back_",
    "lif",
    "linear",
    "linear_cross_entropy",
    "ltc",
    "note_usage_",
    "rms_norm",
    "selective_scan",
    "spike_pairs",
    "ssd",
    "windowed_attention",
]
