"""Weights in pieces, one on each rank (`--shard`), for a model of which no rank can hold a replica.

torch's FSDP2 cuts each parameter along its first dimension and keeps a piece on each rank, as a DTensor. A block's
weights are gathered before it runs, forward and backward, and dropped after it; its gradients are summed over the ranks
as soon as they are whole, and each rank keeps its piece of the sum. So gradients, moments and averages are pieces too,
and the engine's operations on them touch the rank's own numbers only.

The sums are the engine's: neither a mean over ranks nor in an order of the backend's choice, but a plain sum in the
order of the ranks (`Ranks.sum_pieces_`). Weights are in the precision that the unsharded run has them in.

Source: Zhao et al., PyTorch FSDP (arXiv 2304.11277); torch.distributed.fsdp.fully_shard.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from mambrane.core.errors import UserError
from mambrane.engine.ranks import Ranks
from mambrane.kernels.arguments import leave_memory_free

_PLAIN = (Tensor, nn.Parameter)


def shard_(model: nn.Module, blocks: Iterable[nn.Module], ranks: Ranks, device: torch.device) -> None:
    """Replace the model's parameters by the pieces of this rank; the model is called as before, by all ranks together.

    Args:
        model: with the same weights on all ranks, on the CPU or on the device.
        blocks: parts of it whose weights are gathered at one time, one after the other; what is in none of them is
            gathered for the whole of a pass.
        ranks: two or more.
        device: where the pieces go.
    """
    # Seconds of imports, which only a sharded run pays.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    # It warns of operations in place on what a block returns; the model has none.
    warnings.filterwarnings("ignore", message=".*returned a view tensor", category=UserWarning)
    mesh = init_device_mesh(device.type, (ranks.size,))
    for module in (*blocks, model):
        # The root too gives its weights back after a pass: between two passes every parameter is a piece.
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
        assert isinstance(module, FSDPModule), "fully_shard has just made it one"
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
        module.set_custom_all_gather(_Gather(ranks))  # type: ignore[arg-type]  # torch keeps the base class private
        module.set_custom_reduce_scatter(_Sum(ranks))  # type: ignore[arg-type]
    model.to(device)
    leave_memory_free()


def is_sharded(model: nn.Module) -> bool:
    """Return whether the model's parameters are pieces."""
    return any(is_piece(parameter) for parameter in model.parameters())


def is_piece(tensor: Tensor) -> TypeGuard[Any]:
    """Return whether a tensor stands for one that lies in pieces on all ranks (a DTensor)."""
    # Asking a plain tensor for what it does not have costs more than all else that is done with a small one.
    return type(tensor) not in _PLAIN and hasattr(tensor, "device_mesh")


def whole(tensor: Tensor) -> Tensor:
    """Return the whole of a tensor that lies in pieces, gathered by all ranks together; any other as it is."""
    return tensor.full_tensor() if is_piece(tensor) else tensor


def own_numbers(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor, in the same memory: its piece, or all where it lies in none."""
    return tensor.detach().to_local() if is_piece(tensor) else tensor


def piece_of(value: Tensor, like: Tensor) -> Tensor:
    """Return this rank's piece of a whole tensor, cut, placed and typed as `like`; no rank waits for another.

    Where `like` is no piece, or the value is one already, the value comes back as it is.
    """
    if not is_piece(like) or is_piece(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    local = value.to(like.device, like.dtype)
    return distribute_tensor(local, like.device_mesh, like.placements, src_data_rank=None)


def as_piece(numbers: Tensor, like: Tensor) -> Tensor:
    """Return what this rank holds of something that is cut as `like` is, as the whole that it stands for.

    Where `like` is no piece, the numbers come back as they are.
    """
    if not is_piece(like):
        return numbers
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        numbers, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def as_pieces(numbers: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return `as_piece` of what an extension holds of parameters, by their names: what its state is saved as."""
    return {name: as_piece(own, model.get_parameter(name)) for name, own in numbers.items()}


def own_copies(saved: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return copies of what this rank holds of saved tensors, by parameter name, where the parameters are."""
    likes = {name: model.get_parameter(name) for name in saved}
    return {
        name: own_numbers(piece_of(tensor, like=likes[name])).to(likes[name].device, copy=True)
        for name, tensor in saved.items()
    }


def totals(own: Sequence[Tensor], like: Tensor) -> list[float]:
    """Return sums, as this rank took each over what it holds, over all ranks where `like` lies in pieces."""
    sums = torch.stack([each.double() for each in own])
    if is_piece(like):
        from torch.distributed.tensor import DTensor, Partial

        sums = whole(DTensor.from_local(sums, like.device_mesh, [Partial()], run_check=False))
    return sums.tolist()


def whole_state(state: Any, *, keeps: bool) -> Any:  # noqa: ANN401 -- a tree of tuples, lists, dicts and tensors
    """Return a state tree with every tensor whole, gathered one after the other by all ranks together.

    Args:
        state: the same tree on all ranks, but for the numbers in the pieces.
        keeps: whether this rank wants what is gathered; elsewhere an empty tensor stands in its place.
    """

    def gathered(tensor: Tensor) -> Tensor:
        if not is_piece(tensor):
            return tensor
        found = whole(tensor.detach())
        return found.cpu() if keeps else torch.empty(0)

    return _mapped(state, gathered)


def without_pieces(state: Any) -> Any:  # noqa: ANN401 -- as above
    """Return a state tree with an empty tensor in place of each that lies in pieces; no rank waits for another."""
    return _mapped(state, lambda tensor: torch.empty(0) if is_piece(tensor) else tensor)


def _mapped(state: Any, function: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401 -- as above
    """Return a state tree with what a function makes of its tensors, one after the other."""
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, dict):
        return {name: _mapped(item, function) for name, item in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(_mapped(item, function) for item in state)
    return state


def refuse_without_shards(extensions: Sequence[object]) -> None:
    """Refuse extensions that do not say that they are right where weights lie in pieces.

    Raises:
        UserError: it names them.
    """
    names = dict.fromkeys(
        str(getattr(each, "name", type(each).__name__))
        for each in extensions
        if not getattr(each, "across_shards", False)
    )
    if names:
        raise UserError(
            f"--shard with {', '.join(names)}: written for whole weights, and a process holds pieces of them",
            wanted="extensions with `across_shards = True` (docs/several-processes.md says which)",
            way_out="leave --shard out, or these extensions",
        )


class _Comm:
    """What both exchanges of FSDP are told: the ranks, and where to put the numbers."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)


class _Gather(_Comm):
    """Gathers the weights of a block."""

    def __call__(
        self, output_tensor: Tensor, input_tensor: Tensor, group: ProcessGroup, async_op: bool = False
    ) -> None:
        self.ranks.gather_pieces_(output_tensor, input_tensor)


class _Sum(_Comm):
    """Sums the gradients of a block."""

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: ProcessGroup,
        op: Any,  # noqa: ANN401 -- torch's own operator, always a sum here
        async_op: bool = False,
    ) -> None:
        self.ranks.sum_pieces_(output_tensor, input_tensor)
