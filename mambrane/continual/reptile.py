"""Reptile: every few steps the weights go back part of the way that they have come.

    w <- w - strength (w - w_before)            every `interval` applied steps;   w_before: after the last time

so that of the directions of many micro-batches those remain which they share. Strength is 1 - epsilon of the sources.
Plastic synapses that STDP changes after each step are left to it. Behind tasks that were learned without Reptile,
w_before are the weights as those left them.

Sources: Nichol et al., On First-Order Meta-Learning Algorithms (arXiv 1803.02999); with replay, in the continual
training of language models: Abbes et al. (arXiv 2508.01908), epsilon 0.1 every 500 steps.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.continual.config import ContinualConfig
from mambrane.engine.extensions import StepChange, StepView, TakeUpView
from mambrane.engine.method import Method, Number
from mambrane.engine.shards import as_pieces, is_piece, own_copies, own_numbers, totals


class Reptile(Method):
    """After-step extension: retracts the weights towards where they were."""

    name = "reptile"
    label = "Reptile"
    across_ranks = True
    """It reads nothing but the weights, which are equal on all ranks."""
    across_shards = True
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
        self._model = model
        self.before = self._present()
        """What this process holds of the weights after the last retraction, or as they were initially."""
        self.num_steps = 0
        """Applied steps since then."""

    def _present(self) -> dict[str, Tensor]:
        return {name: own_numbers(self._model.get_parameter(name).detach()).clone() for name in self.names}

    @torch.no_grad()
    def after_step(self, view: StepView) -> StepChange:
        """Return the weights part of the way back, every `reptile_interval` steps; between them nothing."""
        self.num_steps += 1
        if self.num_steps < self.config.reptile_interval:
            return StepChange({"retraction": 0.0})
        self.num_steps = 0
        parameters = [view.model.get_parameter(name) for name in self.names]
        weights = [own_numbers(parameter.detach()) for parameter in parameters]
        ways = torch._foreach_sub(weights, [self.before[name] for name in self.names])
        retractions = torch._foreach_mul(ways, self.config.reptile_strength)
        after = torch._foreach_sub(weights, retractions)
        self.before = {name: weight.clone() for name, weight in zip(self.names, after, strict=True)}
        size = torch.stack([each.abs().sum() for each in retractions]).sum()
        if is_piece(parameters[0]):
            size = size.new_tensor(totals([size], like=parameters[0])[0])
        size = size / sum(parameter.numel() for parameter in parameters)
        return StepChange({"retraction": size}, as_pieces(dict(zip(self.names, after, strict=True)), view.model))

    def take_up(self, view: TakeUpView) -> None:
        """Begin where the weights are: what was learned without it is no way that it may take back."""
        self.before, self.num_steps = self._present(), 0

    def before_put_back(self, weights: Mapping[str, Tensor]) -> None:
        """Begin at the weights that are put back, so that the next retraction does not lead to those given up."""
        self.before, self.num_steps = own_copies({name: weights[name] for name in self.names}, self._model), 0

    def revocation_point(self) -> Callable[[], None]:
        """Return what brings the weights of the last time and the count back; a retraction makes new ones."""
        before, num_steps = self.before, self.num_steps

        def take_back() -> None:
            self.before, self.num_steps = before, num_steps

        return take_back

    def state_dict(self) -> dict[str, Any]:
        """Return the weights of the last time and the steps since."""
        return {"before": as_pieces(self.before, self._model), "num_steps": self.num_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; a weight that was left to STDP until now starts where it is.

        Raises:
            ValueError: they belong to another model.
        """
        shapes = {name: parameter.shape for name, parameter in self._model.named_parameters()}
        saved = state["before"]
        if any(shapes.get(name) != tensor.shape for name, tensor in saved.items()):
            raise ValueError("the saved weights before the last retraction are those of another model")
        known = {name: saved[name] for name in self.names if name in saved}
        self.before = self._present() | own_copies(known, self._model)
        self.num_steps = state["num_steps"]
