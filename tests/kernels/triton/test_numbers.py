"""Functions that kernels of Triton share, on the CPU by its interpreter or on a GPU."""

import pytest
import torch

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")

from mambrane.kernels.triton.jit import kernel  # noqa: E402 -- it needs Triton
from mambrane.kernels.triton.numbers import load, sigmoid, tanh  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@kernel
def both(x_pointer, out_pointer, size, BLOCK: tl.constexpr):
    places = tl.arange(0, BLOCK)
    x = load(x_pointer, places, places < size)
    tl.store(out_pointer + places, sigmoid(x))
    tl.store(out_pointer + BLOCK + places, tanh(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_are_those_of_torch_and_nothing_is_read_behind_the_end(dtype):
    x = torch.tensor([-40.0, -3.0, -1e-3, 0.0, 1e-3, 0.2, 0.26, 3.0, 40.0], dtype=dtype, device=DEVICE)
    out = torch.full((2, 16), torch.nan, device=DEVICE)
    both[(1,)](x, out, x.numel(), BLOCK=16)
    padded = torch.cat([x.float(), torch.zeros(7, device=DEVICE)])
    torch.testing.assert_close(out[0], torch.sigmoid(padded), rtol=2e-6, atol=1e-7)
    torch.testing.assert_close(out[1], torch.tanh(padded), rtol=2e-6, atol=1e-7)


def test_a_small_argument_of_tanh_loses_no_digits():
    x = torch.tensor([1e-6, 1e-4, 1e-2], device=DEVICE)
    out = torch.full((2, 16), torch.nan, device=DEVICE)
    both[(1,)](x, out, 3, BLOCK=16)
    torch.testing.assert_close(out[1, :3], torch.tanh(x), rtol=1e-6, atol=0)
