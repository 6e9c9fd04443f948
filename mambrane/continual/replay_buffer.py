"""The replay buffer: sequences of earlier text, each with its task and the loss it last had.

Tokens are kept as int32. A sequence is found again by its fingerprint, a 64-bit polynomial of its tokens.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from mambrane.continual.config import ContinualConfig
from mambrane.core.seeding import make_generator
from mambrane.data.batch import MicroBatch

Indices = Int64[Tensor, " N"]


def stored_capacity(config: ContinualConfig) -> int:
    """Return for how many sequences of text that was learned there is room; the rest is for text that models write."""
    shares = {"memory": config.replay_buffer_size, "generated": 0, "both": config.replay_buffer_size // 2}
    return shares[config.replay_source]


def bytes_per_sequence(sequence_length: int) -> int:
    """Return what a buffer takes for a sequence: tokens and targets as int32, resets, task, loss and fingerprint."""
    return 9 * sequence_length + 20


class ReplayBuffer:
    """Up to `capacity` sequences of `sequence_length` tokens, on the CPU."""

    def __init__(self, capacity: int, sequence_length: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._inputs = torch.zeros(capacity, sequence_length, dtype=torch.int32)
        self._targets = torch.zeros(capacity, sequence_length, dtype=torch.int32)
        self._resets = torch.zeros(capacity, sequence_length, dtype=torch.bool)
        self._tasks = torch.zeros(capacity, dtype=torch.int64)
        self._losses = torch.zeros(capacity, dtype=torch.float32)
        self._fingerprints = torch.zeros(capacity, dtype=torch.int64)
        # The same memory: what is done row by row in every step would cost torch several times as long.
        self._arrays = {name: column.numpy() for name, column in self._columns().items()}
        generator = make_generator(0, "fingerprint")
        multipliers_T = torch.randint(1 << 62, (sequence_length,), generator=generator) * 2 + 1
        self._multipliers_T = multipliers_T.numpy()
        self._multipliers = {multipliers_T.device: multipliers_T}
        """Of the polynomial, on each device that has asked: a GPU would wait for a copy."""
        self._overwritten: list[tuple[int, list[np.ndarray]]] = []
        """Indices written to since the last undo point and what they held, in the order of writing."""

    @property
    def tasks(self) -> Indices:
        """The task of each remembered sequence."""
        return self._tasks[: self.size]

    @property
    def losses(self) -> Float32[Tensor, " N"]:
        """The loss, in nats per token, that each remembered sequence last had; nan where it is not known."""
        return self._losses[: self.size]

    @property
    def fingerprints(self) -> Int64[Tensor, " N"]:
        """The fingerprint of each remembered sequence."""
        return self._fingerprints[: self.size]

    def places_of(self, fingerprints_B: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """Return the index of each sequence, given by fingerprint; -1 where it is not remembered."""
        if self.size == 0:
            return torch.full_like(fingerprints_B, -1)
        is_same_BN = fingerprints_B[:, None] == self.fingerprints
        return torch.where(is_same_BN.any(dim=1), is_same_BN.int().argmax(dim=1), -1)

    def indices_of(self, task: int) -> Indices:
        """Return the indices that hold sequences of a task."""
        return (self.tasks == task).nonzero().flatten()

    def count_of(self, task: int) -> int:
        """Return how many sequences of a task are remembered."""
        return int(np.count_nonzero(self._arrays["tasks"][: self.size] == task))

    def has_before(self, task: int) -> bool:
        """Return whether sequences of earlier tasks are remembered."""
        return bool((self._arrays["tasks"][: self.size] < task).any())

    def weights(self, strategy: str, task: int) -> Tensor:
        """Return how likely each sequence is to be drawn by a strategy, up to a factor; 0 from this task on."""
        if strategy == "balanced":
            tasks_N = self.tasks.numpy()
            return torch.from_numpy((tasks_N < task) / np.bincount(tasks_N).astype(np.float32)[tasks_N])
        is_earlier = (self.tasks < task).float()
        if strategy == "importance":
            # A sequence without a known loss counts as an average one; a loss of zero would never be seen again.
            losses, is_known = self.losses, self.losses.isfinite()
            average = losses[is_known].mean() if is_known.any() else torch.ones(())
            return is_earlier * torch.where(is_known, losses, average).clamp(min=1e-6)
        return is_earlier

    def write(self, index: int, sequences: MicroBatch, task: int, *, row: int = 0) -> None:
        """Put a row of a micro-batch at an index; index `size` is the next free one."""
        assert index <= self.size < self.capacity or index < self.size, f"index {index} of {self.size}"
        arrays = self._arrays
        if index < self.size:
            self._overwritten.append((index, [column[index].copy() for column in arrays.values()]))
        inputs_T = sequences.inputs_BT.numpy(force=True)[row]
        arrays["inputs"][index] = inputs_T
        arrays["targets"][index] = sequences.targets_BT.numpy(force=True)[row]
        arrays["resets"][index] = sequences.resets_BT.numpy(force=True)[row]
        arrays["tasks"][index] = task
        arrays["losses"][index] = np.nan
        # As `fingerprints_of`.
        arrays["fingerprints"][index] = (inputs_T * self._multipliers_T).sum()
        self.size = max(self.size, index + 1)

    def undo_point(self) -> Callable[[], None]:
        """Return what undoes every `write` from here on; it is good until the next undo point is taken."""
        size = self.size
        overwritten: list[tuple[int, list[np.ndarray]]] = []
        self._overwritten = overwritten

        def undo() -> None:
            for index, row in reversed(overwritten):
                for column, value in zip(self._arrays.values(), row, strict=True):
                    column[index] = value
            self.size = size

        return undo

    def read(self, indices: Indices) -> MicroBatch:
        """Return the sequences at some indices, one a row."""
        rows, arrays = indices.numpy(), self._arrays
        inputs_BT, targets_BT = (arrays[name][rows].astype(np.int64) for name in ("inputs", "targets"))
        return MicroBatch(*map(torch.from_numpy, (inputs_BT, targets_BT, arrays["resets"][rows])))

    def record_losses(self, losses: dict[int, float]) -> None:
        """Note the loss of each remembered sequence, given by fingerprint; the others are passed over."""
        fingerprints_B = torch.tensor(list(losses), dtype=torch.int64)
        indices, rows = (self._fingerprints[: self.size, None] == fingerprints_B).nonzero(as_tuple=True)
        self._losses[indices] = torch.tensor(list(losses.values()), dtype=torch.float32)[rows]

    def fingerprints_of(self, sequences: MicroBatch) -> Int64[Tensor, " B"]:
        """Return a number for each sequence by which it is found again, on the device of the sequences."""
        device = sequences.inputs_BT.device
        if device not in self._multipliers:
            self._multipliers[device] = self._multipliers[torch.device("cpu")].to(device)
        # Wraps around at 64 bits, which is meant: a hash modulo 2^64.
        return (sequences.inputs_BT * self._multipliers[device]).sum(dim=1)

    def state_dict(self) -> dict[str, Any]:
        """Return the indices in use."""
        return {name: tensor[: self.size] for name, tensor in self._columns().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the indices back; raises ValueError when they do not fit."""
        size, length = state["inputs"].shape
        if size > self.capacity or length != self._inputs.shape[1]:
            raise ValueError(
                f"saved replay buffer: {size} sequences of {length} tokens; "
                f"this run has room for {self.capacity} of {self._inputs.shape[1]}"
            )
        self.size = size
        for name, column in self._columns().items():
            column[:size] = state[name]

    def _columns(self) -> dict[str, Tensor]:
        return {
            "inputs": self._inputs,
            "targets": self._targets,
            "resets": self._resets,
            "tasks": self._tasks,
            "losses": self._losses,
            "fingerprints": self._fingerprints,
        }
