"""Adding up a step: forward and backward of each micro-batch, sums of gradients, losses and targets.

    sum over micro-batches and ranks of  d/dw ( loss_sum + sum of loss terms )      divided once, at the close

A micro-batch's gradients are folded into the sum only when they are whole. One that does not fit in memory is run
again in halves, with the random state and the buffers as they were, so nothing is counted twice. One without a
counted target is not run at all.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import Extensions
from mambrane.engine.objective import ObjectiveFunction
from mambrane.engine.precision import Precision
from mambrane.engine.ranks import Ranks
from mambrane.engine.snapshot import Snapshot
from mambrane.layers.dropout import count_dropout, dropout_of_rows

MEMORY_MESSAGES = (
    "out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)
"""How torch says that memory ran out where it has no exception class for it."""


class MicroBatchTooLargeError(UserError, MemoryError):
    """One sequence of text alone does not fit in memory."""


@dataclass(kw_only=True, slots=True)
class StepSums:
    """What a step has added up: over its micro-batches, and after `reduce_over_ranks_` over all ranks."""

    parameters: dict[str, nn.Parameter]
    """Those that train."""
    gradients: dict[str, Tensor] = field(default_factory=dict)
    """Scaled sums by parameter name; only of parameters that received a gradient."""
    loss_sums: dict[str, Tensor] = field(default_factory=dict)
    """Sum of nats of the main loss ("loss") and of each loss term, by name."""
    num_targets: int = 0
    num_samples: int = 0
    num_micro_batches: int = 0
    was_interrupted: bool = False
    """True when the rest of the step was not read because a stop was asked for."""
    micro_batches: list[MicroBatch] = field(default_factory=list)
    """What was back-propagated on this rank."""
    activities: list[Any] = field(default_factory=list)
    """Detached activity of the model for each of them; filled when an after-step extension will read it."""
    read_by_batch: list[int] = field(default_factory=list)
    """Tokens of each of them that were read, all but padding."""

    def fold_in(self) -> None:
        """Move the gradients of the last backward pass from the parameters into the sums."""
        fresh = {name: parameter.grad for name, parameter in self.parameters.items() if parameter.grad is not None}
        known = [name for name in fresh if name in self.gradients]
        if known:
            torch._foreach_add_([self.gradients[name] for name in known], [fresh[name] for name in known])
        self.gradients = fresh | self.gradients
        clear_gradients(self.parameters)

    def add_loss(self, name: str, loss_sum: Tensor) -> None:
        """Add to a named sum of nats, in float64."""
        value = loss_sum.detach().double()
        self.loss_sums[name] = self.loss_sums[name] + value if name in self.loss_sums else value

    def mean_losses(self) -> dict[str, Tensor]:
        """Return the sums over the step's targets, in nats per target, on the device."""
        if self.num_targets == 0:
            return {}
        return {name: loss_sum / self.num_targets for name, loss_sum in self.loss_sums.items()}


@dataclass(kw_only=True)
class Accumulator:
    """Runs micro-batches forward and backward and adds up what they give."""

    model: nn.Module
    objective: ObjectiveFunction
    precision: Precision
    extensions: Extensions
    events: EventLog
    device: torch.device
    ranks: Ranks
    is_sharded: bool = False

    def add(self, sums: StepSums, batch: MicroBatch) -> None:
        """Mix a micro-batch, run this rank's rows of it and add them to the sums of the step."""
        for mixer in self.extensions.batch_mixers:
            batch = mixer.mix(batch)
        own, num_rows = self.ranks.rows(batch), batch.inputs_BT.shape[0]
        if self.is_sharded and own.num_targets == 0 and batch.num_targets > 0:
            with dropout_of_rows(self.model, 0, num_rows):
                self._run_for_the_others(sums, batch)
        else:
            self._run_whole_or_halves(sums, own, self.ranks.share_of(num_rows).start, num_rows)
        if batch.num_targets > 0:
            count_dropout(self.model)
        sums.num_micro_batches += 1
        sums.num_samples += own.inputs_BT.shape[0]

    def _run_for_the_others(self, sums: StepSums, batch: MicroBatch) -> None:
        """Run a row without a target: the others need this rank's pieces, and it takes its part of their gradients."""
        row = batch.rows(slice(1))
        row = row._replace(targets_BT=torch.full_like(row.targets_BT, IGNORED_TARGET)).to(self.device)
        losses, _ = self._forward(row)
        self.precision.scaled(torch.stack(list(losses.values())).sum()).backward()
        sums.fold_in()

    def _run_whole_or_halves(self, sums: StepSums, batch: MicroBatch, first: int, num_rows: int) -> None:
        """Run rows of a micro-batch of so many, from the first one on."""
        num_targets, num_samples = batch.num_targets, batch.inputs_BT.shape[0]
        if num_targets == 0:
            return
        before = Snapshot(self.model)
        with dropout_of_rows(self.model, first, num_rows):
            fits = self._fits(sums, batch.to(self.device))
        if fits:
            sums.num_targets += num_targets
            sums.read_by_batch.append(batch.num_read)
            return
        if self.is_sharded:
            raise MicroBatchTooLargeError(
                f"memory ran out on rank {self.ranks.rank}, on {num_samples} sequences of {batch.inputs_BT.shape[1]} "
                "tokens; with --shard no rank can run them in halves by itself",
                wanted="a micro-batch that fits in memory on all ranks",
                way_out="a smaller --batch-size with more --accumulation-steps, or --checkpoint-activations",
            )
        before.restore()
        self.events.emit("out_of_memory", samples=num_samples, tokens=batch.inputs_BT.numel())
        if num_samples == 1:
            raise MicroBatchTooLargeError(
                f"memory ran out on a single sequence of {batch.inputs_BT.shape[1]} tokens",
                wanted="a model and a sequence that fit in memory",
                way_out="a shorter --sequence-length, fewer --num-layers or a smaller --hidden-dim",
            )
        for half in (slice(0, num_samples // 2), slice(num_samples // 2, num_samples)):
            self._run_whole_or_halves(sums, batch.rows(half), first + half.start, num_rows)

    def _fits(self, sums: StepSums, batch: MicroBatch) -> bool:
        """Run a micro-batch and fold it in; returns False, with nothing changed in the sums, when memory ran out."""
        try:
            losses, output = self._forward(batch)
            total = torch.stack(list(losses.values())).sum()
            # A model whose parameters are all frozen has nothing to back-propagate; its step closes as EMPTY.
            if total.requires_grad:
                self.precision.scaled(total).backward()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            clear_gradients(sums.parameters)
            return False
        sums.fold_in()
        for name, loss_sum in losses.items():
            sums.add_loss(name, loss_sum)
        if self.extensions.after_steps:
            sums.micro_batches.append(batch)
            sums.activities.append(detached(output.activity))
        return True

    def _forward(self, batch: MicroBatch) -> tuple[dict[str, Tensor], Any]:
        """Return the summed losses by name, and the model's output."""
        with self.precision.autocast(keeps_casts=not self.is_sharded):
            loss_sum, output = self.objective(self.model, batch)
            assert loss_sum.dtype in (torch.float32, torch.float64), f"a loss summed in {loss_sum.dtype}"
            losses = {"loss": loss_sum}
            for extension in self.extensions.loss_terms:
                term = extension.term(self.model, output, batch)
                if term is not None:
                    losses[extension.name] = term.to(loss_sum.dtype)
        return losses, output


def reduce_over_ranks_(
    sums: StepSums,
    extensions: Extensions,
    device: torch.device,
    ranks: Ranks,
    *,
    are_gradients_summed: bool = False,
) -> None:
    """Replace every sum by its sum over all ranks; a rank without a gradient that another has counts as zero.

    Gradients of sharded weights are summed where they arise, and are left alone.
    """
    if ranks.size == 1:
        return
    # All in one exchange: each is a wait for the slowest rank.
    gradients = [] if are_gradients_summed else [_or_zeros(sums, name) for name in sums.parameters]
    names = ("loss", *(extension.name for extension in extensions.loss_terms))
    zero = torch.zeros((), dtype=torch.float64, device=device)
    losses = [sums.loss_sums.setdefault(name, zero.clone()) for name in names]
    counts = torch.tensor([sums.num_targets, sums.num_samples, sums.was_interrupted])
    num_holders = torch.tensor([name in sums.gradients for name in sums.parameters], dtype=torch.int64)
    ranks.sum_(counts, num_holders, *losses, *gradients)
    sums.num_targets, sums.num_samples, num_interrupted = counts.tolist()
    sums.was_interrupted = num_interrupted > 0
    if not are_gradients_summed:
        held = zip(sums.parameters, gradients, num_holders.tolist(), strict=True)
        sums.gradients = {name: gradient for name, gradient, number in held if number}


def _or_zeros(sums: StepSums, name: str) -> Tensor:
    return sums.gradients[name] if name in sums.gradients else torch.zeros_like(sums.parameters[name])


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch ran out of memory, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(message in str(error) for message in MEMORY_MESSAGES)


def clear_gradients(parameters: dict[str, nn.Parameter]) -> None:
    """Drop every gradient."""
    for parameter in parameters.values():
        parameter.grad = None


def detached(value: Any) -> Any:  # noqa: ANN401 -- walks tuples of tensors
    """Return a tree of tuples, lists and tensors without its graph."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(detached(item) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(detached(item) for item in value)
    return value
