"""How a device computes during a run: its float32 products, and whether it adds up in the same order each time.

    --precision     products of the model         all other products (optimizer, plasticity, sums)
    fp32            float32                       float32
    tf32            TF32: 10 bits of mantissa     TF32
    bf16, fp16      in that type (autocast)       float32

torch keeps both as state of the whole process. They are set here and nowhere else, and put back after the run.
Source: PyTorch documentation, Reproducibility; torch.set_float32_matmul_precision; NVIDIA cuBLAS, Results
reproducibility (CUBLAS_WORKSPACE_CONFIG).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mambrane.core.errors import UserError

CUBLAS_WORKSPACE = ":4096:8"
"""Eight buffers of 4 MiB: one of the two settings with which cuBLAS adds up in the same order each time."""


@contextmanager
def arithmetic(precision: str, *, deterministic: bool) -> Iterator[None]:
    """Compute so inside the context; deterministic: equal inputs give equal bits on a GPU too.

    Raises:
        UserError: the run needs an operation that has no deterministic form on its device.
    """
    products = torch.get_float32_matmul_precision()
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # set on the module
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
        torch.use_deterministic_algorithms(True)
        # No kernel here reads what it has not written; filling all fresh memory would only take time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        raise UserError(
            f"--deterministic: {str(error).partition(',')[0]}",
            wanted="operations that compute in the same order each time",
            way_out="leave --deterministic out: the run goes on, not bit for bit",
        ) from error
    finally:
        torch.set_float32_matmul_precision(products)
        torch.use_deterministic_algorithms(was_deterministic, warn_only=only_warns)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
