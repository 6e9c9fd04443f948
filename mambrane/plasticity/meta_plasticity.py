"""Meta-plasticity: weights that mattered for earlier tasks move away from what they were more slowly.

    w <- w + f d    where the optimizer's update d would end farther from the anchor, else  w <- w + d
    f = 1 / (1 + kappa h)

    u <- (1 - meta_lr) u + meta_lr g^2                 in each applied window: how much the loss leans on the weight
    h <- unit(0.9 h + unit(u)),   u <- 0,   anchor <- w        when a task ends

g is the gradient of the window; unit divides a tensor by its mean, so h is relative to the other weights of the same
tensor. The first task is not gated. The update is scaled and not the gradient: Adam divides a constant factor of the
gradient out again. The way back to the anchor is free, so replay and consolidation are not hindered.

Sources: f is the plasticity 1 / precision of a Laplace posterior, as in MESU (Bonnet et al., arXiv 2504.13569), with
squared gradients for the precision; gating one direction only: Laborieux et al., Nature Communications 12 (2021).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.engine.extensions import BoundaryView, StepView
from mambrane.ops.update_gate import hold_back_, note_usage_
from mambrane.plasticity.config import PlasticityConfig

KEPT_AT_BOUNDARY = 0.9
"""Share of the older importance that is kept when a task adds its own."""


class MetaPlasticity:
    """Gate of the optimizer's update, renewed when a task ends; as an after-step extension it shows its strength."""

    name = "meta_plasticity"

    def __init__(self, config: PlasticityConfig, model: nn.Module) -> None:
        self.config = config
        self.model = model
        self.usage: dict[str, Tensor] = {}
        """u of the task that is being learned."""
        self.importance: dict[str, Tensor] = {}
        """h, of mean 1 in each tensor; empty during the first task."""
        self.anchor: dict[str, Tensor] = {}
        """Weights at the last boundary."""
        self._prepare_gate()

    @torch.no_grad()
    def gate(self, before: dict[str, Tensor], after: dict[str, nn.Parameter]) -> None:
        """Note the gradients, then hold back the part of each update that leads away from the anchor."""
        for name, weight in after.items():
            if name not in self.usage:
                self.usage[name] = torch.zeros_like(weight.grad)
        gradients = [weight.grad for weight in after.values()]
        note_usage_([self.usage[name] for name in after], gradients, rate=self.config.meta_lr)
        gated = [name for name in after if name in self.importance]
        hold_back_(*([of[name] for name in gated] for of in (after, before, self.anchor, self._held_back)))

    def after_step(self, view: StepView) -> dict[str, float]:
        """Return the mean of f over all gated weights, 1 when there are none.

        A run without the gate whose learning rate is lower by this factor is the control that the gate must beat.
        """
        return {"mean_plasticity": self.mean_plasticity}

    @torch.no_grad()
    def boundary(self, view: BoundaryView) -> None:
        """Turn what the ended task leaned on into importance, and anchor the weights where they are."""
        for name, usage in self.usage.items():
            if not usage.any():
                continue
            older = self.importance.get(name, torch.zeros_like(usage))
            importance = KEPT_AT_BOUNDARY * older + usage / usage.mean()
            self.importance[name] = importance / importance.mean()
        self.usage = {}
        parameters = dict(view.model.named_parameters())
        self.anchor = {name: parameters[name].detach().clone() for name in self.importance}
        self._prepare_gate()

    def _prepare_gate(self) -> None:
        """Work out 1 - f, which stays the same until the next boundary."""
        kappa = self.config.meta_kappa
        self._held_back = {name: kappa * h / (1.0 + kappa * h) for name, h in self.importance.items()}
        num_weights = sum(held_back.numel() for held_back in self._held_back.values())
        # fsum is exact, so the order in which a checkpoint gives names back does not matter.
        total = math.fsum(float(held_back.double().sum()) for held_back in self._held_back.values())
        self.mean_plasticity = 1.0 - total / max(1, num_weights)

    def state_dict(self) -> dict[str, Any]:
        """Return usage, importance and anchor by parameter name."""
        return {"usage": dict(self.usage), "importance": dict(self.importance), "anchor": dict(self.anchor)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; raises ValueError when they belong to another model."""
        parameters = dict(self.model.named_parameters())
        for part, tensors in state.items():
            for name, tensor in tensors.items():
                if name not in parameters or parameters[name].shape != tensor.shape:
                    raise ValueError(f"saved {part} of {name} {tuple(tensor.shape)}: the model has no such parameter")
        self.usage, self.importance, self.anchor = (
            {name: tensor.to(parameters[name].device, copy=True) for name, tensor in state[part].items()}
            for part in ("usage", "importance", "anchor")
        )
        self._prepare_gate()
