"""What every kernel does with its arguments: check shapes, choose the inner type, hand tensors to Numba."""

import numpy as np
import torch
from torch import Tensor


def inner_type(x: Tensor) -> torch.dtype:
    """Return the type to compute in: float64 for float64, else float32."""
    return torch.promote_types(x.dtype, torch.float32)


def require_shape(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the tensor is None or has this shape: a kernel does not check its indices."""
    if tensor is not None and tensor.shape != shape:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; wanted {list(shape)}, as the other arguments say")


def require_tokens(name: str, tensor: Tensor) -> None:
    """Raise ValueError unless there is at least one token (axis 1)."""
    if tensor.shape[1] < 1:
        raise ValueError(f"{name} has no tokens: shape {list(tensor.shape)}; wanted at least one")


def no_resets(x: Tensor) -> Tensor:
    """Return False for every token of x [B, T, ...]: no document starts."""
    return torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Return the tensors as arrays that share their memory, or a copy's where they are not contiguous."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
