"""What kernels do with their arguments."""

import numpy as np
import pytest
import torch

from mambrane.kernels.arguments import (
    are_alike,
    arrays,
    as_tensor_like,
    compute_dtype,
    count_blocks,
    no_resets,
    ordered_sum,
)


@pytest.mark.parametrize(
    ("given", "computed"),
    [("float16", "float32"), ("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")],
)
def test_half_precision_computes_in_single_and_double_in_double(given, computed):
    assert compute_dtype(torch.ones(1, dtype=getattr(torch, given))) is getattr(torch, computed)


def test_blocks_hold_the_last_part_too():
    assert [count_blocks(size, 4) for size in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_arrays_share_the_memory_of_contiguous_tensors_and_numbers_pass_as_they_are():
    x, turned = torch.zeros(2, 3), torch.arange(6.0).view(2, 3).t()
    shared, copied, number, flag = arrays(x, turned, 0.5, True)
    x += 1
    assert (shared == 1).all()
    assert copied.flags.c_contiguous
    assert np.array_equal(copied, turned.numpy())
    assert (number, flag) == (0.5, True)


def test_no_document_starts_where_none_is_said_to():
    resets_BT = no_resets(torch.ones(2, 3, 4))
    assert resets_BT.dtype is torch.bool
    assert resets_BT.shape == (2, 3)
    assert not resets_BT.any()


def test_rows_are_added_from_the_first_to_the_last():
    rows = torch.tensor([[1.0], [2.0**-24], [2.0**-24], [2.0**-24]])
    assert ordered_sum(rows).item() == 1.0
    assert ordered_sum(rows.flip(0)).item() > 1.0


def test_a_number_becomes_a_tensor_of_the_type_of_another():
    x = torch.ones(2, dtype=torch.float64)
    assert as_tensor_like(0.1, x).dtype is torch.float64
    assert as_tensor_like(torch.tensor(0.5), x).dtype is torch.float64
    assert as_tensor_like(0.1, x).shape == ()


PLAIN = torch.ones(3)


@pytest.mark.parametrize(
    "other",
    [
        torch.ones(3, dtype=torch.float64),
        torch.ones(2, 3).t(),
        torch.ones(3, device="meta"),
        torch.eye(3).to_sparse(),
    ],
    ids=str,
)
def test_a_list_is_alike_where_all_are_plain_and_of_one_kind(other):
    assert are_alike([PLAIN, torch.nn.Parameter(torch.ones(2, 3))], PLAIN)
    assert not are_alike([PLAIN, other], PLAIN)
