"""Sums of outer products through oneDNN's product of rows and columns; see ops/linear/onednn_cpu.py."""

import torch
from torch import Tensor

from mambrane.kernels.onednn import in_rows_or_columns, product

TYPES = (torch.float32,)


def supports(left_BO: Tensor, right_BI: Tensor) -> str | None:
    """Return why PyTorch must compute this product, or None."""
    if torch.is_autocast_enabled("cpu"):
        return "autocast will round the factors"
    return None if left_BO.dtype == right_BI.dtype else "it is for float32 in both factors"


def sum_of_outer_products_onednn(left_BO: Tensor, right_BI: Tensor) -> Tensor:
    """Return left^T right [O, I]."""
    left_BO, right_BI = in_rows_or_columns(left_BO), in_rows_or_columns(right_BI)
    # The first factor of a product gets copied into rows: let that be the smaller one.
    num_rows, outputs = left_BO.shape
    inputs = right_BI.shape[1]
    if num_rows == 0:
        return left_BO.new_zeros(outputs, inputs)
    if inputs * (num_rows + outputs) < outputs * num_rows:
        return product(right_BI.T, left_BO.T).T.contiguous()
    return product(left_BO.T, right_BI.T)
