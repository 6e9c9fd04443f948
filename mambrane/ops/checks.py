"""What an operation asks of its arguments before it runs: one sentence for one mistake, the same for all backends.

Shapes are written in the letters of core/shapes, as in jaxtyping: "B T S"; "B E K-1" and "U I+L" hold sums, "... I" has
any leading sizes, "S | B T S" is one of two. A letter stands for one number in all arguments of a call.

A batch of none (B = 0) gives results of none; every other size must be at least one, tokens included. Only what the
tensor says of itself is looked at: no number is read, so nothing waits for a device.
"""

import math
import re
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.kernels.autocast import autocast_type

_FLOATING = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_TYPES = {"bool": (torch.bool,), "int64": (torch.int64,), "full": (torch.float32, torch.float64), "float": _FLOATING}

_REMEMBERED_CALLS = 1024
"""How many kinds of calls that were right are remembered for each operation, so that most are only looked up."""


class _Part(NamedTuple):
    """What is asked of one tensor."""

    name: str
    shapes: tuple[tuple[str, ...], ...]
    """Sizes by their letters; more than one where the shape may be one of several."""
    types: tuple[torch.dtype, ...]
    is_optional: bool


class Arguments:
    """The tensors of an operation: names, shapes and types; calling it checks those of one call."""

    def __init__(self, operation: str, *, mixes_types: bool = True, **parts: str) -> None:
        """Take the shape of each tensor, in order.

        "?" behind a shape: the tensor may be None. Before it may stand a type: "bool", "int64", or "full" for float32
        or float64. Where types do not mix, all floating tensors are of one, or autocast brings them to one.
        """
        self._operation, self._mixes_types = operation, mixes_types
        self._parts = tuple(_read_part(name, text) for name, text in parts.items())
        self._passed: dict[tuple, dict[str, int]] = {}

    def __call__(self, *tensors: Tensor | None) -> dict[str, int]:
        """Return the size of each letter.

        Raises:
            UserError: not a tensor, or of a type, shape or device that does not fit the others, or without numbers.
        """
        if torch.compiler.is_compiling():
            return self._check(tensors)[0]
        try:
            key = tuple([_key_of(each) for each in tensors])
            sizes = self._passed.get(key)
        except (AttributeError, TypeError, RuntimeError):
            # Not a tensor, or one whose sizes are symbols, or a nested one, which has none.
            return self._check(tensors)[0]
        if sizes is not None:
            return sizes
        sizes, holds_always = self._check(tensors)
        if holds_always:
            if len(self._passed) >= _REMEMBERED_CALLS:
                self._passed.clear()
            self._passed[key] = sizes
        return sizes

    def _check(self, tensors: Sequence[Tensor | None]) -> tuple[dict[str, int], bool]:
        """Return the sizes, and whether the same shapes, types and devices would pass outside autocast too."""
        sizes: dict[str, int] = {}
        first: Any = tensors[0]
        device = getattr(first, "device", None)
        holds_always = True
        for part, tensor in zip(self._parts, tensors, strict=True):
            if tensor is None and part.is_optional:
                continue
            if not isinstance(tensor, Tensor):
                self._refuse(f"{part.name} is {_named(tensor)}", "a tensor")
            require_dense(self._operation, part.name, tensor)
            holds_always &= self._require_type(part, tensor, first)
            if tensor.device != device:
                self._refuse(f"{part.name} is on {tensor.device}", f"{device}, as {self._parts[0].name}")
            if not any(_fits(letters, tensor.shape, sizes) for letters in part.shapes):
                self._refuse_shape(part, tensors)
        if 0 in sizes.values():
            self._refuse_none(sizes)
        return sizes, holds_always

    def _require_type(self, part: _Part, tensor: Tensor, first: Tensor) -> bool:
        """Return whether the type is right outside autocast too."""
        dtype = tensor.dtype
        if dtype not in part.types:
            self._refuse(f"{part.name} is of {_short(dtype)}", " or ".join(_short(each) for each in part.types))
        if dtype == first.dtype or not dtype.is_floating_point:
            return True
        found = f"{part.name} is of {_short(dtype)} beside {self._parts[0].name} of {_short(first.dtype)}"
        if self._mixes_types:
            if dtype == torch.float64:
                self._refuse(found, "nothing finer than the first argument, in whose type the result is given")
            return True
        if autocast_type(first.device.type) is None:
            self._refuse(found, "one type, or autocast")
        return False

    def _refuse(self, found: str, wanted: str) -> NoReturn:
        refuse(self._operation, found, wanted)

    def _refuse_shape(self, wrong: _Part, tensors: Sequence[Tensor | None]) -> NoReturn:
        sizes: dict[str, int] = {}
        number = self._parts.index(wrong)
        for part, tensor in zip(self._parts[:number], tensors[:number], strict=True):
            if tensor is not None:
                any(_fits(letters, tensor.shape, sizes) for letters in part.shapes)
        found = tensors[number]
        assert found is not None, "only a tensor has a wrong shape"
        wanted = " or ".join(
            f"[{', '.join(_size_or_letter(letter, sizes) for letter in letters)}]" for letters in wrong.shapes
        )
        letters = " or ".join(f"[{', '.join(letters)}]" for letters in wrong.shapes)
        that_is = "" if wanted == letters else f", that is {letters}"
        self._refuse(f"{wrong.name} has shape {list(found.shape)}", f"{wanted}{that_is}")

    def _refuse_none(self, sizes: dict[str, int]) -> None:
        for part in self._parts:
            for letter in part.shapes[0]:
                if letter != "B" and sizes.get(letter) == 0:
                    self._refuse(
                        f"{part.name} has no numbers: {letter} is 0 in [{', '.join(part.shapes[0])}]", "1 or more"
                    )


def require_option(operation: str, name: str, value: object, options: Sequence[object]) -> None:
    """Raise UserError unless the value is one of the options."""
    # An array would answer a comparison with an array.
    if not any(type(value) is type(option) and value == option for option in options):
        refuse(operation, f"{name} is {_named(value)}", " or ".join(_named(option) for option in options))


def require_number(
    operation: str,
    name: str,
    value: float,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    excludes: float | None = None,
) -> None:
    """Raise UserError unless the value is a finite number from least to most, and not the one that is excluded."""
    is_number = type(value) in (float, int) or (isinstance(value, Real) and not isinstance(value, bool))
    if not is_number or not least <= value <= most or not math.isfinite(value) or value == excludes:
        bounds = [f"from {least:g}" * (least > -math.inf), f"to {most:g}" * (most < math.inf)]
        bounds += [f"without {excludes:g}" if excludes is not None else ""]
        refuse(operation, f"{name} is {_named(value)}", " ".join(filter(None, ["a finite number", *bounds])))


def require_count(operation: str, name: str, value: int) -> None:
    """Raise UserError unless the value is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        refuse(operation, f"{name} is {_named(value)}", "an integer of 1 or more")


def require_kind(operation: str, name: str, value: object, kind: type) -> None:
    """Raise UserError unless the value is of a class."""
    if not isinstance(value, kind):
        refuse(operation, f"{name} is {_named(value)}", f"{kind.__name__}")


def require_dense(operation: str, name: str, tensor: Tensor) -> None:
    """Raise UserError where the numbers of a tensor do not lie in rows of equal length."""
    # A nested tensor may call itself strided, and has no shape.
    if tensor.is_nested or tensor.layout is not torch.strided:
        kind = "nested" if tensor.is_nested else _short(tensor.layout).strip("_")
        refuse(operation, f"{name} is a {kind} tensor", "a dense one, such as to_dense() gives")


def require_tensor(operation: str, name: str, tensor: object) -> Tensor:
    """Return the value; raises UserError unless it is a dense tensor."""
    if not isinstance(tensor, Tensor):
        refuse(operation, f"{name} is {_named(tensor)}", "a tensor")
    require_dense(operation, name, tensor)
    return tensor


def require_changeable(operation: str, name: str, tensor: object) -> None:
    """Raise UserError unless a tensor can be changed in place by what has no gradient."""
    tensor = require_tensor(operation, name, tensor)
    if tensor.requires_grad and torch.is_grad_enabled():
        refuse(operation, f"{name} requires a gradient, and has none here", "the call within torch.no_grad()")
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        refuse(operation, f"{name} was made in inference mode", "the call in that mode too, or a clone of it")


def require_tensors(operation: str, name: str, tensors: object) -> None:
    """Raise UserError unless the value is a list or a tuple."""
    if not isinstance(tensors, list | tuple):
        refuse(operation, f"{name} is {_named(tensors)}", "a list of tensors")


def refuse(operation: str, found: str, wanted: str) -> NoReturn:
    """Raise UserError: what was found in the arguments of an operation, and what was wanted."""
    raise UserError(
        f"{operation}: {found}; wanted {wanted}",
        wanted="arguments as the operation describes them",
        way_out=f"help(mambrane.ops.{operation})",
    )


def _read_part(name: str, text: str) -> _Part:
    kind = re.match(r"(bool|int64|full) ", text)
    shapes = text.removesuffix("?").removeprefix(kind[0] if kind else "").split("|")
    types = _TYPES[kind[1] if kind else "float"]
    return _Part(name, tuple(tuple(shape.split()) for shape in shapes), types, text.endswith("?"))


def _fits(letters: tuple[str, ...], shape: Sequence[int], sizes: dict[str, int]) -> bool:
    """Return whether a shape is the one in letters; letters met for the first time are noted in `sizes`."""
    if letters[0] == "...":
        letters = letters[1:]
        shape = shape[max(len(shape) - len(letters), 0) :]
    if len(letters) != len(shape):
        return False
    for letter, size in zip(letters, shape, strict=True):
        known = sizes.get(letter)
        if known is None:
            if len(letter) == 1:
                sizes[letter] = size
                continue
            known = _size_of(letter, sizes)
        if known != size:
            return False
    return True


def _size_of(letter: str, sizes: dict[str, int]) -> int | None:
    """Return the size of a letter or a sum of letters and numbers; None where a letter has not been met."""
    terms = re.findall(r"[+-]?\w+", letter)
    total = 0
    for term in terms:
        sign, word = (-1 if term[0] == "-" else 1), term.lstrip("+-")
        if not word.isdigit() and word not in sizes:
            return None
        total += sign * (int(word) if word.isdigit() else sizes[word])
    return total


def _size_or_letter(letter: str, sizes: dict[str, int]) -> str:
    size = None if letter == "..." else _size_of(letter, sizes)
    return letter if size is None else str(size)


def _key_of(tensor: Tensor | None) -> tuple | None:
    return None if tensor is None else (tensor.shape, tensor.dtype, tensor.device, tensor.layout)


def _named(value: Any) -> str:  # noqa: ANN401 -- whatever was given
    if isinstance(value, str):
        return f'"{value}"'
    return repr(value) if value is None or isinstance(value, Real) else f"of type {type(value).__name__}"


def _short(kind: torch.dtype | torch.layout) -> str:
    return str(kind).removeprefix("torch.")
