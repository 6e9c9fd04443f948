"""Makes a pair of functions that start kernels of Triton an operator of torch, on every device that Triton knows.

As `mambrane.kernels.differentiable`, with what is the same for all GPU kernels: an output that nothing reads has no
gradient (None instead of a tensor of zeros), and on tensors without numbers the launches can be rehearsed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mambrane.kernels.differentiable import differentiable
from mambrane.kernels.operator import Operator
from mambrane.kernels.triton.launch import WatchTorch, is_rehearsing

TYPES = (torch.float32, torch.bfloat16, torch.float16)
"""What kernels read and write; inside they compute in float32, so float64 is for other backends."""

ANY_DEVICE = "CompositeExplicitAutograd"
"""The dispatch key of operators for more than one kind of device: GPUs of any make, and the CPU of the interpreter."""


def gpu_operator(
    name: str,
    arguments: type,
    outputs: type,
    make_outputs: Callable[[Any], Any],
    run_forward: Callable[[Any, Any], None],
    run_backward: Callable[[Any, Any], tuple[Tensor, ...]],
    *,
    saves: Sequence[str],
    gradients: Mapping[str, str],
    internal: Sequence[str] = (),
) -> Callable[..., Any]:
    """Register `torch.ops.mambrane.<name>_triton` and its backward operator; arguments as of `differentiable`."""
    return differentiable(
        f"{name}_triton",
        arguments,
        outputs,
        make_outputs,
        _watched(run_forward),
        _watched(run_backward),
        saves=saves,
        gradients=gradients,
        internal=internal,
        skips_zeros=True,
        device=ANY_DEVICE,
        rehearses=is_rehearsing,
    )


def _watched(function: Callable) -> Callable:
    """Let a rehearsal see what the function asks of PyTorch."""

    def watched(*given: Any) -> Any:  # noqa: ANN401 -- as the function says
        if not is_rehearsing():
            return function(*given)
        with WatchTorch():
            return function(*given)

    return watched


def plain_gpu_operator(name: str, run: Callable, make_outputs: Callable) -> Operator:
    """Register `torch.ops.mambrane.<name>_triton`, which has no gradients.

    Args:
        name: name of the operator.
        run: starts the kernels; torch reads its types.
        make_outputs: of the same arguments, returns empty outputs; may not look at numbers.
    """
    registered = Operator(f"{name}_triton", run, ANY_DEVICE)
    watched = _watched(run)
    registered.register_shapes(lambda *given: (watched if is_rehearsing() else make_outputs)(*given))
    return registered
