"""The update of one step: the gates' look at the gradient, clipping, the optimizer's move, the gates, and plasticity.

Whether a gradient is finite is known where it was computed. A CPU is asked first, and nothing below runs for a step
that is not applied. Asking a GPU would stop it in the midst of the step, so there the update runs before the host
knows, and no number of it may stay if the gradient was not finite:

    weights, moments     the optimizer itself leaves them alone (`found_inf`, as torch's GradScaler asks it)
    gates, plasticity    what they wrote is taken back, bit for bit, when the host learns of it at the end of the step
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_
from torch.optim import Optimizer

from mambrane.engine.extensions import Extensions, Revocable, StepChange, StepView
from mambrane.engine.optimizer import set_learning_rate
from mambrane.engine.weights import (
    copies_of,
    refuse_misfit,
    refuse_second_change,
    refuse_writing,
    write_weights,
    writes_to,
)


def can_be_taken_back(optimizers: Sequence[Optimizer], extensions: Extensions) -> bool:
    """Return whether an update may run before it is known whether it counts: optimizers and extensions allow it."""
    return all(getattr(optimizer, "_step_supports_amp_scaling", False) for optimizer in optimizers) and all(
        isinstance(extension, Revocable) for extension in (*extensions.update_gates, *extensions.after_steps)
    )


class WeightUpdate:
    """Moves the weights once, and takes that back where it must."""

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        optimizers: Sequence[Optimizer],
        extensions: Extensions,
        *,
        decides_on_device: bool,
    ) -> None:
        """Prepare the update of one step by the parameters that train.

        With `decides_on_device` the host does not know whether the gradient is finite; `take_back` may follow.
        """
        self.parameters = parameters
        self.optimizers = optimizers
        self.extensions = extensions
        self.decides_on_device = decides_on_device
        self._is_finite: Tensor | None = None
        """The flag on the device; None where the host has decided."""
        self._undo: list[Callable[[], None]] = []
        if decides_on_device:
            acting = {id(each): each for each in (*extensions.update_gates, *extensions.after_steps)}
            self._undo += [each.revocation_point() for each in acting.values() if isinstance(each, Revocable)]
            self._undo += [_new_state_dropped(optimizer) for optimizer in optimizers]

    def clip(self, loss_gradients: dict[str, Tensor], norm: Tensor, *, gradient_clip: float) -> None:
        """Let the gates see the gradient of the loss, and clip the whole gradient, whose norm this is.

        Where the norm is not finite the gradients stay as they are, so that the first such can be named.
        """
        for gate in self.extensions.update_gates:
            gate.observe(loss_gradients)
        if self.decides_on_device:
            self._is_finite = torch.isfinite(norm)
            norm = torch.where(self._is_finite, norm, 0.0)
        if gradient_clip > 0:
            clip_grads_with_norm_(self.parameters.values(), gradient_clip, norm)

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Let the optimizers move the weights, and the gates decide how far."""
        moved = {name: parameter for name, parameter in self.parameters.items() if parameter.grad is not None}
        gates = self.extensions.update_gates
        before = copies_of(moved) if gates else {}
        set_learning_rate(self.optimizers, learning_rate)
        for optimizer in self.optimizers:
            _step_if(self._is_finite, optimizer)
        after: dict[str, Tensor] = {name: weight.detach() for name, weight in moved.items()}
        for extension in gates:
            after = extension.gate(before, after)
            refuse_misfit(extension.name, after, moved, are_all=True)
        write_weights(moved, after)
        if self.decides_on_device and gates:
            self._undo.append(lambda: write_weights(moved, before))

    @torch.no_grad()
    def act_after_step(self, all_parameters: dict[str, nn.Parameter], view: StepView) -> StepChange:
        """Put into effect what plasticity changes; returns all changes, and all numbers as "extension/number"."""
        numbers: dict[str, float | Tensor] = {}
        weights: dict[str, Tensor] = {}
        for extension in self.extensions.after_steps:
            writes = writes_to(all_parameters)
            change = extension.after_step(view)
            refuse_writing(extension.name, all_parameters, writes)
            refuse_misfit(extension.name, change.weights, all_parameters)
            refuse_second_change(extension.name, weights.keys() & change.weights.keys())
            numbers |= {f"{extension.name}/{name}": number for name, number in change.numbers.items()}
            weights |= change.weights
        if self.decides_on_device and weights:
            before = copies_of({name: all_parameters[name] for name in weights})
            self._undo.append(lambda: write_weights(all_parameters, before))
        write_weights(all_parameters, weights)
        return StepChange(numbers, weights)

    @torch.no_grad()
    def take_back(self) -> None:
        """Put everything back, the last change first: the gradient was not finite."""
        assert self.decides_on_device, "an update that the host has decided on stays"
        for undo in reversed(self._undo):
            undo()


def _step_if(is_finite: Tensor | None, optimizer: Optimizer) -> None:
    """Let an optimizer step; where the flag on the device is false it changes nothing."""
    if is_finite is None:
        optimizer.step()
        return
    # The way of torch.amp.GradScaler.step with an optimizer that can decide by itself.
    asked = optimizer.__dict__
    asked["found_inf"], asked["grad_scale"] = (~is_finite).float(), None
    try:
        optimizer.step()
    finally:
        del asked["found_inf"], asked["grad_scale"]


def _new_state_dropped(optimizer: Optimizer) -> Callable[[], None]:
    """Return what drops the state of parameters that have none yet: the first step makes it, applied or not."""
    known = set(optimizer.state)

    def undo() -> None:
        for parameter in set(optimizer.state) - known:
            del optimizer.state[parameter]

    return undo
