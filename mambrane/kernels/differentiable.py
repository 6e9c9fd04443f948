"""Makes a pair of functions, forward and backward, an operator of torch, from one list of its arguments.

The arguments and the outputs are a NamedTuple each, written once. All else follows from them: the schema of the
operator and of its backward operator, their shapes, what is saved in between, and gradients of outputs that
nothing reads. A backend for other devices is another operator, which may save other tensors: `lif` on the CPU,
`lif_triton` on GPUs (`mambrane.kernels.triton.operators`).

    class Arguments(NamedTuple):
        x_BTS: Tensor
        factor: float

    class Outputs(NamedTuple):
        y_BTS: Tensor

    scale = differentiable(
        "scale",
        Arguments,
        Outputs,
        make_outputs,
        run_forward,
        run_backward,
        saves=("factor",),
        gradients={"x_BTS": "y_BTS"},
    )
    outputs = scale(x_BTS, 2.0)
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature
from types import GenericAlias
from typing import Any, get_type_hints

import torch
from torch import Tensor

from mambrane.kernels.operator import Operator

_OPTIONAL: Any = Tensor | None


def differentiable(
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
    make_zeros: Callable[[Any], Sequence[Tensor]] | None = None,
    skips_zeros: bool = False,
    device: str = "CPU",
    rehearses: Callable[[], bool] = lambda: False,
) -> Callable[..., Any]:
    """Register `torch.ops.mambrane.<name>` and `<name>_backward`; return the first, which gives `outputs`.

    Args:
        name: name of the operator.
        arguments: NamedTuple of its arguments: Tensor, Tensor | None, float, int or bool.
        outputs: NamedTuple of its outputs, all Tensor.
        make_outputs: of the arguments, returns empty outputs; may not look at numbers.
        run_forward: of the arguments and the empty outputs, writes the outputs.
        run_backward: of the gradients, an `outputs` with None for internal ones, and of what was saved, a tuple with
            the names of `saves`; returns the gradients of the arguments in `gradients`, in their order.
        saves: names of the arguments and outputs that the backward pass reads.
        gradients: names of the arguments that have gradients, each with that of something saved, or of an output,
            which has its shape; an empty one where that is None.
        internal: names of outputs that nothing but the backward pass reads; they have no gradient.
        make_zeros: of what was saved, returns for each output with a gradient what stands for it where nothing reads
            the output; zeros of its shape where not given.
        skips_zeros: the backward pass finds None in the gradients where nothing reads an output; no zeros are made.
        device: the dispatch key it computes for.
        rehearses: asked where tensors have shapes and no numbers: should the functions themselves run on them?
    """
    types, output_names = get_type_hints(arguments), tuple(get_type_hints(outputs))
    shown = tuple(each for each in output_names if each not in internal)
    saved_type: Any = namedtuple("Saved", tuple(saves))  # type: ignore[misc]  # mypy wants the names in the source
    tensors = [each for each in saves if types.get(each, Tensor) in (Tensor, _OPTIONAL)]

    def as_grads(grads: Sequence[Tensor | None]) -> Any:  # noqa: ANN401 -- an `outputs`
        return outputs(**dict.fromkeys(output_names) | dict(zip(shown, grads, strict=True)))

    def forward_of(*given: Any) -> Any:  # noqa: ANN401 -- as `arguments` says
        inputs = arguments(*given)
        made = make_outputs(inputs)
        run_forward(inputs, made)
        return _as_returned(made)

    def backward_of(*given: Any) -> Any:  # noqa: ANN401 -- gradients, then what was saved
        grads, saved = given[: len(shown)], saved_type(*given[len(shown) :])
        return _as_returned(run_backward(as_grads(grads), saved))

    backward_types: dict[str, Any] = {f"grad_{each}": _OPTIONAL if skips_zeros else Tensor for each in shown}
    backward_types |= {each: types.get(each, Tensor) for each in saves}
    shape_at = [list(backward_types).index(each if each in saves else f"grad_{each}") for each in gradients.values()]
    forward = Operator(name, _with_signature(forward_of, types, len(output_names)), device)
    backward = Operator(f"{name}_backward", _with_signature(backward_of, backward_types, len(gradients)), device)

    forward.register_shapes(
        lambda *given: forward_of(*given) if rehearses() else _as_returned(make_outputs(arguments(*given)))
    )
    backward.register_shapes(lambda *given: backward_of(*given) if rehearses() else _empty_like(given, shape_at))

    # Looked up once: places among the arguments and outputs, and of what is saved with the tensors first.
    place_of = {each: place for place, each in enumerate((*types, *output_names))}
    others = [each for each in saves if each not in tensors]
    kept_at = [[*tensors, *others].index(each) for each in saves]
    shown_at, internal_at = ([output_names.index(each) for each in some] for some in (shown, internal))
    gradient_at = [list(gradients).index(each) if each in gradients else None for each in types]

    def save(context: Any, given: tuple[Any, ...], made: Any) -> None:  # noqa: ANN401 -- torch's own
        made = (made,) if isinstance(made, Tensor) else made
        found = (*given, *made)
        context.save_for_backward(*[found[place_of[each]] for each in tensors])
        context.others = [found[place_of[each]] for each in others]
        context.shapes = [made[place].shape for place in shown_at]
        context.mark_non_differentiable(*[made[place] for place in internal_at])
        context.set_materialize_grads(False)

    def go_back(context: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401 -- torch's own
        given: Sequence[Tensor | None] = [grads[place] for place in shown_at]
        if all(grad is None for grad in given):
            return (None,) * len(types)
        kept = (*context.saved_tensors, *context.others)
        saved = saved_type(*[kept[place] for place in kept_at])
        if not skips_zeros and any(grad is None for grad in given):
            given = _filled(given, make_zeros(saved) if make_zeros else context.shapes)
        found = backward(*[None if grad is None else grad.contiguous() for grad in given], *saved)
        found = (found,) if isinstance(found, Tensor) else found
        needed = zip(gradient_at, context.needs_input_grad, strict=True)
        return tuple([found[place] if is_needed and place is not None else None for place, is_needed in needed])

    forward.register_gradients(go_back, save)

    def call(*given: Any) -> Any:  # noqa: ANN401 -- an `outputs`
        made = forward(*given)
        return outputs(made) if isinstance(made, Tensor) else outputs(*made)

    return call


def _filled(grads: Sequence[Tensor | None], zeros: Sequence[Any]) -> list[Tensor]:
    """Return the gradients with zeros, given as tensors or as shapes, in place of None."""
    some = next(grad for grad in grads if grad is not None)
    return [
        grad if grad is not None else zero if isinstance(zero, Tensor) else some.new_zeros(zero)
        for grad, zero in zip(grads, zeros, strict=True)
    ]


def _empty_like(given: Sequence[Any], places: Sequence[int]) -> Tensor | tuple[Tensor, ...]:
    """Return empty tensors like those at the places; one without numbers for each that is None."""
    some = next(each for each in given if isinstance(each, Tensor))
    shapes = [given[place] for place in places]
    return _as_returned([some.new_empty(0) if each is None else torch.empty_like(each) for each in shapes])


def _as_returned(tensors: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Return the tensors as an operator of torch does: a single one without a tuple."""
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _with_signature(run: Any, types: Mapping[str, Any], num_returned: int) -> Callable:  # noqa: ANN401 -- a function
    """Let torch read from a function what it takes and returns."""
    returned: Any = Tensor if num_returned == 1 else GenericAlias(tuple, (Tensor,) * num_returned)
    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=each) for name, each in types.items()]
    run.__signature__ = Signature(parameters, return_annotation=returned)
    return run
