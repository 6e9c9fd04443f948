"""Which backend of an operation runs, and why. Nothing falls back in silence.

A backend is a file in the operation's folder, found by its name: BACKENDS says which file belongs to which backend, on
which devices it runs and what it needs. The file holds a function `<function>_<backend>` with the arguments of the
public one, and may hold

    TYPES                       the types of the first tensor that it computes with; all where it does not say
    supports(...) -> str|None   asked before each call, with the same arguments: why this call is not for this backend

"auto" takes the first backend of the table that can run the call; one asked for by name runs, or the call is an error.
A new backend is one new file.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.kernels.triton.launch import is_interpreting

Backend = Literal["auto", "reference", "chunked", "numba", "onednn", "triton"]


class _Kind(NamedTuple):
    """What the files of one backend have in common."""

    file: str
    device_types: tuple[str, ...]
    """Types of devices it runs on; empty for any."""
    find_missing: Callable[[str], str | None]
    """Returns what this machine lacks for it on a type of device, or None."""
    describe: Callable[[], str]
    find_by_name: Callable[[], tuple[str, ...]] = tuple
    """Returns the types of devices on which it runs only where asked for by name."""


def _nothing_missing(_device_type: str) -> str | None:
    return None


def _onednn_missing(_device_type: str) -> str | None:
    has_onednn = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return None if has_onednn else "this build of PyTorch has no oneDNN that takes plain tensors"


def _triton_missing(device_type: str) -> str | None:
    # On meta tensors nothing is started: the operators only say what there would be.
    is_there = device_type == "meta" or importlib.util.find_spec("triton")
    return None if is_there else "the package triton is not installed"


def _interpreted() -> tuple[str, ...]:
    return ("cpu",) if is_interpreting() else ()


def _describe_numba() -> str:
    import numba

    return f"CPU kernels compiled by Numba {numba.__version__}"


BACKENDS = {
    "numba": _Kind("numba_cpu", ("cpu",), _nothing_missing, _describe_numba),
    "onednn": _Kind("onednn_cpu", ("cpu",), _onednn_missing, lambda: "exact float32 products, part of PyTorch"),
    "triton": _Kind(
        "triton_gpu", ("cuda", "meta"), _triton_missing, lambda: "GPU kernels compiled by Triton", _interpreted
    ),
    "chunked": _Kind(
        "chunked", (), _nothing_missing, lambda: "matrix products over chunks of tokens, in plain PyTorch"
    ),
    "reference": _Kind("reference", (), _nothing_missing, lambda: "plain PyTorch"),
}
"""Every backend, the fastest first: the order in which "auto" asks."""

_FOLDER = Path(__file__).parent
OPERATIONS = {
    path.parent.name: tuple(name for name, kind in BACKENDS.items() if path.with_name(f"{kind.file}.py").exists())
    for path in sorted(_FOLDER.glob("*/reference.py"))
}
"""The backends of each operation, the fastest first."""


class _Implementation(NamedTuple):
    """A backend, loaded."""

    backend: str
    run: Callable[..., Any]
    supports: Callable[..., str | None] | None


class Operation:
    """The backends of one public function; calling it runs the right one."""

    def __init__(self, name: str, function: str | None = None) -> None:
        """Take the folder's name, and that of the function where the folder holds more than one."""
        self._name, self._function = name, function or name
        self._implementations: dict[tuple[str, str, torch.dtype], tuple[_Implementation, ...]] = {}

    def __call__(self, backend: Backend, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- as the backends say
        """Run the first backend that takes this call, or the one asked for by name.

        The first argument, or its first element, is the tensor whose device and type decide.

        Raises:
            UserError: the backend asked for does not exist, or cannot run on this device or with these arguments.
        """
        x = arguments[0] if isinstance(arguments[0], Tensor) else arguments[0][0]
        if not isinstance(backend, str):
            raise _refusal(self._name, f"of type {type(backend).__name__}", "a backend is called by its name")
        key = (backend, x.device.type, x.dtype)
        reason: str | None = None
        for implementation in self._implementations.get(key) or self._load(*key):
            if implementation.supports is None or (reason := implementation.supports(*arguments, **options)) is None:
                return implementation.run(*arguments, **options)
        raise _refusal(self._name, backend, reason or "none of its implementations is there")

    def _load(self, backend: Backend, device_type: str, dtype: torch.dtype) -> tuple[_Implementation, ...]:
        """Import what may run calls of this kind; remembered, so that a call only looks it up."""
        device = torch.device(device_type)
        first = choose_backend(self._name, device, backend, dtype)
        names = OPERATIONS[self._name]
        names = names[names.index(first) :] if backend == "auto" else (first,)
        by_name = backend != "auto"
        able = [name for name in names if _reason_against(self._name, name, device, dtype, by_name=by_name) is None]
        implementations = []
        for name in able:
            module = _file_of(self._name, name)
            run = getattr(module, f"{self._function}_{name}")
            implementations.append(_Implementation(name, run, getattr(module, "supports", None)))
        self._implementations[backend, device_type, dtype] = tuple(implementations)
        return tuple(implementations)


def choose_backend(
    operation: str, device: torch.device, requested: Backend = "auto", dtype: torch.dtype | None = None
) -> str:
    """Return the name of the backend that runs an operation on a device.

    Args:
        operation: name of the operation.
        device: where its tensors are.
        requested: "auto", or one by name.
        dtype: type of its first tensor; a backend that is for some types only is judged by it, where given.

    Raises:
        UserError: there is no such operation or backend, or the requested backend cannot run on this device.
    """
    if operation not in OPERATIONS:
        raise UserError(
            f'there is no operation "{operation}"', wanted="one of the operations", way_out=", ".join(OPERATIONS)
        )
    implementations = OPERATIONS[operation]
    if requested != "auto":
        why: str | None
        if requested not in implementations:
            why = f"{operation} has no such backend" if requested in BACKENDS else "there is no such backend"
        else:
            why = _reason_against(operation, requested, device, dtype, by_name=True)
        if why is not None:
            raise _refusal(operation, requested, why)
        return requested
    return next(name for name in implementations if _reason_against(operation, name, device, dtype) is None)


def explain(device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> dict[str, str]:
    """Return, for each operation, the backend that runs and why.

    Args:
        device: where the tensors are; the CPU where not given.
        dtype: type of each operation's first tensor; the type of the products under autocast.
    """
    device = device or torch.device("cpu")
    return {operation: _explain_one(operation, device, dtype) for operation in OPERATIONS}


def _explain_one(operation: str, device: torch.device, dtype: torch.dtype) -> str:
    chosen, reasons = choose_backend(operation, device, "auto", dtype), []
    for name in OPERATIONS[operation]:
        if name == chosen:
            break
        reasons.append(f"not {name}: {_reason_against(operation, name, device, dtype)}")
    if hasattr(_file_of(operation, chosen), "supports"):
        reasons.append("a call it does not take runs the next backend")
    return f"{chosen} ({'; '.join([BACKENDS[chosen].describe(), *reasons])})"


def _reason_against(
    operation: str, name: str, device: torch.device, dtype: torch.dtype | None, *, by_name: bool = False
) -> str | None:
    """Return why a backend of the operation cannot run, or None. Only a backend that could is imported."""
    kind = BACKENDS[name]
    device_types = kind.device_types + (kind.find_by_name() if by_name else ())
    if kind.device_types and device.type not in device_types:
        return f"it does not run on {device}"
    missing = kind.find_missing(device.type)
    if missing is not None:
        return missing
    types = None if dtype is None else getattr(_file_of(operation, name), "TYPES", None)
    if types is not None and dtype is not None and dtype not in types:
        return f"it is for {' and '.join(_short(each) for each in types)}, not for {_short(dtype)}"
    return None


def _file_of(operation: str, name: str) -> Any:  # noqa: ANN401 -- a module, whose names are those of the operation
    return importlib.import_module(f"mambrane.ops.{operation}.{BACKENDS[name].file}")


def _refusal(operation: str, backend: str, reason: str) -> UserError:
    return UserError(
        f'backend "{backend}" for {operation}: {reason}',
        wanted=f"one that can run: {', '.join(OPERATIONS[operation])}",
        way_out='backend="auto" takes the fastest that can',
    )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
