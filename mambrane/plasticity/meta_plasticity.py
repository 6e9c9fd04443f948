"""Meta-plasticity: weights that mattered for earlier tasks move away from what they were more slowly.

    w <- w + f d    where the optimizer's update d would end farther from the anchor, else  w <- w + d
    f = 1 / (1 + kappa h)

    u <- (1 - meta_lr) u + meta_lr g^2                 in each applied step: how much the loss depends on the weight
    h <- unit(0.9 h + unit(u)),   u <- 0,   anchor <- w        when a task ends

g is the gradient of the loss, before penalties and clipping; unit divides a tensor by its mean, so h is relative to the
other weights of the same tensor. The first task is not gated. The update is scaled and not the gradient: Adam divides a
constant factor of the gradient out again. The way back to the anchor is free, so replay and consolidation are not
hindered.

Sources: f is the plasticity 1 / precision of a Laplace posterior, as in MESU (Bonnet et al., arXiv 2504.13569), with
squared gradients for the precision; gating one direction only: Laborieux et al., Nature Communications 12 (2021).
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.engine.extensions import BoundaryView, StepChange, StepView, TakeUpView
from mambrane.engine.method import Method, Number
from mambrane.engine.shards import as_piece, is_piece, own_numbers, piece_of, totals, whole
from mambrane.ops.update_gate import hold_back_, note_usage_
from mambrane.plasticity.config import PlasticityConfig
from mambrane.plasticity.controls import permuted

KEPT_AT_BOUNDARY = 0.9
"""Share of the older importance that is kept when a task adds its own."""


class MetaPlasticity(Method):
    """Gate of the optimizer's update, renewed when a task ends; as an after-step extension it shows its strength."""

    name = "meta_plasticity"
    label = "meta-plasticity"
    across_ranks = True
    across_shards = True
    operations = ("update_gate",)
    numbers = (Number("mean_plasticity", "meta-plasticity: mean factor f on the update"),)

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return whether the configuration turns it on."""
        return config.plasticity.use_meta_plasticity

    @classmethod
    def build(cls, config: Any, model: nn.Module) -> "MetaPlasticity":  # noqa: ANN401 -- a run's configuration
        """Return it for a run."""
        return cls(config.plasticity, model, seed=config.run.seed)

    @classmethod
    def kept_per_parameter(cls, config: Any) -> int:  # noqa: ANN401 -- a run's configuration
        """Return usage and the weights before the update; with earlier tasks importance, anchor and 1 - f too."""
        return 5 if config.has_earlier_tasks else 2

    def __init__(self, config: PlasticityConfig, model: nn.Module, *, seed: int = 0) -> None:
        self.config = config
        self._seed = seed
        self._parameters = dict(model.named_parameters())
        self._shapes = {name: own_numbers(parameter).shape for name, parameter in self._parameters.items()}
        """Of what this process holds of each: all, or a piece."""
        ends = list(itertools.accumulate(shape.numel() for shape in self._shapes.values()))
        self._starts = dict(zip(self._shapes, [0, *ends], strict=False))
        nothing_W = torch.zeros_like(_end_to_end(self._parameters))
        self.usage_W = nothing_W.clone()
        """u of the task that is being learned, for all parameters end to end; 0 where none was seen."""
        self.importance_W = nothing_W.clone()
        """h, of mean 1 in each parameter; 0 in those that no task has leaned on, which are free."""
        self.anchor_W = nothing_W
        """Weights at the last boundary."""
        self._gated: list[str] = []
        self._prepare_gate()

    @torch.no_grad()
    def observe(self, gradients: dict[str, Tensor]) -> None:
        """Note how much the loss depends on each weight."""
        starts = [self._starts[name] for name in gradients]
        note_usage_(self.usage_W, [own_numbers(each) for each in gradients.values()], starts, rate=self.config.meta_lr)

    @torch.no_grad()
    def gate(self, before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
        """Hold back, in the memory of `after`, the part of each update that leads away from the anchor."""
        if self._gated:
            starts = [self._starts[name] for name in after]
            weights, were = ([own_numbers(each) for each in tensors.values()] for tensors in (after, before))
            hold_back_(weights, were, self.anchor_W, self._held_back_W, starts)
        return after

    def after_step(self, view: StepView) -> StepChange:
        """Show the mean of f over all gated weights, 1 when there are none.

        A run without the gate whose learning rate is lower by this factor is the control that the gate must beat.
        """
        return StepChange({"mean_plasticity": self.mean_plasticity})

    def revocation_point(self) -> Callable[[], None]:
        """Return what takes back the note of a gradient."""
        held_W = self.usage_W.clone()

        def take_back() -> None:
            self.usage_W.copy_(held_W)

        return take_back

    @torch.no_grad()
    def boundary(self, view: BoundaryView) -> None:
        """Turn what the ended task leaned on into importance, and anchor the weights where they are."""
        usages, importances = self._by_name(self.usage_W), self._by_name(self.importance_W)
        used = self._means(usages)
        for name, mean in used.items():
            if self.config.meta_control == "decay":
                importances[name].add_(1.0)
            else:
                importances[name].mul_(KEPT_AT_BOUNDARY).add_(usages[name] / mean)
        if self.config.meta_control != "decay":
            for name, mean in self._means({name: importances[name] for name in used}).items():
                importances[name].div_(mean)
        self.usage_W.zero_()
        self.anchor_W = _end_to_end(dict(view.model.named_parameters()))
        self._gated = [name for name in self._shapes if name in used or name in self._gated]
        self._prepare_gate()

    def take_up(self, view: TakeUpView) -> None:
        """Anchor the weights as they are now, so that the way back through what was learned without it is not free."""
        self.anchor_W = _end_to_end(dict(view.model.named_parameters()))
        if not self._gated:
            view.tell(
                "meta-plasticity gates no weight in this task: it knows nothing of the "
                f"{view.num_learned} that were learned without it"
            )

    def _prepare_gate(self) -> None:
        """Work out 1 - f, which stays the same until the next boundary."""
        importance_W = self.importance_W
        if self.config.meta_control == "permuted":
            parts = self._by_name(importance_W).items()
            importance_W = torch.cat([self._permuted(name, part).flatten() for name, part in parts])
        scaled_W = self.config.meta_kappa * importance_W
        self._held_back_W = scaled_W / (1.0 + scaled_W)
        num_gated = sum(self._parameters[name].numel() for name in self._gated)
        self.mean_plasticity = 1.0 - self._total(self._held_back_W) / max(1, num_gated)
        if self.config.meta_control == "uniform":
            held_back = self._by_name(self._held_back_W)
            for name in self._gated:
                held_back[name].fill_(1.0 - self.mean_plasticity)

    def _means(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean of each whole parameter, by name; those that are 0 everywhere are left out."""
        if not self._is_in_pieces:
            return {name: part.mean() for name, part in parts.items() if part.any()}
        sums = totals([part.sum(dtype=torch.float64) for part in parts.values()], like=self._any_parameter)
        return {
            name: part.new_tensor(total / self._parameters[name].numel())
            for (name, part), total in zip(parts.items(), sums, strict=True)
            if total
        }

    def _total(self, vector_W: Tensor) -> float:
        return totals([vector_W.sum(dtype=torch.float64)], like=self._any_parameter)[0]

    def _permuted(self, name: str, part: Tensor) -> Tensor:
        parameter = self._parameters[name]
        return own_numbers(piece_of(permuted(whole(as_piece(part, parameter)), seed=self._seed, name=name), parameter))

    @property
    def _any_parameter(self) -> Tensor:
        return next(iter(self._parameters.values()))

    @property
    def _is_in_pieces(self) -> bool:
        return is_piece(self._any_parameter)

    def state_dict(self) -> dict[str, Any]:
        """Return usage, importance and anchor by parameter name; the last two of those that are gated."""
        usages, importances, anchors = map(self._by_name, (self.usage_W, self.importance_W, self.anchor_W))
        wholes = {name: partial(as_piece, like=parameter) for name, parameter in self._parameters.items()}
        return {
            "usage": {name: wholes[name](usage) for name, usage in usages.items()},
            "importance": {name: wholes[name](importances[name]) for name in self._gated},
            "anchor": {name: wholes[name](anchors[name]) for name in self._gated},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back, 0 where a parameter has none; raises ValueError when they belong to another model."""
        for part, tensors in state.items():
            for name, tensor in tensors.items():
                if name not in self._parameters or self._parameters[name].shape != tensor.shape:
                    raise ValueError(f"saved {part} of {name} {tuple(tensor.shape)}: the model has no such parameter")
        for part, vector_W in (("usage", self.usage_W), ("importance", self.importance_W), ("anchor", self.anchor_W)):
            vector_W.zero_()
            own = self._by_name(vector_W)
            for name, tensor in state[part].items():
                own[name].copy_(own_numbers(piece_of(tensor, like=self._parameters[name])))
        self._gated = [name for name in self._shapes if name in state["importance"]]
        self._prepare_gate()

    def _by_name(self, vector_W: Tensor) -> dict[str, Tensor]:
        """Return the part of each parameter, in its shape, sharing memory with the vector."""
        parts = vector_W.split([shape.numel() for shape in self._shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}


def _end_to_end(parameters: dict[str, nn.Parameter]) -> Tensor:
    """Return all weights of a model, or what this process holds of them, as one vector."""
    return torch.cat([own_numbers(parameter.detach()).flatten() for parameter in parameters.values()])
