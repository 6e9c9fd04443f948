"""Replay: remembered windows of earlier tasks take the place of some new ones in each micro-batch.

Equal cost: a micro-batch keeps its number of rows, so runs with and without replay train on the same number of tokens.
The new windows that make room are left out in that epoch; text is cut and shuffled anew in each epoch, so it comes
back. Rows are counted such that replay_fraction is met in the long run at any batch size.

Windows are remembered as they are trained on, by reservoir sampling: of n windows offered, each is kept with the same
probability. Only earlier tasks are replayed; the task that is being learned is remembered for later.

    strategy      memory                                          drawn
    balanced      a reservoir for each task, of equal size        each earlier task alike, each of its windows alike
    uniform       one reservoir over the whole stream             each remembered window of an earlier task alike
    importance    as balanced                                     in proportion to the loss a window last had

The loss of a window is what it cost in the last applied step that it was part of, if that was finite.

Sources: Vitter, Random Sampling with a Reservoir, ACM TOMS 11 (1985), algorithm R; a share for each task by default as
in Avalanche's ExperienceBalancedBuffer (Carta et al., JMLR 24, 2023).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.continual.config import ContinualConfig
from mambrane.continual.memory import Memory
from mambrane.core.seeding import make_generator
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import BoundaryView, StepChange, StepView
from mambrane.engine.method import Method, Number
from mambrane.engine.objective import nats_of
from mambrane.models.state import ModelOutput


class Replay(Method):
    """Batch mixer and boundary; after a step it shows how much was replayed.

    With the importance strategy it is also a loss term, one that only looks: what it saw enters the memory after the
    step, so that a window that is not applied leaves no loss there.
    """

    name = "replay"
    numbers = (
        Number("fraction", "replay: part of the rows that is replayed", "{} replayed text"),
        Number("windows_remembered", "replay: sequences in memory"),
    )

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return whether the configuration turns it on."""
        return config.continual.use_replay

    @classmethod
    def build(cls, config: Any, model: nn.Module) -> "Replay":  # noqa: ANN401 -- a run's configuration
        """Return it for a run."""
        return cls(config.continual, sequence_length=config.data.sequence_length, seed=config.run.seed)

    def __init__(self, config: ContinualConfig, *, sequence_length: int, seed: int) -> None:
        self.config = config
        self.memory = Memory(config.replay_buffer_size, sequence_length)
        self.task_index = 0
        self.num_offered: list[int] = [0]
        """Windows offered to the memory, by task."""
        self.rows_seen = 0
        """Rows of micro-batches mixed since there are earlier tasks."""
        self.rows_replayed = 0
        self._rows_since_step = 0
        self._replayed_since_step = 0
        self._seen: dict[int, float] = {}
        """Loss of each window since the last applied step, by its fingerprint; not saved, as only the losses of the
        window that is applied are used."""
        self._generator = make_generator(seed, "replay")

    def mix(self, batch: MicroBatch) -> MicroBatch:
        """Return the batch with its last rows replaced by remembered windows, once there are earlier tasks."""
        num_rows = batch.inputs_BT.shape[0]
        num_replayed = self._rows_to_replay(num_rows)
        new = MicroBatch(*(part[: num_rows - num_replayed] for part in batch))
        mixed = self._joined(new, self._draw(num_replayed)) if num_replayed else batch
        self._offer(new)
        self._rows_since_step += num_rows
        self._replayed_since_step += num_replayed
        return mixed

    def undo_point(self) -> Callable[[], None]:
        """Return what undoes every `mix` from here on. The memory takes its new windows out again; it is not copied."""
        undo_memory, counts = self.memory.undo_point(), self._counts()

        def undo() -> None:
            undo_memory()
            self._load_counts(counts)

        return undo

    def term(self, model: nn.Module, output: ModelOutput, batch: MicroBatch) -> Tensor | None:
        """Add nothing; look at the loss of each window. A micro-batch that runs again is seen as it ran last."""
        if self.config.replay_strategy != "importance":
            return None
        with torch.no_grad():
            nats_BT = nats_of(output, batch)
            num_targets_B = (batch.targets_BT != IGNORED_TARGET).sum(dim=1).clamp(min=1)
            losses_B = nats_BT.sum(dim=1) / num_targets_B
        self._seen |= zip(self.memory.fingerprints_of(batch).tolist(), losses_B.tolist(), strict=True)
        return None

    def after_step(self, view: StepView) -> StepChange:
        """Note the losses seen; shows the share of rows replayed since the last applied window, and the fill."""
        if self._seen:
            self._record_losses(view.micro_batches)
        fraction = self._replayed_since_step / max(1, self._rows_since_step)
        self._rows_since_step = self._replayed_since_step = 0
        return StepChange({"fraction": fraction, "windows_remembered": float(self.memory.size)})

    def _record_losses(self, micro_batches: list[MicroBatch]) -> None:
        """Note the finite losses of these micro-batches, and forget what was seen of windows that were not applied."""
        applied = {number for batch in micro_batches for number in self.memory.fingerprints_of(batch).tolist()}
        seen, self._seen = self._seen, {}
        self.memory.record_losses({n: loss for n, loss in seen.items() if n in applied and math.isfinite(loss)})

    def boundary(self, view: BoundaryView) -> None:
        """Count the ended task among the earlier ones."""
        self.task_index = view.task_index + 1
        self.num_offered.append(0)

    def _rows_to_replay(self, num_rows: int) -> int:
        if not (self.memory.tasks < self.task_index).any():
            return 0
        self.rows_seen += num_rows
        # The small number keeps a product such as 0.7 * 10 from falling just short of a whole row.
        num_replayed = int(self.config.replay_fraction * self.rows_seen + 1e-6) - self.rows_replayed
        self.rows_replayed += num_replayed
        return num_replayed

    def _draw(self, num_rows: int) -> MicroBatch:
        weights = self._weights()
        too_few = int((weights > 0).sum()) < num_rows
        return self.memory.read(torch.multinomial(weights, num_rows, too_few, generator=self._generator))

    def _weights(self) -> Tensor:
        """Return how likely each slot is to be drawn, up to a factor; 0 for the task that is being learned."""
        tasks, losses = self.memory.tasks, self.memory.losses
        is_earlier = (tasks < self.task_index).float()
        if self.config.replay_strategy == "balanced":
            return is_earlier / tasks.bincount()[tasks]
        if self.config.replay_strategy == "importance":
            # A window without a known loss counts as an average one; a loss of zero would never be seen again.
            is_known = losses.isfinite()
            average = losses[is_known].mean() if is_known.any() else torch.ones(())
            return is_earlier * torch.where(is_known, losses, average).clamp(min=1e-6)
        return is_earlier

    def _offer(self, windows: MicroBatch) -> None:
        """Show new windows to the reservoir, one after the other; it keeps each or not."""
        next_slot = self._slot_in_stream if self.config.replay_strategy == "uniform" else self._slot_in_task
        for row in range(len(windows.inputs_BT)):
            self.num_offered[self.task_index] += 1
            slot = next_slot()
            if slot is not None:
                self.memory.write(slot, MicroBatch(*(part[row : row + 1] for part in windows)), self.task_index)

    def _slot_in_stream(self) -> int | None:
        if self.memory.size < self.memory.capacity:
            return self.memory.size
        lot = self._random_below(sum(self.num_offered))
        return lot if lot < self.memory.capacity else None

    def _slot_in_task(self) -> int | None:
        """Return a slot from the task's share of the memory; earlier tasks give up what is above theirs."""
        share = max(1, self.memory.capacity // (self.task_index + 1))
        own = self.memory.slots_of(self.task_index)
        if len(own) == share:
            lot = self._random_below(self.num_offered[self.task_index])
            return int(own[lot]) if lot < share else None
        if self.memory.size < self.memory.capacity:
            return self.memory.size
        largest = self.memory.slots_of(int(self.memory.tasks.bincount().argmax()))
        return int(largest[self._random_below(len(largest))])

    def _random_below(self, end: int) -> int:
        return int(torch.randint(end, (), generator=self._generator))

    @staticmethod
    def _joined(new: MicroBatch, remembered: MicroBatch) -> MicroBatch:
        device = new.inputs_BT.device
        return MicroBatch(*(torch.cat(parts) for parts in zip(new, remembered.to(device), strict=True)))

    def state_dict(self) -> dict[str, Any]:
        """Return the memory, every counter and the generator."""
        return {"memory": self.memory.state_dict(), **self._counts()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; raises ValueError when the memory does not fit."""
        self.memory.load_state_dict(state["memory"])
        self._load_counts(state)

    def _counts(self) -> dict[str, Any]:
        return {
            "task_index": self.task_index,
            "num_offered": list(self.num_offered),
            "rows_seen": self.rows_seen,
            "rows_replayed": self.rows_replayed,
            "rows_since_step": self._rows_since_step,
            "replayed_since_step": self._replayed_since_step,
            "generator": self._generator.get_state(),
        }

    def _load_counts(self, state: dict[str, Any]) -> None:
        self._seen = {}
        self.task_index = state["task_index"]
        self.num_offered = list(state["num_offered"])
        self.rows_seen = state["rows_seen"]
        self.rows_replayed = state["rows_replayed"]
        self._rows_since_step = state["rows_since_step"]
        self._replayed_since_step = state["replayed_since_step"]
        self._generator.set_state(state["generator"])
