"""A micro-batch rehearsed on the meta device: the kernels that a GPU would be asked for, without one.

Tensors have shapes and types and no numbers, so a model of any size runs through within seconds and without memory. The
forms are those of a GPU, Triton's kernels included (`mambrane.kernels.triton.launch`), and the casts those of autocast.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from mambrane.core.seeding import make_generator
from mambrane.data.batch import MicroBatch
from mambrane.kernels.autocast import autocast_on_meta
from mambrane.kernels.triton.launch import Launch, rehearsal, starts_kernel
from mambrane.models.block import operations_of_model
from mambrane.models.language_model import LanguageModel
from mambrane.ops.dispatch import choose_backend
from mambrane.run.build import build_task_kind
from mambrane.settings.config import RunConfig

META = torch.device("meta")
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

NORM_KERNELS = (1, 2)
"""Kernels of torch's fused norm on a GPU, forward and backward: input, and weight."""
ATTENTION_KERNELS = (3, 4)
"""Of attention with a mask: two that make the mask a bias, and attention; then sums, and the gradients."""

Kind = Literal["product", "ours", "element"]
"""A matrix product or attention of a library, a kernel of ours, and everything else."""


class Memory(NamedTuple):
    """A piece of memory that a kernel reads or writes."""

    storage: int
    """The same number for all views of a tensor."""
    num_bytes: int


class Kernel(NamedTuple):
    """One start of a kernel."""

    name: str
    kind: Kind
    flops: int
    reads: tuple[Memory, ...]
    writes: tuple[Memory, ...]
    is_float32: bool = False
    """Whether a product's factors are float32: outside autocast, and where an operation keeps it out."""
    launch: Launch | None = None
    """Of a kernel of ours: its grid and its arguments."""

    @property
    def num_bytes(self) -> int:
        """Memory that is read and written, each piece once."""
        return sum(memory.num_bytes for memory in (*self.reads, *self.writes))


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What a micro-batch asks of a GPU, forward and backward."""

    tokens: int
    parameters: int
    kernels: tuple[Kernel, ...]
    saved_bytes: int
    """Memory that the forward pass keeps for the backward pass, beside the weights."""
    kept: list[torch.UntypedStorage] = field(default_factory=list, repr=False)
    """Every piece of memory, so that no two have the same number."""

    @property
    def flops(self) -> int:
        """Operations of all products."""
        return sum(kernel.flops for kernel in self.kernels)

    def fused(self) -> tuple[Kernel, ...]:
        """Return the kernels as a compiler fuses them: neighbours that work element by element become one.

        What such a group makes and nobody behind it reads never goes to memory.
        """
        last_use = {piece.storage: at for at, kernel in enumerate(self.kernels) for piece in kernel.reads}
        fused: list[Kernel] = []
        for start, stop in _groups(self.kernels):
            group = self.kernels[start:stop]
            if len(group) == 1:
                fused.append(group[0])
                continue
            made = {piece.storage: piece for kernel in group for piece in kernel.writes}
            read = {piece.storage: piece for kernel in group for piece in kernel.reads if piece.storage not in made}
            written = [piece for piece in made.values() if last_use.get(piece.storage, stop) >= stop]
            fused.append(Kernel("fused", "element", 0, tuple(read.values()), tuple(written)))
        return tuple(fused)


def loops_over_tokens(config: RunConfig) -> list[str]:
    """Return the operations of a run that a GPU would do token by token, for want of a kernel: too slow to rehearse."""
    return [
        name
        for name in operations_of_model(config.model)
        if choose_backend(name, META) == "reference" and name in ("cfc", "ltc")
    ]


def rehearse(config: RunConfig, vocab_size: int, precision: str) -> Rehearsal:
    """Return what a micro-batch of a run asks of a GPU."""
    # Dropout draws on the CPU, which a rehearsal has no numbers for.
    settings = replace(config.model, dropout=0.0)
    with META, torch.random.fork_rng(devices=[]):
        model = LanguageModel(settings, vocab_size, make_generator(config.run.seed, "weights"))
    shape = (config.data.batch_size, config.data.sequence_length)
    tokens_BT = torch.zeros(shape, dtype=torch.int64, device=META)
    batch = MicroBatch(tokens_BT, tokens_BT, torch.zeros(shape, dtype=torch.bool, device=META))
    objective = build_task_kind(config, META).objective
    saved: dict[int, int] = {}
    kept: list[torch.UntypedStorage] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.untyped_storage())
        saved[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with _watched() as watch:
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            _Fused(watch),
            autocast_on_meta(AUTOCAST.get(precision)),
        ):
            loss_sum = objective(model, batch).loss_sum
        num_forward = len(watch.kernels)
        loss_sum.backward()
    weights = {_storage(parameter) for parameter in model.parameters()}
    saved_bytes = sum(size for storage, size in saved.items() if storage not in weights)
    forward, backward = watch.kernels[:num_forward], watch.kernels[num_forward:]
    if config.engine.checkpoint_activations:
        # Played, as blocks run again inside the backward pass, which these forms do not reach: all forward kernels come
        # a second time, and what is kept is what enters each block, and all that one block keeps while it goes back.
        forward, layers = forward * 2, len(model.blocks)
        saved_bytes = (
            layers * tokens_BT.numel() * config.model.hidden_dim * torch.float32.itemsize + saved_bytes // layers
        )
    return Rehearsal(
        tokens=tokens_BT.numel(),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        kernels=(*forward, *backward),
        saved_bytes=saved_bytes,
        kept=[*kept, *watch.kept],
    )


@contextmanager
def _watched() -> Iterator["_Watch"]:
    with rehearsal() as launches, _Watch(launches) as watch:
        yield watch


class _Watch(TorchDispatchMode):
    """Notes the kernels of PyTorch and, where an operator of ours was called, those that it has started."""

    def __init__(self, launches: list[Launch]) -> None:
        super().__init__()
        self.kernels: list[Kernel] = []
        self.kept: list[torch.UntypedStorage] = []
        self._launches = launches

    def play(self, name: str, count: int, flops: int, read: Sequence[Tensor], written: Sequence[Tensor]) -> None:
        """Note an operation of so many kernels; its memory and its arithmetic go with the first of them."""
        self.kept += [tensor.untyped_storage() for tensor in (*read, *written)]
        kind: Kind = "product" if flops else "element"
        is_float32 = any(tensor.dtype == torch.float32 for tensor in read)
        self.kernels.append(Kernel(name, kind, flops, _memory(read), _memory(written), is_float32))
        self.kernels += [Kernel(name, kind, 0, (), ())] * (count - 1)

    def __torch_dispatch__(self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:  # noqa: ANN401 -- torch's own
        before = len(self._launches)
        outputs = function(*args, **(kwargs or {}))
        started = self._launches[before:]
        read, written = _tensors((args, kwargs)), _tensors(outputs)
        # Not the tensors: a gradient that somebody else holds would be copied.
        self.kept += [tensor.untyped_storage() for tensor in written]
        for launch in started:
            arguments = _tensors(launch.arguments)
            self.kept += [tensor.untyped_storage() for tensor in arguments]
            # A kernel's arguments do not say which it writes; each counts once.
            name = f"{launch.module.split('.')[-2]}.{launch.kernel}" if launch.module else launch.kernel
            kind: Kind = "ours" if launch.module else "element"
            self.kernels.append(Kernel(name, kind, 0, _memory(arguments), (), launch=launch))
        if not started and function.namespace == "aten" and starts_kernel(function):
            flops = flop_registry.get(function._overloadpacket)
            count = 0 if flops is None else int(flops(*args, **(kwargs or {}), out_val=outputs))
            kind = "element" if flops is None else "product"
            is_float32 = any(tensor.dtype == torch.float32 for tensor in read)
            name = function._schema.name
            self.kernels.append(Kernel(name, kind, count, _memory(read), _memory(written), is_float32))
        return outputs


class _Fused(TorchFunctionMode):
    """Plays what PyTorch has one kernel for on a GPU, and only the parts of on the meta device: norm and attention."""

    def __init__(self, watch: "_Watch") -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 -- torch's own
        if function is functional.rms_norm:
            weight = args[2] if len(args) > 2 else None
            return _Played.apply(self._watch, "rms_norm", NORM_KERNELS, 0, args[0], weight)
        if function is functional.scaled_dot_product_attention:
            query, keys, values = args[:3]
            flops = 4 * query.numel() * keys.shape[-2]
            return _Played.apply(self._watch, "attention", ATTENTION_KERNELS, flops, query, keys, values)
        return function(*args, **(kwargs or {}))


class _Played(torch.autograd.Function):
    """An operation of a library that gives a tensor like its first argument."""

    @staticmethod
    def forward(context: Any, watch: "_Watch", name: str, counts: tuple[int, int], flops: int, *inputs: Any) -> Tensor:  # noqa: ANN401
        context.watch, context.name, context.count, context.flops = watch, name, counts[1], flops
        tensors = [each for each in inputs if each is not None]
        context.save_for_backward(*tensors)
        context.places = [place for place, each in enumerate(inputs) if each is not None]
        context.num_inputs = len(inputs)
        output = torch.empty_like(inputs[0])
        watch.play(name, counts[0], flops, tensors, [output])
        return output

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Any, ...]:  # noqa: ANN401 -- torch's own
        inputs = context.saved_tensors
        gradients = [torch.empty_like(each) for each in inputs]
        context.watch.play(f"{context.name} backward", context.count, 2 * context.flops, [gradient, *inputs], gradients)
        by_place = dict(zip(context.places, gradients, strict=True))
        return (None,) * 4 + tuple(by_place.get(place) for place in range(context.num_inputs))


def _groups(kernels: Sequence[Kernel]) -> Iterator[tuple[int, int]]:
    """Yield the runs of neighbours that work element by element, and each other kernel by itself."""
    start = 0
    while start < len(kernels):
        stop = start + 1
        while kernels[start].kind == "element" and stop < len(kernels) and kernels[stop].kind == "element":
            stop += 1
        yield start, stop
        start = stop


def _tensors(tree: Any) -> list[Tensor]:  # noqa: ANN401 -- arguments of any operator
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _memory(tensors: Sequence[Tensor]) -> tuple[Memory, ...]:
    """Return the memory of tensors; of a view that repeats its numbers no more than there is."""
    found: dict[int, int] = {}
    for tensor in tensors:
        num_bytes = min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
        storage = _storage(tensor)
        found[storage] = max(found.get(storage, 0), num_bytes)
    return tuple(Memory(*piece) for piece in found.items())


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
