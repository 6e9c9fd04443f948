"""The trainer: owns everything that training changes, and hands control back after each closed step.

    for result in trainer.steps(loader):      # COMMITTED, SKIPPED, EMPTY; ABORTED ends the epoch
        ...                                     # the state is whole here: save, evaluate, stop

It knows no tasks, no spikes and no files: the continual runner says when a task begins and ends, the extensions bring
plasticity, and `state_dict` is all that a checkpoint needs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from mambrane.core.events import EventLog
from mambrane.data.batch import MicroBatch
from mambrane.engine.config import EngineConfig
from mambrane.engine.counters import Counters
from mambrane.engine.ema import ExponentialMovingAverage
from mambrane.engine.epoch import Loader
from mambrane.engine.extensions import BoundaryView, Extensions, TakeUpView
from mambrane.engine.loss_watch import LossWatch
from mambrane.engine.objective import ObjectiveFunction, next_token_objective
from mambrane.engine.optimizer import (
    add_new_parameters,
    build_optimizer,
    load_optimizer_state,
    optimizer_state_by_name,
)
from mambrane.engine.precision import Precision, choose_precision
from mambrane.engine.ranks import ONE_RANK, Ranks
from mambrane.engine.refusals import (
    TornStateError,
    load_weights,
    refuse_another_average,
    refuse_divergence,
    refuse_half_weights,
    refuse_sight_of_one_rank,
)
from mambrane.engine.schedule import Schedule
from mambrane.engine.shards import is_sharded, refuse_without_shards
from mambrane.engine.snapshot import evaluation_without_trace, global_random_state, set_global_random_state
from mambrane.engine.step import TrainingStep
from mambrane.engine.step_result import StepResult
from mambrane.engine.transaction import StepBatches, StepGroups, StepState, TailPolicy


def never() -> bool:
    """Return False: nobody asks to stop."""
    return False


class Trainer:
    """Model, optimizer, precision, schedule, EMA, extensions and counters, and the loop over steps."""

    def __init__(
        self,
        model: nn.Module,
        config: EngineConfig,
        *,
        device: torch.device,
        events: EventLog,
        extensions: Extensions | None = None,
        objective: ObjectiveFunction = next_token_objective,
        should_stop: Callable[[], bool] = never,
        precision: Precision | None = None,
        optimizers: tuple[Optimizer, ...] | None = None,
        ranks: Ranks = ONE_RANK,
    ) -> None:
        """Put the engine together; `precision` and `optimizers` replace what `config` asks for.

        Raises:
            UserError: several processes train, and an extension would see the rows of one of them only.
        """
        refuse_half_weights(model)
        self.model = model
        self.config = config
        self.device = device
        self.events = events
        self.should_stop = should_stop
        self.extensions = Extensions() if extensions is None else extensions
        self.ranks = ranks
        if ranks.size > 1:
            refuse_sight_of_one_rank(self.extensions, ranks)
        self.is_sharded = is_sharded(model)
        if self.is_sharded:
            refuse_without_shards(list(self.extensions.by_name().values()))
        kind = choose_precision(config.precision, mixed_precision=config.mixed_precision, device=device)
        self.precision = Precision(kind, device) if precision is None else precision
        self.optimizers = (build_optimizer(model, config),) if optimizers is None else optimizers
        self.schedule = Schedule(config)
        self.ema = ExponentialMovingAverage(model, config.ema_decay) if config.ema_decay > 0 else None
        self.counters = Counters()
        self.loss_watch = LossWatch()
        self.carried: list[MicroBatch] = []
        """Micro-batches of a short tail that wait for the next epoch (--tail-policy carry); they are ours, so the
        loader counts them as consumed and the checkpoint holds them."""
        self.parked: dict[str, Any] = {}
        """States of extensions that earlier tasks had and these do not, by name: they may come back."""
        self.was_stopped = False
        """Whether the last loop over `steps` ended because a stop was asked for, and not because its epoch did."""
        self.training_step = TrainingStep(
            model,
            self.optimizers,
            precision=self.precision,
            schedule=self.schedule,
            ema=self.ema,
            extensions=self.extensions,
            objective=objective,
            gradient_clip=config.gradient_clip,
            device=device,
            events=events,
            should_stop=should_stop,
            ranks=ranks,
        )

    def begin_task(self, total_steps: int) -> None:
        """Start a task: the learning rate rises anew, and the optimizer learns of parameters the model has gained."""
        self._require_whole("beginning a task")
        self._drop_carried()
        new = add_new_parameters(self.optimizers, self.model)
        if self.ema is not None:
            self.ema.add_new_parameters(self.model)
        if new:
            self.events.emit("parameters_added", names=new)
        self.schedule.begin_task(total_steps, self.counters.applied)
        self.loss_watch.begin_task()

    def end_task(self, loader: Loader, task_index: int) -> None:
        """Let the boundary extensions look back at the task that ends; gradients and a carried tail are dropped."""
        self._require_whole("ending a task")
        self._drop_carried()
        view = BoundaryView(self.model, loader, task_index, self.device, self.ranks)
        with self.precision.autocast_unscaled():
            for extension in self.extensions.boundaries:
                extension.boundary(view)
        self.model.zero_grad(set_to_none=True)

    def steps(self, loader: Loader) -> Iterator[StepResult]:
        """Train on the rest of the loader's epoch, yielding after each closed step; ends early when asked to stop.

        Between two steps the state is whole: the caller may save, evaluate or leave the loop for good.

        Raises:
            DivergedError: too many skipped steps in a row.
            TornStateError: an earlier update was broken off half-way.
        """
        self._require_whole("training on")
        grouped = StepGroups(
            chain(list(self.carried), loader.epoch_batches()),
            self.config.accumulation_steps,
            TailPolicy(self.config.tail_policy),
        )
        stream = iter(grouped)
        is_empty, self.was_stopped = True, False
        while not self.stop_is_asked():
            batches = self._next_step(stream, grouped, loader)
            if batches is None:
                loader.commit()
                if is_empty:
                    self.events.emit("epoch_without_steps", carried=len(self.carried))
                return
            is_empty = False
            result = self._train_on(batches, loader)
            yield result
            if result.state is StepState.ABORTED:
                break
        self.was_stopped = True

    def stop_is_asked(self) -> bool:
        """Return whether any process of the run was asked to stop; all of them ask at the same place."""
        return not self.ranks.all_true(not self.should_stop())

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Let the model be evaluated inside the context, in the run's precision, with the average if there is one."""
        with evaluation_without_trace(self.model, self.ema), self.precision.autocast(keeps_casts=False):
            yield

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training has changed; `weights` holds the parts that are tensors by name alone.

        Raises:
            TornStateError: a step is open, or an update was broken off.
        """
        self._require_whole("saving")
        ema = None if self.ema is None else self.ema.state_dict()
        weights = {"model": dict(self.model.state_dict())}
        return {
            "weights": weights if ema is None else weights | {"ema": ema["average"]},
            "ema_updates": None if ema is None else ema["num_updates"],
            "optimizer": optimizer_state_by_name(self.optimizers, self.model),
            "precision": self.precision.state_dict(),
            "schedule": self.schedule.state_dict(),
            "counters": self.counters.state_dict(),
            "loss_watch": self.loss_watch.state_dict(),
            "extensions": self.extensions.state_dict(),
            **({"parked": self.parked} if self.parked else {}),
            "carried": [list(batch) for batch in self.carried],
            "random": global_random_state(),
        }

    def load_state_dict(self, state: dict[str, Any], *, take_up: TakeUpView | None = None) -> None:
        """Take everything back; the run goes on as if it had never stopped.

        Args:
            state: what `state_dict` returned.
            take_up: given where the next tasks may have other extensions than those before; None refuses others.

        Raises:
            UserError: the saved run had another model, or an average where this one has none, or the reverse.
            ValueError: the saved run had other extensions.
        """
        weights = state["weights"]
        refuse_another_average(weights, self.config)
        load_weights(self.model, weights["model"])
        if self.ema is not None:
            self.ema.load_state_dict({"average": weights["ema"], "num_updates": state["ema_updates"]})
        load_optimizer_state(self.optimizers, self.model, state["optimizer"])
        self.precision.load_state_dict(state["precision"], self.events)
        self.schedule.load_state_dict(state["schedule"])
        self.counters.load_state_dict(state["counters"])
        self.loss_watch.load_state_dict(state["loss_watch"])
        self.parked = dict(state.get("parked", {}))
        if take_up is None:
            self.extensions.load_state_dict(state["extensions"])
        else:
            self.parked = self.extensions.take_up(state["extensions"], self.parked, take_up)
        self.carried = [MicroBatch(*batch) for batch in state["carried"]]
        set_global_random_state(state["random"])

    def _drop_carried(self) -> None:
        """Leave out the tail that no epoch of its task comes to take, and say so."""
        if self.carried:
            self.events.emit("tail_dropped", micro_batches=len(self.carried), reason="the task it belongs to has ended")
            self.carried = []

    def _next_step(
        self, stream: Iterator[StepBatches[MicroBatch]], grouped: StepGroups[MicroBatch], loader: Loader
    ) -> StepBatches[MicroBatch] | None:
        """Return the next step, or None at the end of the data, where a short tail is dropped or carried."""
        try:
            batches = next(stream, None)
        except BaseException:
            loader.rewind()
            raise
        if batches is None and grouped.leftover:
            leftover, grouped.leftover = grouped.leftover, []
            if self.config.tail_policy == TailPolicy.CARRY:
                self.carried = leftover
            else:
                self.events.emit("tail_dropped", micro_batches=len(leftover), reason="--tail-policy drop")
        return batches

    def _train_on(self, batches: StepBatches[MicroBatch], loader: Loader) -> StepResult:
        """Run one step, count it, and move the loader's cursor if its data was consumed."""
        self.precision.expect(self.config.accumulation_steps * batches.first.targets_BT.numel())
        try:
            result = self.training_step.run(batches, applied=self.counters.applied)
        except BaseException as error:
            loader.rewind()
            if self.training_step.is_closed:
                self.counters.count(StepState.ABORTED)
                self.events.emit("step_aborted", number=self.counters.closed, reason=repr(error))
            raise
        if result.state is StepState.ABORTED:
            loader.rewind()
        else:
            loader.commit()
            del self.carried[: self.config.accumulation_steps]
        self.counters.count(
            result.state,
            micro_batches=result.num_micro_batches,
            samples=result.num_samples,
            tokens=result.num_targets,
        )
        if result.state is not StepState.COMMITTED:
            self.events.emit(f"step_{result.state.value}", number=self.counters.closed, reason=result.reason)
        elif result.loss is not None and self.loss_watch.is_spike(result.loss):
            self.counters.loss_spikes += 1
            self.events.emit("loss_spike", step=self.counters.applied, loss=result.loss, usual=self.loss_watch.mean)
        if result.state is StepState.SKIPPED:
            refuse_divergence(result.reason, self.counters, self.precision, self.config)
        return result

    def _require_whole(self, doing: str) -> None:
        if not self.training_step.is_closed:
            raise TornStateError(
                f"{doing}, while step {self.counters.closed + 1} is open or its update was broken off",
                wanted="a closed step",
                way_out="run the same command again: it resumes from the last checkpoint",
            )
