"""What extensions may do to weights in a step: return new values of them, one extension for each weight.

The engine writes what is returned. A name or a shape that is not the model's, a second change of a weight, writing past
the engine, and values that are not finite are refused, each with the name of the extension or of the weight.
"""

import math
from collections.abc import Mapping, Set

import torch
from torch import Tensor, nn

from mambrane.core.errors import UserError
from mambrane.engine.extensions import ExtensionRefusedError
from mambrane.engine.shards import own_numbers, piece_of, whole


class NonFiniteWeightsError(UserError, ArithmeticError):
    """An update left a weight that is not finite; nothing of it is saved."""


def copies_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies without a graph, by name; a GPU makes them in a few kernels."""
    copies = {name: torch.empty_like(tensor, requires_grad=False) for name, tensor in tensors.items()}
    if copies:
        with torch.no_grad():
            torch._foreach_copy_(list(map(own_numbers, copies.values())), list(map(own_numbers, tensors.values())))
    return copies


def write_weights(parameters: Mapping[str, nn.Parameter], weights: Mapping[str, Tensor]) -> None:
    """Copy new values into parameters, by name; values that were made in a parameter's own memory are there.

    Where parameters are pieces, whole values are cut alike.
    """
    values = {name: own_numbers(piece_of(weight, like=parameters[name])) for name, weight in weights.items()}
    targets = {name: own_numbers(parameters[name]) for name in weights}
    new = [name for name in values if not _is_the_same_memory(values[name], targets[name])]
    if new:
        torch._foreach_copy_([targets[name] for name in new], [values[name] for name in new])


def refuse_misfit(
    extension: str, weights: Mapping[str, Tensor], parameters: Mapping[str, Tensor], *, are_all: bool = False
) -> None:
    """Refuse weights that are not the model's by name and shape, and, where all are asked for, ones left out."""
    unknown = weights.keys() - parameters.keys()
    left_out = parameters.keys() - weights.keys() if are_all else set()
    if unknown or left_out:
        raise ExtensionRefusedError(
            f"{extension} returns "
            + "; ".join(
                f"{words} {', '.join(sorted(names))}"
                for words, names in (("weights the step does not have:", unknown), ("all weights but", left_out))
                if names
            ),
            wanted="every weight it was given, by its name"
            if are_all
            else "weights by names of the model's parameters",
            way_out="take the names from what it is given",
        )
    for name, weight in weights.items():
        if weight.shape != parameters[name].shape:
            raise ExtensionRefusedError(
                f"{extension} returns {name} of shape {tuple(weight.shape)}",
                wanted=f"the shape of the parameter, {tuple(parameters[name].shape)}",
                way_out="return the new values of the whole parameter",
            )


def refuse_second_change(extension: str, names: Set[str]) -> None:
    """Refuse an extension that changes weights which one before it has changed after the same step."""
    if names:
        raise ExtensionRefusedError(
            f"{extension} changes {', '.join(sorted(names))} after the step, and so does an extension before it",
            wanted="one extension for each weight, so that their order decides nothing",
            way_out="leave one of them out",
        )


def writes_to(parameters: Mapping[str, Tensor]) -> list[int]:
    """Return how often each parameter has been written to."""
    return [parameter._version for parameter in parameters.values()]


def refuse_writing(extension: str, parameters: Mapping[str, Tensor], writes: list[int]) -> None:
    """Refuse an extension that has written to parameters since `writes` were counted."""
    changed = [
        name for name, now, before in zip(parameters, writes_to(parameters), writes, strict=True) if now != before
    ]
    if changed:
        raise ExtensionRefusedError(
            f"{extension} writes to {', '.join(changed)} by itself",
            wanted="new values that are returned, so that the engine sees every change",
            way_out="StepChange(numbers, {name: new values})",
        )


def require_finite(weights: Mapping[str, Tensor], norm: float) -> None:
    """Refuse to go on with weights that are not finite, which their norm shows.

    Raises:
        NonFiniteWeightsError: it names the first such weight.
    """
    if not math.isfinite(norm):
        raise NonFiniteWeightsError(
            f"after the update {first_nonfinite(weights, 'the weight')}",
            wanted="finite weights",
            way_out="a lower --learning-rate, --weight-decay or strength of the rule that changed it, in another "
            "--output-dir; what this run saved before is whole",
        )


def first_nonfinite(tensors: Mapping[str, Tensor], kind: str) -> str:
    """Return which of the tensors is the first that is not finite, as text: "the gradient of x is not finite"."""
    tensors = {name: whole(tensor) for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            return f"{kind} of {name} is not finite"
    largest = max(tensors, key=lambda name: float(tensors[name].abs().max()))
    return f"the norm of {kind} overflowed; the largest is that of {largest}"


def _is_the_same_memory(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.stride() == other.stride()
