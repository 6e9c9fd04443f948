"""The maths: tensors in, tensors out. One folder an operation.

reference.py is plain PyTorch on any device and defines the operation; numba_cpu.py is the same on the CPU as fused
kernels, forward and backward; chunked.py is the same as matrix products. __init__.py holds the public function.
`dispatch` chooses the form and can say why.
"""

from mambrane.ops.causal_conv import causal_conv
from mambrane.ops.causal_trace import causal_trace
from mambrane.ops.dispatch import Backend, choose_backend, explain
from mambrane.ops.lif import LifOutput, lif
from mambrane.ops.selective_scan import selective_scan
from mambrane.ops.ssd import ssd

__all__ = [
    "Backend",
    "LifOutput",
    "causal_conv",
    "causal_trace",
    "choose_backend",
    "explain",
    "lif",
    "selective_scan",
    "ssd",
]
