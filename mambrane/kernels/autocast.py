"""What autocast makes of products on a device; on the meta device, which it does not know, it can be played.

On the meta device a run is rehearsed: tensors have shapes and no numbers, and what a GPU would be asked for is counted
(`mambrane.kernels.triton.launch`). The casts of autocast are part of it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_played: torch.dtype | None = None


def autocast_type(device_type: str) -> torch.dtype | None:
    """Return the type in which autocast runs products on this kind of device; None where it is off."""
    if device_type == "meta":
        return _played
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else None


def as_factor(x: Tensor) -> Tensor:
    """Return float32 numbers in the type in which autocast runs products, to do it once; others as they are."""
    half = autocast_type(x.device.type)
    return x if half is None or x.dtype != torch.float32 else x.to(half)


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return what keeps mixed precision out of the products inside."""
    return _playing(None) if device.type == "meta" else torch.autocast(device.type, enabled=False)


@contextmanager
def autocast_on_meta(dtype: torch.dtype | None) -> Iterator[None]:
    """Cast the float32 factors of products on the meta device, as autocast would on a GPU; None casts nothing."""
    with _playing(dtype), nullcontext() if dtype is None else _Casts():
        yield


@contextmanager
def _playing(dtype: torch.dtype | None) -> Iterator[None]:
    global _played
    before, _played = _played, dtype
    try:
        yield
    finally:
        _played = before


_PRODUCTS = (
    *(functional.linear, functional.scaled_dot_product_attention),
    *(torch.matmul, torch.mm, torch.bmm, Tensor.matmul, Tensor.mm, Tensor.bmm, Tensor.__matmul__),
)


class _Casts(TorchFunctionMode):
    """Casts what enters a product."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 -- torch's own
        options = kwargs or {}
        if _played is not None and function in _PRODUCTS:
            args = [_cast(each) for each in args]
            options = {name: _cast(each) for name, each in options.items()}
        return function(*args, **options)


def _cast(argument: Any) -> Any:  # noqa: ANN401 -- any argument
    is_whole = isinstance(argument, Tensor) and argument.is_meta and argument.dtype == torch.float32
    return argument.to(_played) if is_whole else argument
