"""Replay: buffered sequences of earlier tasks take the place of some new ones in each micro-batch.

Equal cost: a micro-batch keeps its number of rows, so runs with and without replay train on the same number of tokens.
The new sequences that make room are left out in that epoch; text is cut and shuffled anew in each epoch, so it comes
back. Rows are counted such that replay_fraction is met in the long run at any batch size; what has no room stays due.

Sequences enter the buffer as they are trained on, by reservoir sampling: of n sequences seen, each is kept with the
same probability. Only earlier tasks are replayed; the task that is being learned is remembered for later.

    strategy      buffer                                          drawn
    balanced      a reservoir for each task, of equal size        each earlier task alike, each of its sequences alike
    uniform       one reservoir over the whole stream             each remembered sequence of an earlier task alike
    importance    as balanced                                     in proportion to the loss a sequence last had

With the source "generated" no text is stored: when a task begins, the model as the last task left it writes sequences
itself (own_text_writing.py), which stand for that task from then on, in a buffer of their own whose shares shrink as
those of the stored ones. With "both", each buffer has half of the room and is drawn from in proportion to its weights.

The loss of a sequence is what it cost in the last applied step that it was part of, if that was finite. Which sequence
enters where says reservoir.py, with the sources; when rows are due, replay_clocks.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mambrane.continual.config import ContinualConfig
from mambrane.continual.own_text_writing import write_sequences
from mambrane.continual.replay_buffer import ReplayBuffer, bytes_per_sequence, stored_capacity
from mambrane.continual.replay_clocks import CLOCKS
from mambrane.continual.reservoir import fitting, index_in_share, index_in_whole, index_of_largest_task
from mambrane.continual.seen_losses import SeenLosses
from mambrane.core.seeding import make_generator
from mambrane.data.batch import MicroBatch, joined
from mambrane.engine.extensions import BoundaryView, StepChange, StepView, TakeUpView
from mambrane.engine.method import Method, Number
from mambrane.models.state import ModelOutput


class Replay(Method):
    """Batch mixer and boundary; after a step it shows how much was replayed.

    With the importance strategy it is also a loss term, one that only looks: what it saw enters the buffer after the
    step, so that a step that is not applied leaves no loss there.
    """

    name = "replay"
    across_ranks = True
    across_shards = True
    numbers = (
        Number("fraction", "replay: part of the rows that is replayed", "{} replayed text"),
        Number("sequences_remembered", "replay: sequences in memory"),
    )

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return whether the configuration turns it on."""
        return config.continual.use_replay

    @classmethod
    def build(cls, config: Any, model: nn.Module) -> "Replay":  # noqa: ANN401 -- a run's configuration
        """Return it for a run."""
        return cls(config.continual, sequence_length=config.data.sequence_length, seed=config.run.seed, model=model)

    @classmethod
    def kept_per_parameter(cls, config: Any) -> int:  # noqa: ANN401 -- a run's configuration
        """Return the weights after the last step, where time is told by updates."""
        return int(config.continual.replay_timing == "updates")

    @classmethod
    def kept_bytes(cls, config: Any) -> int:  # noqa: ANN401 -- a run's configuration
        """Return what the buffer takes."""
        return config.continual.replay_buffer_size * bytes_per_sequence(config.data.sequence_length)

    def __init__(
        self, config: ContinualConfig, *, sequence_length: int, seed: int, model: nn.Module | None = None
    ) -> None:
        """Remember nothing yet. The model writes, where the source is not memory alone."""
        self.config = config
        self.model = model
        self.sequence_length = sequence_length
        self.clock = CLOCKS[config.replay_timing]()
        self.buffer = ReplayBuffer(stored_capacity(config), sequence_length)
        """Text that was learned."""
        self.written = ReplayBuffer(config.replay_buffer_size - self.buffer.capacity, sequence_length)
        """Text that the model wrote."""
        self.end_of_text = -1
        """The token that starts each document; -1 in the first task, where nothing is written."""
        self.task_index = 0
        self.num_seen: list[int] = [0]
        """Sequences seen by the reservoir, by task."""
        self.rows_seen: float = 0
        """Rows of micro-batches mixed since there are earlier tasks, each times the pace at which time went."""
        self.rows_replayed = 0
        self._rows_since_step = self._replayed_since_step = 0
        self._seen = SeenLosses()
        self._drawn: list[MicroBatch] = []
        """Rows replayed since the step opened, whose places new text may have taken; not saved, as steps are whole."""
        self._generator = make_generator(seed, "replay")

    def mix(self, batch: MicroBatch) -> MicroBatch:
        """Return the batch with its last rows replaced by buffered sequences, once there are earlier tasks."""
        self._write_own_text(batch)
        num_rows = batch.inputs_BT.shape[0]
        num_replayed = self._rows_to_replay(num_rows)
        new = batch.rows(slice(num_rows - num_replayed))
        if num_replayed:
            drawn = self._draw(num_replayed)
            self._drawn.append(drawn)
            batch = joined(new, drawn.to(batch.inputs_BT.device))
        self._offer(new)
        self._rows_since_step += num_rows
        self._replayed_since_step += num_replayed
        return batch

    def undo_point(self) -> Callable[[], None]:
        """Return what undoes every `mix` from here on. The buffer drops its new sequences; it is not copied."""
        self._drawn = []
        undo_buffer, undo_written, counts = self.buffer.undo_point(), self.written.undo_point(), self._counts()

        def undo() -> None:
            undo_buffer()
            undo_written()
            self._load_counts(counts)

        return undo

    def term(self, model: nn.Module, output: ModelOutput, batch: MicroBatch) -> Tensor | None:
        """Add nothing; look at the loss of each sequence. A micro-batch that runs again is seen as it ran last."""
        if self.config.replay_strategy == "importance":
            self._seen.look(self.buffer.fingerprints_of(batch), output, batch)
        return None

    def after_step(self, view: StepView) -> StepChange:
        """Note the losses seen; shows the share of rows replayed since the last applied step, and the fill."""
        if self.config.replay_strategy == "importance":
            self._record_losses(view)
        self.clock.after_step(view)
        fraction = self._replayed_since_step / max(1, self._rows_since_step)
        self._rows_since_step = self._replayed_since_step = 0
        return StepChange({"fraction": fraction, "sequences_remembered": float(self.buffer.size + self.written.size)})

    def revocation_point(self) -> Callable[[], None]:
        """Return what brings the losses, and the counts since the last applied step, back."""
        losses = [(buffer, buffer.losses.clone()) for buffer in (self.buffer, self.written)]
        counts, seen = (self._rows_since_step, self._replayed_since_step), self._seen.copy()
        clock = vars(self.clock).copy()  # It sets what it knows anew and changes nothing in place.

        def take_back() -> None:
            for buffer, held in losses:
                buffer.losses.copy_(held)
            (self._rows_since_step, self._replayed_since_step), self._seen = counts, seen
            vars(self.clock).update(clock)

        return take_back

    def _record_losses(self, view: StepView) -> None:
        """Note the finite losses of the step on all ranks, and forget what was seen of steps that were not applied."""
        losses: dict[int, float] = {}
        applied = [self.buffer.fingerprints_of(batch) for batch in view.micro_batches]
        for of_rank in view.ranks.gather(self._seen.take(applied)):
            losses |= of_rank
        for buffer in (self.buffer, self.written):
            buffer.record_losses(losses)

    def boundary(self, view: BoundaryView) -> None:
        """Count the ended task among the earlier ones."""
        # A loader of another kind may not say it; then the first document that is read does.
        self.end_of_text = getattr(view.loader, "end_of_text", self.end_of_text)
        self._begin_task(view.task_index + 1)

    def take_up(self, view: TakeUpView) -> None:
        """Remember from the next task on; the tasks before were not seen."""
        self.end_of_text = view.end_of_text
        self._begin_task(view.num_learned)
        self.clock.forget_weights()

    def before_put_back(self, weights: Mapping[str, Tensor]) -> None:
        """Let the way to these weights be no update."""
        self.clock.forget_weights()

    def _begin_task(self, index: int) -> None:
        self.task_index = index
        self.clock.begin_task()
        self.num_seen += [0] * (index + 1 - len(self.num_seen))

    def replays(self, fingerprints_B: Tensor) -> Tensor:
        """Return which sequences of the step, given by fingerprint, stand for an earlier task, [B].

        They are of one, were written by the model, or were replayed in this step from a place that is taken since.
        """
        place_B, is_replayed_B = self.buffer.places_of(fingerprints_B), self.written.places_of(fingerprints_B) >= 0
        is_stored_B = place_B >= 0
        is_replayed_B[is_stored_B] |= self.buffer.tasks[place_B[is_stored_B]] < self.task_index
        if self._drawn:
            drawn_N = torch.cat([self.buffer.fingerprints_of(rows) for rows in self._drawn])
            is_replayed_B |= torch.isin(fingerprints_B, drawn_N)
        return is_replayed_B

    def _rows_to_replay(self, num_rows: int) -> int:
        if not any(buffer.has_before(self.task_index) for buffer in (self.buffer, self.written)):
            return 0
        self.rows_seen += num_rows * self.clock.pace
        num_replayed = max(0, min(self._rows_due() - self.rows_replayed, num_rows))
        self.rows_replayed += num_replayed
        return num_replayed

    def _rows_due(self) -> int:
        # The small number keeps a product such as 0.7 * 10 from falling just short of a whole row.
        return int(self.config.replay_fraction * self.rows_seen + 1e-6)

    def _draw(self, num_rows: int) -> MicroBatch:
        strategy, task = self.config.replay_strategy, self.task_index
        weights = self.buffer.weights(strategy, task)
        if self.written.size:
            weights = torch.cat([weights, self.written.weights(strategy, task)])
        too_few = bool(np.count_nonzero(weights.numpy() > 0) < num_rows)
        drawn = torch.multinomial(weights, num_rows, too_few, generator=self._generator)
        if not self.written.size:
            return self.buffer.read(drawn)
        from_buffer, from_written = drawn[drawn < self.buffer.size], drawn[drawn >= self.buffer.size] - self.buffer.size
        return joined(self.buffer.read(from_buffer), self.written.read(from_written))

    def _write_own_text(self, batch: MicroBatch) -> None:
        """Let the model write, where its text of the last task is not there yet: it is still as that task left it."""
        if self.written.capacity == 0:
            return
        if self.end_of_text < 0 and batch.resets_BT.any():
            self.end_of_text = int(batch.inputs_BT[batch.resets_BT][0])
        last_task = self.task_index - 1
        if last_task < 0 or self.end_of_text < 0 or len(self.written.indices_of(last_task)):
            return
        assert self.model is not None, "without a model the source is memory"
        share = max(1, self.written.capacity // (len(self.written.tasks.unique()) + 1))
        sequences = write_sequences(
            self.model, share, self.sequence_length, end_of_text=self.end_of_text, generator=self._generator
        )
        for row in range(share):
            is_full = self.written.size == self.written.capacity
            index = index_of_largest_task(self.written, self._generator) if is_full else self.written.size
            self.written.write(index, sequences, last_task, row=row)

    def _offer(self, sequences: MicroBatch) -> None:
        """Show new sequences to the reservoir, one after the other; it keeps each or not."""
        if self.buffer.capacity == 0:
            return
        sequences = sequences.to("cpu")
        for row in range(len(sequences.inputs_BT)):
            self.num_seen[self.task_index] += 1
            if self.config.replay_strategy == "uniform":
                index = index_in_whole(self.buffer, sum(self.num_seen), self._generator)
            else:
                index = index_in_share(self.buffer, self.task_index, self.num_seen[self.task_index], self._generator)
            if index is not None:
                self.buffer.write(index, sequences, self.task_index, row=row)

    def state_dict(self) -> dict[str, Any]:
        """Return the buffer, every counter and the generator."""
        written = {"written": self.written.state_dict()} if self.written.capacity else {}
        return {"buffer": self.buffer.state_dict(), **written, "clock": self.clock.state_dict(), **self._counts()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; a memory that is larger than this one's room gives up sequences, the largest task first."""
        self._load_counts(state)
        if state.get("fraction") != self.config.replay_fraction:
            # Nothing is owed, or was replayed ahead, by the fraction of before, which earlier versions did not save.
            self.rows_replayed = self._rows_due()
        self.buffer.load_state_dict(fitting(state["buffer"], self.buffer.capacity, self._generator))
        if "written" in state:
            self.written.load_state_dict(fitting(state["written"], self.written.capacity, self._generator))
        clock = state.get("clock", {})
        if clock.keys() == self.clock.state_dict().keys():  # That of another timing says nothing here.
            self.clock.load_state_dict(clock)

    def _counts(self) -> dict[str, Any]:
        return {
            "fraction": self.config.replay_fraction,
            "task_index": self.task_index,
            "num_seen": list(self.num_seen),
            "rows_seen": self.rows_seen,
            "rows_replayed": self.rows_replayed,
            "rows_since_step": self._rows_since_step,
            "replayed_since_step": self._replayed_since_step,
            "generator": self._generator.get_state(),
            "end_of_text": self.end_of_text,
        }

    def _load_counts(self, state: dict[str, Any]) -> None:
        self._seen = SeenLosses()
        self.task_index = state["task_index"]
        self.end_of_text = state.get("end_of_text", -1)
        self.num_seen = list(state["num_seen"])
        self.rows_seen = state["rows_seen"]
        self.rows_replayed = state["rows_replayed"]
        self._rows_since_step = state["rows_since_step"]
        self._replayed_since_step = state["replayed_since_step"]
        self._generator.set_state(state["generator"])
