"""The training step, from its first micro-batch to the weights after it. The order is here and nowhere else.

    accumulate sums -> reduce over ranks -> divide once by the targets -> add penalties -> norm -> one finite flag
    -> clip -> optimizer's update and its gates -> plasticity after the step -> EMA

A step that is not finite leaves weights, moments, EMA, schedule, plasticity and buffers bit-identical. A GPU is not
asked in the midst of a step: there the update runs under the flag on the device (`update.py`), and the host reads the
flag with all other numbers of the step, once, before the EMA.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from mambrane.core.events import EventLog
from mambrane.data.batch import MicroBatch
from mambrane.engine.accumulation import (
    Accumulator,
    StepSums,
    clear_gradients,
    reduce_over_ranks_,
)
from mambrane.engine.ema import ExponentialMovingAverage
from mambrane.engine.extensions import Extensions, StepView
from mambrane.engine.objective import ObjectiveFunction
from mambrane.engine.precision import Precision
from mambrane.engine.ranks import Ranks
from mambrane.engine.schedule import Schedule
from mambrane.engine.shards import is_sharded, whole
from mambrane.engine.snapshot import Snapshot
from mambrane.engine.step_result import StepResult
from mambrane.engine.transaction import StepState, StepTransaction
from mambrane.engine.transfer import to_host
from mambrane.engine.update import WeightUpdate, can_be_taken_back
from mambrane.engine.weights import copies_of, first_nonfinite, require_finite

DECIDING_DEVICES = ("cuda", "meta")
"""Where a flag is dear to read and the fused optimizer obeys it; elsewhere the host reads it and decides."""


class TrainingStep:
    """Turns the micro-batches of a step into one update of the weights, or into a reason why there is none."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        precision: Precision,
        schedule: Schedule,
        ema: ExponentialMovingAverage | None,
        extensions: Extensions,
        objective: ObjectiveFunction,
        gradient_clip: float,
        device: torch.device,
        events: EventLog,
        should_stop: Callable[[], bool],
        ranks: Ranks,
    ) -> None:
        self.model = model
        self.optimizers = optimizers
        self.precision = precision
        self.schedule = schedule
        self.ema = ema
        self.extensions = extensions
        self.gradient_clip = gradient_clip
        self.device = device
        self.should_stop = should_stop
        self.ranks = ranks
        self.is_sharded = is_sharded(model)
        self.decides_on_device = (
            device.type in DECIDING_DEVICES and ranks.size == 1 and can_be_taken_back(optimizers, extensions)
        )
        """Whether the update runs before the host knows that it counts; several processes ask each other first."""
        self.transaction: StepTransaction | None = None
        self._accumulator = Accumulator(
            model=model,
            objective=objective,
            precision=precision,
            extensions=extensions,
            events=events,
            device=device,
            ranks=ranks,
            is_sharded=self.is_sharded,
        )

    @property
    def is_closed(self) -> bool:
        """True when no step is open, so that the state of the run is whole."""
        return self.transaction is None or self.transaction.is_closed

    def run(self, micro_batches: Iterable[MicroBatch], *, applied: int) -> StepResult:
        """Run one step from OPEN to CLOSED, of micro-batches that are the same on all ranks, after `applied` steps."""
        before = StepStart(self.model, self.extensions)
        self.transaction = StepTransaction(clear_gradients=before.clear_gradients, roll_back=before.roll_back)
        with self.transaction as transaction:
            return self._run(transaction, micro_batches, applied, before)

    def _run(
        self,
        transaction: StepTransaction,
        micro_batches: Iterable[MicroBatch],
        applied: int,
        before: "StepStart",
    ) -> StepResult:
        parameters = before.trainable
        learning_rate = self.schedule.learning_rate(applied)
        scale = self.precision.scale

        transaction.advance(StepState.ACCUMULATING)
        sums = self._accumulate(micro_batches, parameters)
        reduce_over_ranks_(sums, self.extensions, self.device, self.ranks, are_gradients_summed=self.is_sharded)
        result_of = partial(StepResult.of, sums, learning_rate=learning_rate, scale=scale)
        if sums.was_interrupted:
            transaction.advance(StepState.ABORTED)
            return result_of(*to_host(sums.mean_losses()), state=StepState.ABORTED, reason="a stop was asked for")
        transaction.advance(StepState.REDUCED)
        if sums.num_targets == 0 or not sums.gradients:
            transaction.advance(StepState.EMPTY)
            before.restore_buffers()
            reason = "no counted target" if sums.num_targets == 0 else "no parameter received a gradient"
            return result_of(*to_host(sums.mean_losses()), state=StepState.EMPTY, reason=reason)

        self._divide(sums)
        transaction.advance(StepState.UNSCALED)
        loss_gradients = self._loss_gradients(sums)
        penalties_on_device = self._add_penalties()
        norm = whole(get_total_norm([each.grad for each in parameters.values() if each.grad is not None]))
        waiting = (sums.mean_losses(), penalties_on_device, {"gradient_norm": norm})
        decides_on_device = self.decides_on_device
        if not decides_on_device:
            losses, penalties, known = to_host(*waiting)
            # Every rank has the same sums, or it holds pieces of them.
            is_finite = math.isfinite(known["gradient_norm"])
            if not (self.ranks.all_true(is_finite) if self.is_sharded else is_finite):
                return self._skip(transaction, before, partial(result_of, losses, penalties=penalties, **known))

        update = WeightUpdate(parameters, self.optimizers, self.extensions, decides_on_device=decides_on_device)
        update.clip(loss_gradients, norm, gradient_clip=self.gradient_clip)
        transaction.advance(StepState.CLIPPED)

        transaction.advance(StepState.COMMITTED)
        update.step(learning_rate)
        change = update.act_after_step(before.parameters, self._view(sums, applied + 1, learning_rate))
        written = parameters | {name: before.parameters[name] for name in change.weights}
        weight_norm = {"weight_norm": whole(get_total_norm(list(written.values())))}
        if decides_on_device:
            losses, penalties, known, numbers, size = to_host(*waiting, change.numbers, weight_norm)
            if not math.isfinite(known["gradient_norm"]):
                update.take_back()
                return self._skip(transaction, before, partial(result_of, losses, penalties=penalties, **known))
        else:
            numbers, size = to_host(change.numbers, weight_norm)
        self.precision.update(is_finite=True)
        require_finite(written, size["weight_norm"])
        if self.ema is not None:
            self.ema.update(self.model)
        return result_of(
            losses,
            state=StepState.COMMITTED,
            penalties=penalties,
            numbers=numbers,
            gradient_norm=known["gradient_norm"],
        )

    def _skip(
        self, transaction: StepTransaction, before: "StepStart", result_of: Callable[..., StepResult]
    ) -> StepResult:
        """Leave the step unapplied, and say which gradient was not finite."""
        transaction.advance(StepState.SKIPPED)
        self.precision.update(is_finite=False)
        before.restore_buffers()
        reason = first_nonfinite(_gradients(before.trainable), "the gradient")
        return result_of(state=StepState.SKIPPED, reason=reason)

    def _view(self, sums: StepSums, applied_step: int, learning_rate: float) -> StepView:
        return StepView(
            model=self.model,
            micro_batches=sums.micro_batches,
            activities=sums.activities,
            read_by_batch=sums.read_by_batch,
            num_targets=sums.num_targets,
            applied_step=applied_step,
            learning_rate=learning_rate,
            task_progress=self.schedule.task_progress(applied_step),
            ranks=self.ranks,
        )

    def _accumulate(self, micro_batches: Iterable[MicroBatch], parameters: dict[str, nn.Parameter]) -> StepSums:
        """Run the step's micro-batches; a stop that is asked for before the last one interrupts it."""
        sums = StepSums(parameters=parameters)
        for batch in micro_batches:
            if self._stop_is_asked():
                sums.was_interrupted = True
                break
            self._accumulator.add(sums, batch)
        return sums

    def _stop_is_asked(self) -> bool:
        """Return whether this rank is asked to stop, or any, where none can run a micro-batch without the others."""
        if self.is_sharded:
            return not self.ranks.all_true(not self.should_stop())
        return self.should_stop()

    @torch.no_grad()
    def _divide(self, sums: StepSums) -> None:
        """Give each parameter its gradient: the sum, unscaled, over the targets of the step."""
        factor = self.precision.unscale_factor(sums.num_targets)
        torch._foreach_mul_(list(sums.gradients.values()), factor)
        for name, gradient in sums.gradients.items():
            sums.parameters[name].grad = gradient

    def _loss_gradients(self, sums: StepSums) -> dict[str, Tensor]:
        """Return the gradient of the loss as it stands before penalties and clipping change it; empty without gates."""
        if not self.extensions.update_gates:
            return {}
        if not self.extensions.penalties:
            return sums.gradients
        return copies_of(sums.gradients)

    def _add_penalties(self) -> dict[str, Tensor]:
        """Add the gradient of each penalty, once; returns the penalties by extension."""
        penalties = {}
        for extension in self.extensions.penalties:
            penalty = extension.penalty(self.model)
            if penalty is not None:
                penalty.backward()
                penalties[extension.name] = penalty.detach()
        return penalties


class StepStart:
    """What a step finds when it opens, and what brings it back when the step is aborted."""

    def __init__(self, model: nn.Module, extensions: Extensions) -> None:
        self.parameters = dict(model.named_parameters())
        self.trainable = {name: weight for name, weight in self.parameters.items() if weight.requires_grad}
        self._snapshot = Snapshot(model)
        self._undo_mixing = [mixer.undo_point() for mixer in extensions.batch_mixers]

    def clear_gradients(self) -> None:
        """Drop every gradient of the model."""
        clear_gradients(self.parameters)

    def restore_buffers(self) -> None:
        """Put the buffers back: a step that is not applied must not leave its numbers there."""
        self._snapshot.restore_buffers()

    def roll_back(self) -> None:
        """Put random numbers, buffers and mixers back: the step's data will come again and must meet the same."""
        self._snapshot.restore()
        for undo in self._undo_mixing:
            undo()


def _gradients(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}
