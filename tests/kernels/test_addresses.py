"""Lists of tensors inside kernels."""

import pytest
import torch

from mambrane.kernels.addresses import addresses_of, array_at
from mambrane.kernels.compiled import kernel


@kernel(makes_arrays=True)
def add_to_each(addresses_LN, sizes_N, prototype):
    for n in range(len(sizes_N)):
        target = array_at(addresses_LN[0, n], (sizes_N[n],), prototype)
        source = array_at(addresses_LN[1, n], (sizes_N[n],), prototype)
        for i in range(sizes_N[n]):
            target[i] += source[i]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_call_reaches_every_tensor_of_the_lists(dtype):
    targets = [torch.ones(shape, dtype=dtype) for shape in ((2, 3), (5,), ())]
    sources = [torch.full_like(target, 2.0) for target in targets]
    add_to_each(*addresses_of(targets, sources))
    assert all((target == 3.0).all() for target in targets)
    assert all((source == 2.0).all() for source in sources)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (torch.ones(3, 2), "differ in shapes or types"),
        (torch.ones(2, 3, dtype=torch.float64), "differ in shapes or types"),
        (torch.ones(3, 2).t(), "not contiguous"),
    ],
)
def test_tensors_that_a_kernel_would_read_beside_are_refused(other, reason):
    with pytest.raises(ValueError, match=reason):
        addresses_of([torch.ones(2, 3)], [other])
