"""Reptile: every few steps the weights go back part of the way that they have come.

    w <- w - strength (w - w_before)            every `interval` applied steps;   w_before: after the last time

so that of the directions of many micro-batches those remain which they share. Strength is 1 - epsilon of the sources.
Plastic synapses that STDP changes after each step are left to it.

Sources: Nichol et al., On First-Order Meta-Learning Algorithms (arXiv 1803.02999); with replay, in the continual
training of language models: Abbes et al. (arXiv 2508.01908), epsilon 0.1 every 500 steps.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.continual.config import ContinualConfig
from mambrane.engine.extensions import StepChange, StepView
from mambrane.engine.method import Method, Number


class Reptile(Method):
    """After-step extension: retracts the weights towards where they were."""

    name = "reptile"
    label = "Reptile"
    across_ranks = True
    """It reads nothing but the weights, which are equal on all ranks."""
    numbers = (Number("retraction", "Reptile: mean absolute retraction of a weight"),)

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return whether the configuration turns it on."""
        return config.continual.reptile_strength > 0

    @classmethod
    def build(cls, config: Any, model: Any) -> "Reptile":  # noqa: ANN401 -- a run's configuration, its module
        """Return it for a run."""
        left_out = set(model.plastic_synapses()) if config.plasticity.use_stdp else set()
        return cls(config.continual, model, left_out)

    @classmethod
    def kept_per_parameter(cls, config: Any) -> int:  # noqa: ANN401 -- a run's configuration
        """Return the weights of the last time."""
        return 1

    def __init__(self, config: ContinualConfig, model: nn.Module, left_out: set[str] | None = None) -> None:
        self.config = config
        parameters = dict(model.named_parameters())
        self.names = [name for name in parameters if name not in (left_out or set())]
        self.before: dict[str, Tensor] = {name: parameters[name].detach().clone() for name in self.names}
        """Weights after the last retraction, or as they were initially."""
        self.num_steps = 0
        """Applied steps since then."""

    @torch.no_grad()
    def after_step(self, view: StepView) -> StepChange:
        """Return the weights part of the way back, every `reptile_interval` steps; between them nothing."""
        self.num_steps += 1
        if self.num_steps < self.config.reptile_interval:
            return StepChange({"retraction": 0.0})
        self.num_steps = 0
        weights = [view.model.get_parameter(name).detach() for name in self.names]
        ways = torch._foreach_sub(weights, [self.before[name] for name in self.names])
        retractions = torch._foreach_mul(ways, self.config.reptile_strength)
        after = torch._foreach_sub(weights, retractions)
        self.before = {name: weight.clone() for name, weight in zip(self.names, after, strict=True)}
        size = torch.stack([each.abs().sum() for each in retractions]).sum() / sum(each.numel() for each in retractions)
        return StepChange({"retraction": size}, dict(zip(self.names, after, strict=True)))

    def revocation_point(self) -> Callable[[], None]:
        """Return what brings the weights of the last time and the count back; a retraction makes new ones."""
        before, num_steps = self.before, self.num_steps

        def take_back() -> None:
            self.before, self.num_steps = before, num_steps

        return take_back

    def state_dict(self) -> dict[str, Any]:
        """Return the weights of the last time and the steps since."""
        return {"before": dict(self.before), "num_steps": self.num_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; raises ValueError when they belong to another model."""
        shapes = {name: tensor.shape for name, tensor in state["before"].items()}
        if shapes != {name: tensor.shape for name, tensor in self.before.items()}:
            raise ValueError("the saved weights before the last retraction are those of another model")
        self.before = {name: state["before"][name].to(tensor.device, copy=True) for name, tensor in self.before.items()}
        self.num_steps = state["num_steps"]
