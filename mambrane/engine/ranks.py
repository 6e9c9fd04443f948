"""The processes that train one run together, as a value; every collective of the program is here.

Everything above the forward pass is global and equal on all ranks: each reads the same micro-batches, mixes them with
the same replay memory and counts the same steps. A rank runs its own rows of each micro-batch and nothing else, and
what comes of them is summed. A checkpoint therefore knows no ranks: it is written by one and read by any number.

Sums are taken in the order of the ranks, so that equal runs have equal bits. With one process every method returns what
it was given.
"""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from mambrane.core.errors import UserError
from mambrane.core.launch import num_processes
from mambrane.data.batch import MicroBatch

CHUNK_BYTES = 1 << 24
"""Summed at a time: a rank holds so many of its own and so many of each other, or of all others, beside them."""
WHOLE_BYTES = 1 << 20
"""Up to so many, of all ranks together, waiting costs more than sending, and a sum is one exchange and not two."""

Value = TypeVar("Value")

_OPENINGS = itertools.count()
"""Numbers the times that this process has joined the others."""


class RankLostError(UserError, RuntimeError):
    """Another process of the run ended, or does not answer."""


class RanksDifferError(UserError, RuntimeError):
    """What must be equal on all ranks is not."""


class Ranks:
    """One process alone, or one of several: which, of how many, and what they do together."""

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        *,
        store: dist.Store | None = None,
        control: dist.ProcessGroup | None = None,
    ) -> None:
        """Take the place of this process; torch.distributed is open where there are several.

        Args:
            rank: number of this process, from 0.
            size: number of processes.
            store: where each process notes how far it is, so that one that is lost can be named.
            control: group of the same processes over CPUs, for flags and small values; the default group if not given.
        """
        self.rank, self.size = rank, size
        self._store, self._control = store, control
        self._num_calls = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that locks, logs and saves."""
        return self.rank == 0

    def rows(self, batch: MicroBatch) -> MicroBatch:
        """Return this rank's rows of a micro-batch: none where there are fewer rows than ranks before it."""
        if self.size == 1:
            return batch
        own = self.share_of(batch.inputs_BT.shape[0])
        return batch.rows(slice(own.start, own.stop))

    def share_of(self, num_items: int) -> range:
        """Return which of some items are this rank's, in one piece; all ranks together have each of them once."""
        return range(self.rank * num_items // self.size, (self.rank + 1) * num_items // self.size)

    def sum_(self, *tensors: Tensor) -> None:
        """Replace each tensor in place by its sum over all ranks; all travel together, of whatever types they are."""
        if self.size == 1 or not tensors:
            return
        with self._told("a sum"):
            # Numbers that the host holds beside a GPU's need not go there and back.
            for on_host in (True, False):
                held = [tensor.detach() for tensor in tensors if (tensor.device.type == "cpu") == on_host]
                if held:
                    self._sum_together_(held, self._control if on_host else None)

    def _sum_together_(self, tensors: Sequence[Tensor], group: dist.ProcessGroup | None) -> None:
        """Sum tensors of one device: in one exchange where they are few numbers, else type by type."""
        # Wide types first, so that each lies in the bytes where its type may begin.
        tensors = sorted(tensors, key=Tensor.element_size, reverse=True)
        of_types = [list(same) for _, same in itertools.groupby(tensors, key=lambda tensor: tensor.dtype)]
        if self._goes_whole(sum(tensor.nbytes for tensor in tensors)):
            totals = self._sum_whole(of_types, group)
        else:
            totals = [torch.cat([tensor.flatten() for tensor in same]) for same in of_types]
            for total in totals:
                for chunk in total.split(CHUNK_BYTES // total.element_size()):
                    self._sum_chunk_(chunk, group)
        for same, total in zip(of_types, totals, strict=True):
            parts = total.split([tensor.numel() for tensor in same])
            torch._foreach_copy_(same, [part.view_as(tensor) for part, tensor in zip(parts, same, strict=True)])

    def _goes_whole(self, num_bytes: int) -> bool:
        """Return whether all is sent to all: as much as a ring for two ranks, and a wait less."""
        return num_bytes <= CHUNK_BYTES and (self.size == 2 or self.size * num_bytes <= WHOLE_BYTES)

    def _sum_whole(self, of_types: Sequence[Sequence[Tensor]], group: dist.ProcessGroup | None) -> list[Tensor]:
        """Return the flat sums of the tensors of each type, widest first; every rank is sent all, and adds all."""
        sizes = [sum(tensor.nbytes for tensor in same) for same in of_types]
        # The numbers of each rank begin at a multiple of the widest type.
        of_ranks = of_types[0][0].new_empty(self.size, -(-sum(sizes) // 8) * 8, dtype=torch.uint8)
        views = []
        for same, columns in zip(of_types, of_ranks[:, : sum(sizes)].split(sizes, dim=1), strict=True):
            views.append(columns.view(same[0].dtype))
            torch.cat([tensor.flatten() for tensor in same], out=views[-1][self.rank])
        # Directly, in half the time of gloo's gather, which passes everything on from rank to rank.
        others = (rank for rank in range(self.size) if rank != self.rank)
        moves = ((move, row, other) for other in others for move, row in ((dist.isend, self.rank), (dist.irecv, other)))
        for work in dist.batch_isend_irecv([dist.P2POp(move, of_ranks[row], peer, group) for move, row, peer in moves]):
            work.wait()
        for view in views:
            for rank in range(1, self.size):
                view[0] += view[rank]
        return [view[0] for view in views]

    def _sum_chunk_(self, chunk: Tensor, group: dist.ProcessGroup | None) -> None:
        """Sum a flat tensor: each rank adds a piece, then all gather the sums; what is sent does not grow."""
        if self._goes_whole(chunk.nbytes):
            chunk.copy_(self._sum_whole([[chunk]], group)[0])
            return
        padded = functional.pad(chunk, (0, -chunk.numel() % self.size))
        piece = padded.new_empty(padded.numel() // self.size)
        self._sum_piece_(piece, padded, group)
        dist.all_gather(list(padded.chunk(self.size)), piece, group=group)
        chunk.copy_(padded[: chunk.numel()])

    def gather_pieces_(self, whole: Tensor, piece: Tensor) -> None:
        """Fill `whole` with the pieces of all ranks, one after the other in their order; all pieces are of one size."""
        with self._told("a gathering of weights"):
            dist.all_gather(list(whole.chunk(self.size)), piece)

    def sum_pieces_(self, piece: Tensor, whole: Tensor) -> None:
        """Fill `piece` with this rank's part of the sum of `whole` over all ranks, added in their order."""
        with self._told("a sum of gradients"):
            self._sum_piece_(piece, whole)

    def _sum_piece_(self, piece: Tensor, whole: Tensor, group: dist.ProcessGroup | None = None) -> None:
        parts = torch.empty_like(whole)
        dist.all_to_all_single(parts, whole, group=group)
        first, *others = parts.view(self.size, *piece.shape).unbind()
        piece.copy_(first)
        for part in others:
            piece += part

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, in their order; anything that pickle takes, sent between own processes."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._told("an exchange"):
            dist.all_gather_object(values, value, group=self._control)
        return values

    def all_true(self, flag: bool) -> bool:
        """Return whether `flag` holds on every rank."""
        if self.size == 1:
            return flag
        holds = torch.tensor(int(flag))
        with self._told("a question"):
            dist.all_reduce(holds, op=dist.ReduceOp.MIN, group=self._control)
        return bool(holds)

    def first_before_others(self, function: Callable[[], Value]) -> Value:
        """Return what the function returns, called by rank 0 first: the others find what it has written."""
        if self.size == 1:
            return function()
        if self.is_first:
            value = function()
            self.wait()
            return value
        self.wait()
        return function()

    def wait(self) -> None:
        """Return when every rank has come here."""
        self.gather(None)

    def require_same(self, facts: Mapping[str, str], *, way_out: str) -> None:
        """Raise RanksDifferError with the name of the first fact that is not the same on all ranks."""
        own, *others = self.gather(dict(facts))
        for rank, other in enumerate(others, start=1):
            for name in [*own, *(each for each in other if each not in own)]:
                if own.get(name) != other.get(name):
                    raise RanksDifferError(
                        f"{name}: {own.get(name, 'nothing')} for rank 0, {other.get(name, 'nothing')} for rank {rank}",
                        wanted="the same in all processes of a run",
                        way_out=way_out,
                    )

    def require_equal(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise RanksDifferError with the name of the first tensor that is not the same bits on all ranks."""
        if self.size == 1:
            return
        hashes = {name: _hash_of(tensor) for name, tensor in tensors.items()}
        own, *others = self.gather(hashes)
        for rank, other in enumerate(others, start=1):
            if own != other:
                names = [*own, *(name for name in other if name not in own)]
                name = next(name for name in names if own.get(name) != other.get(name))
                raise RanksDifferError(
                    f"{name} differs between rank 0 and rank {rank}",
                    wanted="the same weights and extension states, bit for bit, in all processes of a run",
                    way_out="run the same command again, which resumes from the last checkpoint, written before they "
                    "differed; equal torch versions and processors on all machines keep sums equal",
                )

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn the failure of a collective into an error that names who is missing."""
        self._num_calls += 1
        if self._store is not None:
            self._store.set(f"mambrane/{self.rank}", str(self._num_calls))
        try:
            yield
        except RuntimeError as error:
            raise RankLostError(
                f"rank {self.rank} of {self.size} waited in vain in {what} of all ranks: {self._missing()} ({error})",
                wanted="every process of the run at work",
                way_out="look at what that process has printed; run the same command again, with any number of "
                "processes: it resumes from the last checkpoint",
            ) from error

    def _missing(self) -> str:
        """Return, in words, which ranks had not come to this call when it failed."""
        late = []
        for rank in range(self.size):
            num_calls = self._num_calls
            if self._store is not None:
                key = f"mambrane/{rank}"
                num_calls = int(self._store.get(key)) if self._store.check([key]) else 0
            if num_calls < self._num_calls:
                late.append(f"rank {rank}")
        return f"{', '.join(late)} did not come" if late else "a process ended or the connection broke"


ONE_RANK = Ranks()
"""One process alone."""


@contextmanager
def open_ranks(device: torch.device, *, timeout_s: float) -> Iterator[Ranks]:
    """Join the processes that torchrun has started; one process alone where it has not.

    Args:
        device: what this process trains on: gloo joins CPUs, nccl GPUs.
        timeout_s: how long a process waits for the others before it gives up, in seconds.

    Raises:
        RankLostError: the processes do not find each other in that time.
    """
    size = num_processes()
    if size == 1:
        yield ONE_RANK
        return
    timeout = timedelta(seconds=timeout_s)
    try:
        store, rank, size = next(iter(dist.rendezvous("env://", timeout=timeout)))
        backend = "nccl" if device.type == "cuda" else "gloo"
        # A run that torchrun starts again, and a second call in one process, find the same store: what was left there
        # before is not for them.
        start = f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}-{next(_OPENINGS)}"
        store = dist.PrefixStore(start, store)
        group_store = dist.PrefixStore("torch", store)
        dist.init_process_group(backend, store=group_store, rank=rank, world_size=size, timeout=timeout)
        control = None if backend == "gloo" else dist.new_group(backend="gloo", timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise RankLostError(
            f"the {size} processes of the run did not find each other: {error}",
            wanted="MASTER_ADDR and MASTER_PORT where all processes can reach them",
            way_out="start them with torchrun, which sets both",
        ) from error
    try:
        yield Ranks(rank, size, store=store, control=control)
    finally:
        dist.destroy_process_group()


def _hash_of(tensor: Tensor) -> str:
    numbers = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(numbers.numpy().tobytes()).hexdigest()
