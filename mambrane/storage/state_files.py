"""A state tree as two files: `<name>.json` for its shape and scalars, `<name>.safetensors` for its tensors.

    state tree = dict (text or integer keys) | list | tuple (comes back as a list) | str | int | float | bool | None
                 | torch.Tensor | numpy scalar (comes back as the Python number)

Equal states give equal bytes: keys are sorted, nothing of the machine or the clock is written. What JSON lacks is a
dict with one marked key; a key of the state that itself starts with "$" is written with a second one.

    {"$tensor": "/optimizer/3/exp_avg"}                   the tensor of that name (a JSON pointer)
    {"$tensor": ..., "dtype": "complex64", "shape": [2]}  the same for a type safetensors cannot hold: its bytes
    {"$float": "nan"}                                     nan, inf, -inf
    {"$integer_keys": [[0, ...], [1, ...]]}               a dict with integer keys

No pickle is written or read, so nothing in a file can run.
Source: https://github.com/huggingface/safetensors (format), RFC 6901 (JSON pointer), RFC 8259 (JSON).
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mambrane.storage.atomic_files import Chunk

StateTree = Any
"""See the module's first lines."""

SAFETENSORS_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The types every release of safetensors reads; other types are stored as their bytes."""

_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}


class EncodedState(NamedTuple):
    """A state tree split into JSON and tensors that lie contiguous in host memory."""

    json: bytes
    tensors: dict[str, Tensor]


def encode_state(state: StateTree, *, copy: bool = False) -> EncodedState:
    """Split a state tree into JSON bytes and named tensors; `copy` makes it independent of later changes.

    Raises:
        TypeError: something in it is no state; the message names where.
    """
    tensors: dict[str, Tensor] = {}
    tree = _encode(state, "", tensors, copy=copy)
    return EncodedState(_canonical_json(tree), tensors)


def decode_state(json_bytes: bytes, tensors: Mapping[str, Tensor]) -> StateTree:
    """Return the state tree of encode_state.

    Raises:
        ValueError: the bytes are no state, or do not name exactly these tensors.
    """
    left = dict(tensors)
    try:
        state = _decode(json.loads(json_bytes, parse_constant=_refuse_constant), left)
    except (KeyError, TypeError, RuntimeError, RecursionError) as error:
        raise ValueError(f"not a state: {type(error).__name__} {error}") from error
    if left:
        raise ValueError(f"tensors without a place in the state: {', '.join(sorted(left))}")
    return state


def host_tensor(tensor: Tensor, where: str, *, copy: bool) -> Tensor:
    """Return the values contiguous in host memory; the same memory only where `copy` is False.

    Raises:
        TypeError: the tensor is sparse, quantized or holds no values.
    """
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        raise TypeError(f"{where}: a {tensor.layout} tensor on {tensor.device}; only dense tensors can be saved")
    plain = tensor.detach().resolve_conj().resolve_neg()
    if copy:
        return plain.to("cpu", copy=True, memory_format=torch.contiguous_format)
    return plain.cpu().contiguous()


def safetensors_chunks(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> list[Chunk]:
    """Return the bytes of a safetensors file: its header, then a view of each tensor's memory.

    Tensors stand by falling element size, then by name, so that each one is aligned.

    Raises:
        TypeError: a tensor has a type outside SAFETENSORS_DTYPES.
    """
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    views: list[Chunk] = []
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        if tensor.dtype not in SAFETENSORS_DTYPES or name == "__metadata__":
            raise TypeError(f"{name}: a safetensors file cannot hold it ({tensor.dtype})")
        view = tensor.reshape(-1).view(torch.uint8).numpy().data
        begin, end = end, end + len(view)
        dtype = SAFETENSORS_DTYPES[tensor.dtype]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
        views.append(view)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *views]


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, in memory of their own.

    Raises:
        ValueError: the file is not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            # The tensors that safe_open hands out may be views of the mapped file.
            return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 -- not a dict
    except SafetensorError as error:
        raise ValueError(f"not a safetensors file: {error}") from error


def _encode(value: StateTree, path: str, tensors: dict[str, Tensor], *, copy: bool) -> StateTree:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, Tensor):
        return _encode_tensor(value, path, tensors, copy=copy)
    if isinstance(value, (list, tuple)):
        return [_encode(item, f"{path}/{index}", tensors, copy=copy) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return _encode_mapping(value, path, tensors, copy=copy)
    raise TypeError(
        f"{path or '/'}: {type(value).__name__} is no state; "
        "a state is made of dict, list, str, int, float, bool, None and torch.Tensor"
    )


def _encode_mapping(value: Mapping, path: str, tensors: dict[str, Tensor], *, copy: bool) -> StateTree:
    items = {key: _encode(item, f"{path}/{_pointer(key)}", tensors, copy=copy) for key, item in value.items()}
    if all(isinstance(key, str) for key in items):
        return {f"${key}" if key.startswith("$") else key: item for key, item in items.items()}
    if all(type(key) is int for key in items):
        return {"$integer_keys": [[key, items[key]] for key in sorted(items)]}
    raise TypeError(f"{path or '/'}: keys of a state are all text or all integers, found {list(items)[:5]}")


def _encode_tensor(tensor: Tensor, path: str, tensors: dict[str, Tensor], *, copy: bool) -> StateTree:
    host = host_tensor(tensor, path, copy=copy)
    if host.dtype in SAFETENSORS_DTYPES:
        tensors[path] = host
        return {"$tensor": path}
    tensors[path] = host.reshape(-1).view(torch.uint8)
    return {"$tensor": path, "dtype": str(host.dtype).removeprefix("torch."), "shape": list(host.shape)}


def _decode(value: StateTree, left: dict[str, Tensor]) -> StateTree:
    if isinstance(value, list):
        return [_decode(item, left) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        tensor = left.pop(value["$tensor"])
        if "dtype" in value:
            return tensor.view(_DTYPES[value["dtype"]]).reshape(value["shape"])
        return tensor
    if "$float" in value:
        return float(value["$float"])
    if "$integer_keys" in value:
        return {int(key): _decode(item, left) for key, item in value["$integer_keys"]}
    unknown = [key for key in value if key.startswith("$") and not key.startswith("$$")]
    if unknown:
        raise ValueError(f"not a state: unknown mark {unknown[0]}")
    return {key.removeprefix("$"): _decode(item, left) for key, item in value.items()}


def _canonical_json(tree: StateTree) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _pointer(key: str | int) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"not a state: bare {text}")


def total_bytes(chunks: Iterable[Chunk]) -> int:
    """Return the bytes that a file of these chunks takes."""
    return sum(len(chunk) for chunk in chunks)
