"""What kernels do with their arguments: check shapes, choose the inner type, hand tensors to Numba, add up rows."""

import numpy as np
import torch
from torch import Tensor


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the type to compute in: float64 for float64, else float32."""
    return torch.promote_types(x.dtype, torch.float32)


def as_tensor_like(number: float | Tensor, x: Tensor) -> Tensor:
    """Return a number as a tensor of the type and device of x, written there: no copy that a GPU would wait for."""
    if isinstance(number, Tensor):
        return number.to(x)
    return torch.full((), number, dtype=x.dtype, device=x.device)


def require_shape(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the tensor is None or has this shape: a kernel does not check its indices."""
    if tensor is not None and tensor.shape != shape:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; wanted {list(shape)}, as the other arguments say")


def require_tokens(name: str, tensor: Tensor) -> None:
    """Raise ValueError unless there is at least one token (axis 1)."""
    if tensor.shape[1] < 1:
        raise ValueError(f"{name} has no tokens: shape {list(tensor.shape)}; wanted at least one")


def require_elapsed(elapsed_BT: Tensor | None, shape_BTL: tuple[int, int, int]) -> None:
    """Raise ValueError unless elapsed time is None, one number for each token, or one for each token and unit."""
    is_per_unit = elapsed_BT is not None and elapsed_BT.dim() == 3
    require_shape("elapsed_BT", elapsed_BT, shape_BTL if is_per_unit else shape_BTL[:2])


def no_resets(x: Tensor) -> Tensor:
    """Return False for every token of x [B, T, ...]: no document starts."""
    return torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Return the tensors as arrays that share their memory, or a copy's where they are not contiguous.

    What a kernel writes must be contiguous: empty_like and zeros_like of an argument are, if the argument is.
    """
    return [tensor.contiguous().numpy(force=True) for tensor in tensors]


def ordered_sum(rows_QN: Tensor) -> Tensor:
    """Return the sum over rows, added in the same order for any number of threads."""
    return torch.from_numpy(rows_QN.detach().numpy().sum(axis=0))
