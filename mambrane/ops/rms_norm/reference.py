"""Reference of the normalisation by the root mean square.

    y = x / sqrt(mean(x^2) + eps) * weight        mean over the last dimension

Source: Zhang & Sennrich 2019, Root Mean Square Layer Normalization, arXiv 1910.07467. On a GPU PyTorch has one kernel
for it; on a CPU it takes a pass over memory for each operation of the formula.
"""

from torch import Tensor
from torch.nn import functional


def rms_norm_reference(x: Tensor, weight_D: Tensor | None, *, eps: float) -> Tensor:
    """Return the normalised x; computed in float32 at least."""
    # A weight of another type would send PyTorch round its fast kernel.
    return functional.rms_norm(x, x.shape[-1:], None if weight_D is None else weight_D.to(x.dtype), eps)
