"""How far a fast backend may be from the reference, and why; one table for all operations."""

import torch
from torch import Tensor

RATIO = {
    # Both compute in float64; only the order of sums differs.
    torch.float64: 1e-12,
    # Rounding of float32 (6e-8) through up to 256 dependent steps and sums over batch, tokens and channels.
    torch.float32: 1e-5,
    # Inside float32; the two results may round to neighbouring bfloat16 numbers (2^-8 apart) here and there.
    torch.bfloat16: 4e-3,
    # As bfloat16, with 2^-11 between neighbours.
    torch.float16: 5e-4,
}


def assert_close(name: str, reference: Tensor, got: Tensor, ratio: float) -> None:
    """Fail unless the root-mean-square difference is at most `ratio` of the reference's root mean square."""
    assert got.shape == reference.shape, f"{name}: shape {tuple(got.shape)}, reference {tuple(reference.shape)}"
    assert got.dtype == reference.dtype, f"{name}: {got.dtype}, reference {reference.dtype}"
    assert torch.isfinite(got).all(), f"{name}: not finite"
    difference = (got.double() - reference.double()).norm().item()
    size = reference.double().norm().item()
    assert difference <= ratio * size, f"{name}: off by {difference / max(size, 1e-300):.1e}, allowed {ratio:.1e}"
