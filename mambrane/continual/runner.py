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
from typing import Any

from mambrane.continual.outcome import Outcome, StopError
from mambrane.continual.patience import Patience
from mambrane.continual.progress import Phase, Progress
from mambrane.continual.row_evaluation import RowEvaluation
from mambrane.continual.run_storage import NOT_KEPT, RunStorage
from mambrane.continual.step_event import step_event
from mambrane.continual.stream import Stream, Task, empty_matrix, steps_of_task
from mambrane.continual.task_records import attempt_record
from mambrane.continual.terms import NO_TERMS, Terms, Verdict
from mambrane.continual.text_identity import refuse_another_text, text_identity
from mambrane.data.domains import Domain
from mambrane.data.loader import SequenceLoader
from mambrane.engine.epoch import EpochLoss
from mambrane.engine.step_result import StepResult
from mambrane.engine.trainer import Trainer
from mambrane.engine.transaction import StepState


class Runner:
    """Drives the trainer through the stream of tasks."""

    def __init__(
        self,
        stream: Stream,
        trainer: Trainer,
        row_evaluation: RowEvaluation,
        *,
        make_loader: Callable[[Task], SequenceLoader],
        training_numbers: Callable[[float, Task], dict[str, float]] = lambda loss, task: {},
        storage: RunStorage = NOT_KEPT,
        max_steps: int = 0,
        terms: Terms = NO_TERMS,
    ) -> None:
        """Take the collaborators; nothing runs yet.

        Args:
            stream: tasks and domains.
            trainer: the engine; its log receives what happens, each kind under its own name.
            row_evaluation: measures the domains.
            make_loader: returns a fresh loader of a task's text.
            training_numbers: what else a training loss in nats per target says, by name.
            storage: where it is saved.
            max_steps: applied steps of the whole run after which to stop; 0 never.
            terms: on which a task is kept.
        """
        self.stream = stream
        self.trainer = trainer
        self.make_loader = make_loader
        self.row_evaluation = row_evaluation
        self.training_numbers = training_numbers
        self.events = trainer.events
        self.storage = storage
        self.max_steps = max_steps
        self.terms = terms
        self.matrix = empty_matrix(stream, row_evaluation.measure)
        self._fresh_state = None if self.matrix.is_of_one_model else copy.deepcopy(trainer.state_dict())
        self.progress = Progress()
        self.loader: SequenceLoader | None = None
        """Text of the task that is being learned; None outside TRAIN and BOUNDARY."""
        self.patience = Patience(trainer.config.patience)
        self.is_untouched = False
        """Whether nothing was learned since tasks were added: then the newest checkpoint says all that there is."""

    @property
    def task(self) -> Task:
        """The task that is being learned, or comes next."""
        return self.stream.tasks[self.progress.num_learned]

    def extend(self, tasks: Sequence[Task], domains: Sequence[Domain]) -> None:
        """Add tasks to a run that has learned all it had, and domains that are new with them."""
        assert self.progress.phase is Phase.DONE, "tasks are added to a run that has none left"
        self.stream = self.stream.extended(tasks, domains)
        first_new = len(self.matrix.domains)
        self.matrix.grow([domain.name for domain in domains], [task.columns for task in tasks])
        for column in range(first_new, len(self.matrix.domains)):
            for row in range(1, self.progress.num_learned):
                self.matrix.leave_empty(row, column, "its text was not there yet")
            if self.row_evaluation.evaluate_untrained is None:
                self.matrix.leave_empty(0, column, "the weights from before the first task are not kept")
        self.progress.phase = Phase.EVALUATE
        self.is_untouched = True

    def run(self) -> Outcome:
        """Go on from where the state is to the end, or until something asks to stop."""
        if self.matrix.has_values:
            self._publish_matrix()
        if self.progress.phase is Phase.TRAIN:
            self._announce_task()
        num_attempts = len(self.progress.attempts)
        try:
            while self.progress.phase is not Phase.DONE:
                if self.progress.phase is Phase.BEGIN:
                    self._begin_task()
                if self.progress.phase is Phase.TRAIN:
                    self._train()
                if self.progress.phase is Phase.BOUNDARY:
                    self._end_task()
                self.row_evaluation.fill(self.matrix, self.progress.num_learned, self.stream.domains)
                self._close_row()
        except StopError as stop:
            if not self.is_untouched:
                self.storage.save()
            self.events.emit("stopped", reason=str(stop))
            return Outcome(False, str(stop), taken_back=self._taken_back_since(num_attempts))
        self.events.emit("run_finished", step=self.trainer.counters.applied)
        return Outcome(True, "finished", taken_back=self._taken_back_since(num_attempts))

    def _taken_back_since(self, num_attempts: int) -> tuple[str, ...]:
        return tuple(attempt["name"] for attempt in self.progress.attempts[num_attempts:])

    def _begin_task(self) -> None:
        """Open the task's text and let the learning rate rise anew; a task with a model of its own gets a new one."""
        if self.terms.are_set:
            gone = [column for column, domain in enumerate(self.stream.domains) if not domain.is_measurable]
            self.terms.check_before(self.matrix, self.progress.num_learned, gone)
            self.progress.base_step = self.trainer.counters.applied
            self.storage.pin(self.progress.base_step)
        self.is_untouched = False
        self.patience.begin_task()
        if self.task.starts_over and self._fresh_state is not None:
            # What counts steps and draws numbers goes on: checkpoints are known by their step.
            ongoing = {name: self.trainer.state_dict()[name] for name in ("counters", "random")}
            self.trainer.load_state_dict({**self._fresh_state, **ongoing})
        self.loader = self.make_loader(self.task)
        self.progress.steps_closed = 0
        self.trainer.begin_task(self._steps_of(self.task))
        self._announce_task()
        self.progress.phase = Phase.TRAIN

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
        self.progress.phase = Phase.BOUNDARY

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
        self.progress.steps_closed += 1
        step = self.trainer.counters.applied
        self.events.emit(
            "step", **step_event(result, self.task, self.training_numbers, step=step, epoch=epoch, seconds=seconds)
        )
        self.storage.poll_save()
        if result.state is StepState.COMMITTED and step % self.trainer.config.save_every == 0:
            self.storage.save()

    def _end_task(self) -> None:
        if self.patience.put_back(self.trainer):
            message = f"the weights of epoch {self.patience.best_epoch} are put back"
            self.events.emit("best_weights_put_back", task=self.task.index, message=message)
        self.trainer.end_task(self._open_loader, self.task.index)
        self.events.emit("task_finished", task=self.task.index, name=self.task.name)
        self.loader = None
        self.progress.end_task()

    def _close_row(self) -> None:
        """Keep the task whose row is measured, or take it back; what is on the disk afterwards is the decision."""
        self.progress.end_row(len(self.stream.tasks))
        if self.progress.base_step is not None:
            verdict = self.terms.verdict(self.matrix, self.progress.num_learned - 1)
            if not verdict.is_kept and len(self.stream.tasks) == 1:
                verdict = verdict.kept_all_the_same()
                self.events.emit("warning", message=f"{self.stream.tasks[0].name}: {verdict.reason}")
            self.events.emit("task_decided", task=self.progress.num_learned - 1, **verdict._asdict())
            if not verdict.is_kept:
                self._take_back(verdict, self.progress.base_step)
                return
        self.progress.base_step = None
        self._publish_matrix()
        if not self.is_untouched:
            self.storage.save()
            self.storage.pin(None)

    def _take_back(self, verdict: Verdict, base_step: int) -> None:
        """Put everything that the task changed back to the checkpoint from before it, and remember the attempt."""
        steps = self.progress.take_back()
        index = self.progress.num_learned
        task = self.stream.tasks[index]
        self.progress.attempts.append(attempt_record(self.stream, self.matrix, verdict, index, steps))
        self.stream = self.stream.without(index)
        self.matrix.drop_task(index)
        self.progress.end_row(len(self.stream.tasks))
        self.storage.put_back(base_step, self.state_dict())
        self.storage.pin(None)
        self.events.emit("task_taken_back", task=index, name=task.name, step=base_step, reason=verdict.reason)
        self._publish_matrix()

    def _publish_matrix(self) -> None:
        """Tell the matrix, and bring the files that are read without a checkpoint up to date."""
        self.events.emit("matrix", **self.matrix.state_dict())
        self.storage.write_files(self.stream, self.matrix, self.progress)

    def _announce_task(self) -> None:
        self.events.emit(
            "task_started",
            task=self.task.index,
            name=self.task.name,
            epochs=self.task.num_epochs,
            steps=self._steps_of(self.task),
            steps_before=sum(self.progress.steps_taken),
            steps_done=self.progress.steps_closed,
        )

    def _steps_of(self, task: Task) -> int:
        return steps_of_task(self.make_loader(task).num_batches, task.num_epochs, self.trainer.config)

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the stream, the matrix so far, and the cursor in the task's text."""
        return {
            **self.progress.state_dict(),
            "matrix": self.matrix.state_dict(),
            **text_identity(self.stream.domains, self.row_evaluation.reference),
            "loader": None if self.loader is None else self.loader.state_dict(),
            "tasks": [task.record for task in self.stream.tasks],
            "patience": self.patience.state_dict() if self.patience.is_on else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the place back.

        Raises:
            UserError: the text of a domain, or what makes tokens of it, is not what it was.
            ValueError: the matrix was measured on other domains.
        """
        refuse_another_text(state, self.stream.domains, self.row_evaluation.reference)
        self.matrix.load_state_dict(state["matrix"])
        self.progress = Progress.of_state(state, lambda index: self._steps_of(self.stream.tasks[index]))
        if state.get("patience") is not None:
            self.patience.load_state_dict(state["patience"])
        if self.progress.base_step is not None:
            self.storage.pin(self.progress.base_step)
        self.loader = None
        if state["loader"] is not None:
            self.loader = self.make_loader(self.task)
            self.loader.load_state_dict(state["loader"])
