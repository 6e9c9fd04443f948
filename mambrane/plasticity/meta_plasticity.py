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

from typing import Any

import torch
from torch import Tensor, nn

from mambrane.engine.extensions import BoundaryView, StepView
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
        self.mean_plasticity = 1.0
        """Mean of f over all gated weights: the factor on the learning rate of an ungated control."""

    @torch.no_grad()
    def gate(self, name: str, before: Tensor, after: Tensor) -> None:
        """Watch the gradient, then hold back the part of the update that leads away from the anchor."""
        self._watch(name, self.model.get_parameter(name).grad)
        if name not in self.importance:
            return
        update = after - before
        anchor = self.anchor[name]
        is_away = (after - anchor).abs_() > (before - anchor).abs_()
        # after - (1 - f) update: with kappa = 0 this subtracts zero, which changes no bit.
        held_back = self.config.meta_kappa * self.importance[name]
        held_back.div_(1.0 + held_back)
        after.sub_(update.mul_(held_back).mul_(is_away))

    def after_step(self, view: StepView) -> dict[str, float]:
        """Return the mean of f over all weights that have one: 1 while nothing is gated."""
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
        self.mean_plasticity = self._mean_plasticity()

    def _mean_plasticity(self) -> float:
        if not self.importance:
            return 1.0
        gates = [1.0 / (1.0 + self.config.meta_kappa * importance) for importance in self.importance.values()]
        return float(sum(gate.sum() for gate in gates)) / sum(gate.numel() for gate in gates)

    def _watch(self, name: str, gradient: Tensor) -> None:
        if name not in self.usage:
            self.usage[name] = torch.zeros_like(gradient)
        self.usage[name].mul_(1.0 - self.config.meta_lr).addcmul_(gradient, gradient, value=self.config.meta_lr)

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
        self.mean_plasticity = self._mean_plasticity()
