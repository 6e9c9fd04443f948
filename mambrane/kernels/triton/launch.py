"""Starts kernels of Triton, or writes down what would be started.

    KERNELS = Kernels("mambrane.ops.lif.triton_kernels")
    KERNELS.start("forward", (blocks, batch), current_BTS, ..., num_tokens, BLOCK=32, num_warps=1)

Kernels are named by words, so that whoever counts what would be started needs neither Triton nor a GPU:

    with rehearsal() as launches:
        model(tokens_on_the_meta_device)

fills `launches` with what the operators with kernels start, the kernels of PyTorch between them included.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion", "maxnreg", "amd_warps")
"""What is said to the compiler and not to the kernel; for AMD, whose warps have 64 threads, `amd_warps` of them."""


class Launch(NamedTuple):
    """One start of a kernel."""

    module: str
    """Where the kernel stands; empty for one of PyTorch."""
    kernel: str
    grid: tuple[int, ...]
    """Programs along each axis; empty for a kernel of PyTorch."""
    arguments: tuple[Any, ...]
    constants: Mapping[str, Any]
    """What the kernel is compiled for."""
    options: Mapping[str, Any]
    """What the compiler is told."""


_rehearsal: list[Launch] | None = None


@contextmanager
def rehearsal() -> Iterator[list[Launch]]:
    """Return a list that collects what operators start on tensors without numbers (meta or fake), inside this block."""
    global _rehearsal
    before, _rehearsal = _rehearsal, []
    try:
        yield _rehearsal
    finally:
        _rehearsal = before


def is_rehearsing() -> bool:
    """Return whether launches are only written down."""
    return _rehearsal is not None


def is_interpreting() -> bool:
    """Return whether Triton runs kernels on the CPU, by its own variable."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


class Kernels:
    """The kernels of a module, which is imported when the first of them is started."""

    def __init__(self, module: str) -> None:
        self._module = module

    def start(self, kernel: str, grid: tuple[int, ...], *arguments: Any, **named: Any) -> None:  # noqa: ANN401 -- as the kernel says
        """Start a kernel for the tensors among its arguments, on the device that they are on.

        Args:
            kernel: its name.
            grid: programs along each axis.
            arguments: tensors (None where the kernel does not look at one), sizes and numbers, in its order.
            named: its compile-time constants, and `OPTIONS`.
        """
        if 0 in grid:
            return
        first = next(each for each in arguments if isinstance(each, Tensor))
        if _rehearsal is not None and first.device.type != "cpu":
            options = {name: value for name, value in named.items() if name in OPTIONS}
            constants = {name: value for name, value in named.items() if name not in OPTIONS}
            _rehearsal.append(Launch(self._module, kernel, grid, arguments, constants, options))
            return
        if first.device.type == "cpu" and not is_interpreting():
            raise RuntimeError(f"kernel {kernel} of {self._module} is for a GPU; its tensors are on the CPU")
        named = options_for(named, is_amd=bool(torch.version.hip))
        # An unused pointer still has to be one.
        filled = (_as_pointer(first if each is None else each) for each in arguments)
        with _device_of(first):
            getattr(import_module(self._module), kernel)[grid](*filled, **named)


def options_for(named: Mapping[str, Any], *, is_amd: bool) -> dict[str, Any]:
    """Return the options of a launch as the compiler for one make of GPUs takes them; all else as it is."""
    options = {name: value for name, value in named.items() if name != "amd_warps"}
    if is_amd:
        options.pop("maxnreg", None)
        if "amd_warps" in named:
            options["num_warps"] = named["amd_warps"]
    return options


def power_of_two(size: int) -> int:
    """Return the smallest power of two that is not below the size: tiles have such sides."""
    return 1 << max(size - 1, 0).bit_length()


def _as_pointer(argument: Any) -> Any:  # noqa: ANN401 -- whatever a kernel takes
    """Return truth values as the bytes that they are."""
    is_flags = isinstance(argument, Tensor) and argument.dtype == torch.bool
    return argument.view(torch.uint8) if is_flags else argument


def _device_of(tensor: Tensor) -> AbstractContextManager:
    """Return what makes the tensor's GPU the current one: Triton starts kernels there."""
    return torch.cuda.device(tensor.device) if tensor.device.type == "cuda" else nullcontext()


class WatchTorch(TorchDispatchMode):
    """Writes down what PyTorch starts between our kernels."""

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:  # noqa: ANN401 -- torch's own
        if _rehearsal is not None and starts_kernel(function):
            _rehearsal.append(Launch("", str(function), (), (), {}, {}))
        return function(*arguments, **(options or {}))


_WITHOUT_KERNEL = (
    *("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"),
    *("detach", "alias", "_unsafe_view", "promote_types"),
)


def starts_kernel(function: Any) -> bool:  # noqa: ANN401 -- an operator of torch
    """Return whether an operator of torch starts a kernel: views and empty memory do not."""
    return function._schema.name.removeprefix("aten::") not in _WITHOUT_KERNEL and not function.is_view
