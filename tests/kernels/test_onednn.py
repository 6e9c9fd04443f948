"""Products of rows and columns are PyTorch's, also of transposed matrices."""

import torch

from mambrane.core.seeding import make_generator
from mambrane.kernels.onednn import in_rows_or_columns, product


def draw(*shape):
    return torch.randn(*shape, generator=make_generator(0, "onednn", *shape))


def test_a_product_is_that_of_pytorch_however_its_factors_lie():
    rows, columns, bias = draw(2, 5, 12), draw(7, 12), draw(7)
    expected = torch.nn.functional.linear(rows, columns, bias)
    torch.testing.assert_close(product(rows, columns, bias), expected)
    torch.testing.assert_close(product(rows, columns.T.contiguous().T, bias), expected)
    torch.testing.assert_close(product(rows[0].T.contiguous().T, columns), expected[0] - bias)


def test_only_a_slice_is_copied():
    matrix = draw(6, 8)
    assert in_rows_or_columns(matrix) is matrix
    assert in_rows_or_columns(matrix.T).data_ptr() == matrix.data_ptr()
    assert in_rows_or_columns(matrix[:, 1:5]).is_contiguous()
