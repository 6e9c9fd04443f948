"""Products of tiles are those of whole matrices, for any size, and a row's does not depend on its neighbours."""

import numpy as np
import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.kernels.products import add_product, panels, sum_over_tokens, whole_panels, zero_sums

SIZES = pytest.mark.parametrize(("rows", "terms", "columns"), [(1, 1, 1), (3, 7, 33), (4, 64, 32), (9, 130, 100)])
KINDS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def draw(*shape, dtype):
    return torch.randn(*shape, generator=make_generator(0, "products", *shape)).to(dtype)


def product(left_RK, right_KN):
    panels_PKC = panels(right_KN)
    sum_RN = zero_sums(len(left_RK), panels_PKC)
    left = np.zeros((len(sum_RN), left_RK.shape[1]), sum_RN.dtype)
    left[: len(left_RK)] = left_RK
    add_product(left, panels_PKC, sum_RN)
    return torch.from_numpy(sum_RN[: len(left_RK), : right_KN.shape[1]])


def assert_equals_product(got_RN, left_RK, right_KN):
    expected_RN = left_RK.double() @ right_KN.double()
    size_RN = left_RK.double().abs() @ right_KN.double().abs()
    allowed_RN = left_RK.shape[1] * torch.finfo(got_RN.dtype).eps * size_RN
    assert ((got_RN - expected_RN).abs() <= allowed_RN).all()


@KINDS
@SIZES
def test_rows_times_panels_are_the_product(rows, terms, columns, dtype):
    left_RK, right_KN = draw(rows, terms, dtype=dtype), draw(terms, columns, dtype=dtype)
    assert_equals_product(product(left_RK, right_KN), left_RK, right_KN)
    transposed_KN = right_KN.T.contiguous().T
    assert torch.equal(product(left_RK, transposed_KN), product(left_RK, right_KN))


def test_a_row_has_the_same_bits_in_any_place_and_company():
    left_RK, right_KN = draw(9, 130, dtype=torch.float32), draw(130, 100, dtype=torch.float32)
    together = product(left_RK, right_KN)
    for r in range(9):
        assert torch.equal(product(left_RK[r : r + 1], right_KN)[0], together[r])


@KINDS
@SIZES
def test_sums_over_tokens_are_the_product_with_the_left_matrix_transposed(rows, terms, columns, dtype):
    left_QR, right_QN = draw(terms, rows, dtype=dtype), draw(terms, columns, dtype=dtype)
    filled_QN = torch.full((terms, whole_panels(columns)), torch.nan, dtype=dtype)
    filled_QN[:, :columns] = right_QN
    assert_equals_product(sum_over_tokens(left_QR, filled_QN, columns), left_QR.T, right_QN)


def test_sums_over_tokens_have_the_same_bits_for_any_number_of_threads(num_threads):
    left_QR, right_QN = draw(500, 130, dtype=torch.float32), draw(500, 64, dtype=torch.float32)
    found = []
    for threads in (1, 2, 3):
        num_threads(threads)
        found.append(sum_over_tokens(left_QR, right_QN, 64))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
