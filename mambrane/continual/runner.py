"""The loop over tasks, resumable at every point.

    evaluate row 0
    for each task:
        begin                      the learning rate rises anew
        for each epoch of the task, for each step (engine/step.py):
            accumulate, reduce, divide, clip, apply, after-step
            save, every `save_every` applied steps
        boundary                   replay, regularizer, distillation and meta-plasticity look back
        evaluate                   every domain: a row of the matrix
        save

It is saved when it is stopped, too. Stopped or killed, it goes on from there and ends with the same weights and matrix.

A stream stays open: `extend` adds tasks behind those that are learned; a new domain is measured before its task. With
terms a task is a transaction: when its row is measured it is kept, or everything that it changed is put back to the
checkpoint from before it (docs/decisions/open-stream.md).
"""

import copy
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from torch import nn

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.measure import BITS_PER_BYTE, Measure, Measurement
from mambrane.continual.outcome import Outcome, StopError
from mambrane.continual.patience import Patience
from mambrane.continual.row_evaluation import RowEvaluation
from mambrane.continual.step_event import step_event
from mambrane.continual.stream import Stream, Task, hashes_of, refuse_another_tokenizer, refuse_changed_text
from mambrane.continual.task_file import write_tasks
from mambrane.continual.task_records import attempt_record, task_records
from mambrane.continual.terms import Terms, Verdict
from mambrane.core.events import EventLog
from mambrane.data.domains import Domain
from mambrane.data.loader import SequenceLoader
from mambrane.engine.config import EngineConfig
from mambrane.engine.epoch import EpochLoss
from mambrane.engine.step_result import StepResult
from mambrane.engine.trainer import Trainer
from mambrane.engine.transaction import StepState, TailPolicy


def _no_storage(*arguments: object) -> None:
    """Do nothing, for a run without checkpoints."""


class Phase(StrEnum):
    """What the run does next; where a resumed run takes the loop up."""

    EVALUATE = "evaluate"
    BEGIN = "begin"
    TRAIN = "train"
    BOUNDARY = "boundary"
    DONE = "done"


class Runner:
    """Drives the trainer through the stream of tasks."""

    def __init__(
        self,
        stream: Stream,
        trainer: Trainer,
        *,
        make_loader: Callable[[Task], SequenceLoader],
        evaluate: Callable[[nn.Module, Domain], Measurement],
        measure: Measure = BITS_PER_BYTE,
        training_numbers: Callable[[float, Task], dict[str, float]] = lambda loss, task: {},
        save: Callable[[], None],
        poll_save: Callable[[], object] = lambda: None,
        events: EventLog,
        matrix_path: Path | None = None,
        max_steps: int = 0,
        reference: Sequence[Domain] = (),
        terms: Terms | None = None,
        pin: Callable[[int | None], object] = _no_storage,
        put_back: Callable[[int, dict[str, Any]], object] = _no_storage,
        evaluate_untrained: Callable[[Domain], Measurement] | None = None,
        tasks_path: Path | None = None,
    ) -> None:
        """Take the collaborators; nothing runs yet.

        Args:
            stream: tasks and domains.
            trainer: the engine; a stop also stops the runner between two domains of an evaluation.
            make_loader: returns a fresh loader of a task's text.
            evaluate: measures the model on a domain's held-out text, drawing nothing at random.
            measure: what it measures.
            training_numbers: what else a training loss in nats per target says, by name.
            save: writes a checkpoint of the trainer and this runner; may go on writing after it has returned.
            poll_save: called after each step; reports a save that has ended meanwhile, or raises its error.
            events: receives what happens, each kind under its own name.
            matrix_path: where matrix.json is kept up to date.
            max_steps: applied steps of the whole run after which to stop; 0 never.
            reference: text outside the tasks, measured beside each row of the matrix.
            terms: on which a task is kept; None keeps every task.
            pin: keeps the checkpoint of a step from being pruned, until it is called again; None is no step.
            put_back: makes the checkpoint of a step the newest again, with this state of the runner, and brings the
                trainer to it.
            evaluate_untrained: measures the untrained model on a domain, for row 0 of one that comes later; None where
                there is no such model any more.
            tasks_path: where tasks.json is kept up to date.
        """
        self.stream = stream
        self.trainer = trainer
        self.make_loader = make_loader
        self.row_evaluation = RowEvaluation(
            trainer, evaluate, evaluate_untrained=evaluate_untrained, reference=reference, events=events
        )
        self.training_numbers = training_numbers
        self.save = save
        self.poll_save = poll_save
        self.events = events
        self.matrix_path = matrix_path
        self.max_steps = max_steps
        self.terms = terms or Terms()
        self.pin = pin
        self.put_back = put_back
        self.tasks_path = tasks_path
        self.matrix = ForgettingMatrix(
            [domain.name for domain in stream.domains],
            len(stream.tasks),
            measure,
            task_columns=[task.columns for task in stream.tasks],
        )
        self.matrix.is_of_one_model = not any(task.starts_over for task in stream.tasks)
        self._fresh_state = None if self.matrix.is_of_one_model else copy.deepcopy(trainer.state_dict())
        self.phase = Phase.EVALUATE
        self.num_learned = 0
        """Tasks whose boundary is behind; also the row of the matrix that comes next."""
        self.steps_closed = 0
        """Steps closed in the task that is being learned."""
        self.loader: SequenceLoader | None = None
        """Text of the task that is being learned; None outside TRAIN and BOUNDARY."""
        self.steps_taken: list[int] = []
        """Steps closed in each learned task."""
        self.attempts: list[dict[str, Any]] = []
        """Tasks that were learned and taken back."""
        self.base_step: int | None = None
        """Step of the checkpoint before the task that is being learned, if the task may be taken back."""
        self.patience = Patience(trainer.config.patience)
        self.is_untouched = False
        """Whether nothing was learned since tasks were added: then the newest checkpoint says all that there is."""

    @property
    def task(self) -> Task:
        """The task that is being learned, or comes next."""
        return self.stream.tasks[self.num_learned]

    def extend(self, tasks: Sequence[Task], domains: Sequence[Domain]) -> None:
        """Add tasks to a run that has learned all it had, and domains that are new with them."""
        assert self.phase is Phase.DONE, "tasks are added to a run that has none left"
        self.stream = self.stream.extended(tasks, domains)
        first_new = len(self.matrix.domains)
        self.matrix.grow([domain.name for domain in domains], [task.columns for task in tasks])
        for column in range(first_new, len(self.matrix.domains)):
            for row in range(1, self.num_learned):
                self.matrix.leave_empty(row, column, "its text was not there yet")
            if self.row_evaluation.evaluate_untrained is None:
                self.matrix.leave_empty(0, column, "the weights from before the first task are not kept")
        self.phase = Phase.EVALUATE
        self.is_untouched = True

    def run(self) -> Outcome:
        """Go on from where the state is to the end, or until something asks to stop."""
        if self.matrix.has_values:
            self._publish_matrix()
        if self.phase is Phase.TRAIN:
            self._announce_task()
        num_attempts = len(self.attempts)
        try:
            while self.phase is not Phase.DONE:
                if self.phase is Phase.BEGIN:
                    self._begin_task()
                if self.phase is Phase.TRAIN:
                    self._train()
                if self.phase is Phase.BOUNDARY:
                    self._end_task()
                self._evaluate_row()
                self._close_row()
        except StopError as stop:
            if not self.is_untouched:
                self.save()
            self.events.emit("stopped", reason=str(stop))
            return Outcome(False, str(stop))
        self.events.emit("run_finished", step=self.trainer.counters.applied)
        taken_back = tuple(attempt["name"] for attempt in self.attempts[num_attempts:])
        return Outcome(True, "finished", taken_back=taken_back)

    def _begin_task(self) -> None:
        """Open the task's text and let the learning rate rise anew; a task with a model of its own gets a new one."""
        if self.terms.are_set:
            gone = [column for column, domain in enumerate(self.stream.domains) if not domain.is_measurable]
            self.terms.check_before(self.matrix, self.num_learned, gone)
            self.base_step = self.trainer.counters.applied
            self.pin(self.base_step)
        self.is_untouched = False
        self.patience.begin_task()
        if self.task.starts_over and self._fresh_state is not None:
            # What counts steps and draws numbers goes on: checkpoints are known by their step.
            ongoing = {name: self.trainer.state_dict()[name] for name in ("counters", "random")}
            self.trainer.load_state_dict({**self._fresh_state, **ongoing})
        self.loader = self.make_loader(self.task)
        self.steps_closed = 0
        self.trainer.begin_task(self._steps_of(self.task))
        self._announce_task()
        self.phase = Phase.TRAIN

    def _train(self) -> None:
        """Take every step of the task's epochs that is left."""
        loader = self._open_loader
        while loader.epoch < self.task.num_epochs:
            self._measure_epoch()
            if self.patience.is_at_rest:
                self.events.emit("task_at_rest", task=self.task.index, **self.patience.rest_event(self.task.name))
                break
            epoch, loss = loader.epoch, EpochLoss()
            self._stop_at_limit()
            started_s = time.perf_counter()
            for result in self.trainer.steps(loader):
                loss.add(result)
                self._close_step(result, epoch, time.perf_counter() - started_s)
                if loader.epoch == epoch:
                    self._stop_at_limit()
                started_s = time.perf_counter()
            if self.trainer.was_stopped:
                raise StopError("a stop was asked for")
            self.events.emit("epoch_finished", task=self.task.index, epoch=epoch, loss=loss.mean)
        self._measure_epoch()
        self.phase = Phase.BOUNDARY

    def _measure_epoch(self) -> None:
        """Measure the task's own held-out text where an epoch has ended since; a stop in between takes nothing away."""
        if not self.patience.is_on or self.patience.num_measured == self._open_loader.epoch:
            return
        if self.trainer.stop_is_asked():
            raise StopError("a stop was asked for")
        with self.trainer.evaluation():
            domains = [self.stream.domains[column] for column in self.task.columns]
            values = [self.row_evaluation.evaluate(self.trainer.model, domain).value for domain in domains]
        event = self.patience.note(sum(values) / len(values), self.matrix.measure, self.trainer)
        self.events.emit("epoch_measured", task=self.task.index, **event)

    @property
    def _open_loader(self) -> SequenceLoader:
        assert self.loader is not None, "a task that is trained has its text open"
        return self.loader

    def _stop_at_limit(self) -> None:
        if 0 < self.max_steps <= self.trainer.counters.applied:
            raise StopError(f"--max-steps {self.max_steps} reached")

    def _close_step(self, result: StepResult, epoch: int, seconds: float) -> None:
        if result.state is StepState.ABORTED:
            return
        self.steps_closed += 1
        step = self.trainer.counters.applied
        self.events.emit(
            "step", **step_event(result, self.task, self.training_numbers, step=step, epoch=epoch, seconds=seconds)
        )
        self.poll_save()
        if result.state is StepState.COMMITTED and step % self.trainer.config.save_every == 0:
            self.save()

    def _end_task(self) -> None:
        if self.patience.put_back(self.trainer):
            message = f"the weights of epoch {self.patience.best_epoch} are put back"
            self.events.emit("best_weights_put_back", task=self.task.index, message=message)
        self.trainer.end_task(self._open_loader, self.task.index)
        self.events.emit("task_finished", task=self.task.index, name=self.task.name)
        self.loader = None
        self.steps_taken.append(self.steps_closed)
        self.steps_closed = 0
        self.num_learned += 1
        self.phase = Phase.EVALUATE

    def _evaluate_row(self) -> None:
        """Measure what is missing in the row; what is measured survives a stop."""
        self.row_evaluation.fill(self.matrix, self.num_learned, self.stream.domains)
        self.phase = Phase.BEGIN if self.num_learned < len(self.stream.tasks) else Phase.DONE

    def _close_row(self) -> None:
        """Keep the task whose row is measured, or take it back; what is on the disk afterwards is the decision."""
        if self.base_step is not None:
            verdict = self.terms.verdict(self.matrix, self.num_learned - 1)
            self.events.emit("task_decided", task=self.num_learned - 1, **verdict._asdict())
            if not verdict.is_kept:
                self._take_back(verdict, self.base_step)
                return
        self.base_step = None
        self._publish_matrix()
        if not self.is_untouched:
            self.save()
            self.pin(None)

    def _take_back(self, verdict: Verdict, base_step: int) -> None:
        """Put everything that the task changed back to the checkpoint from before it, and remember the attempt."""
        index = self.num_learned - 1
        task = self.stream.tasks[index]
        self.attempts.append(attempt_record(self.stream, self.matrix, verdict, index, self.steps_taken.pop()))
        self.stream = self.stream.without(index)
        self.matrix.drop_task(index)
        self.num_learned = index
        self.base_step = None
        self.phase = Phase.BEGIN if index < len(self.stream.tasks) else Phase.DONE
        self.put_back(base_step, self.state_dict())
        self.pin(None)
        self.events.emit("task_taken_back", task=index, name=task.name, step=base_step, reason=verdict.reason)
        self._publish_matrix()

    def _publish_matrix(self) -> None:
        """Tell the matrix, and bring the files that are read without a checkpoint up to date."""
        self.events.emit("matrix", **self.matrix.state_dict())
        if self.matrix_path is not None:
            self.matrix.save(self.matrix_path)
        if self.tasks_path is not None:
            records = task_records(self.stream, self.matrix, self.num_learned, self.steps_taken)
            write_tasks(self.tasks_path, records, self.attempts)

    def _announce_task(self) -> None:
        self.events.emit(
            "task_started",
            task=self.task.index,
            name=self.task.name,
            epochs=self.task.num_epochs,
            steps=self._steps_of(self.task),
            steps_before=sum(self.steps_taken),
            steps_done=self.steps_closed,
        )

    def _steps_of(self, task: Task) -> int:
        return steps_of_task(self.make_loader(task).num_batches, task.num_epochs, self.trainer.config)

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the stream, the matrix so far, and the cursor in the task's text."""
        return {
            "phase": self.phase.value,
            "num_learned": self.num_learned,
            "steps_closed": self.steps_closed,
            "matrix": self.matrix.state_dict(),
            "text": hashes_of(self.stream.domains),
            "reference_text": hashes_of(self.row_evaluation.reference),
            "tokenizer": self.stream.domains[0].tokenizer_hash,
            "loader": None if self.loader is None else self.loader.state_dict(),
            "tasks": [task.record for task in self.stream.tasks],
            "steps_taken": list(self.steps_taken),
            "attempts": list(self.attempts),
            "base_step": self.base_step,
            "patience": self.patience.state_dict() if self.patience.is_on else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the place back.

        Raises:
            UserError: the text of a domain, or what makes tokens of it, is not what it was.
            ValueError: the matrix was measured on other domains.
        """
        refuse_changed_text(state["text"], self.stream.domains)
        refuse_changed_text(state.get("reference_text", {}), self.row_evaluation.reference)
        refuse_another_tokenizer(state, self.stream.domains[0].tokenizer_hash)
        self.matrix.load_state_dict(state["matrix"])
        self.phase = Phase(state["phase"])
        self.num_learned = state["num_learned"]
        self.steps_closed = state["steps_closed"]
        # Versions that did not save these could not add tasks: the text of all is there.
        learned = self.stream.tasks[: self.num_learned]
        self.steps_taken = list(state.get("steps_taken", map(self._steps_of, learned)))
        self.attempts = list(state.get("attempts", []))
        self.base_step = state.get("base_step")
        if state.get("patience") is not None:
            self.patience.load_state_dict(state["patience"])
        if self.base_step is not None:
            self.pin(self.base_step)
        self.loader = None
        if state["loader"] is not None:
            self.loader = self.make_loader(self.task)
            self.loader.load_state_dict(state["loader"])


def steps_of_task(num_batches: int, num_epochs: int, config: EngineConfig) -> int:
    """Return how many steps a task has, by what becomes of the tail of an epoch."""
    size = config.accumulation_steps
    return {
        TailPolicy.STEP: num_epochs * -(-num_batches // size),
        TailPolicy.DROP: num_epochs * (num_batches // size),
        TailPolicy.CARRY: num_epochs * num_batches // size,
    }[TailPolicy(config.tail_policy)]
