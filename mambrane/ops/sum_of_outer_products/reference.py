"""Reference of the sum of outer products:    sum[o, i] = sum over rows b of left[b, o] right[b, i]."""

from torch import Tensor


def sum_of_outer_products_reference(left_BO: Tensor, right_BI: Tensor) -> Tensor:
    """Return left^T right [O, I]."""
    return left_BO.T @ right_BI
