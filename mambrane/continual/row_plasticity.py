"""Plasticity of rows, learned from replay: rows on which new and old text disagree move less, the others more.

    log alpha_r <- log alpha_r + rate cos(g_new_r, g_old_r)      every 20 applied steps, 0.1 <= alpha_r <= 2
    w_r         <- w_r + alpha_r d_r                             d_r: the optimizer's update of row r

g_new and g_old are gradients of the loss of the last micro-batch's new and replayed rows, each by itself, at the
weights after the step, without dropout. alpha starts at 1 and is kept from task to task. A row is what leads to one
output: the first dimension of a parameter with two or more. The price is one micro-batch more every 20 steps.

Controls (--meta-control): uniform gives every row the mean of alpha, permuted gives it to other rows of the same
parameter; with decay no row learns, as the plasticity of all falls with each task.

Source: the first-order rule of La-MAML (Gupta et al., arXiv 2007.13904), by which a learning rate grows where the
gradient of the new text and that of the memory agree; here by their cosine, so that rows of all sizes learn alike.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.continual.replay import Replay
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import StepChange, StepView
from mambrane.engine.method import Method, Number
from mambrane.engine.snapshot import evaluation_mode
from mambrane.plasticity.config import PlasticityConfig
from mambrane.plasticity.controls import permuted

INTERVAL = 20
"""Applied steps between two comparisons."""
LEAST, MOST = math.log(0.1), math.log(2.0)
"""Bounds of log alpha."""


class RowPlasticity(Method):
    """Gate of the optimizer's update, learned as an after-step extension beside `Replay`."""

    name = "row_plasticity"
    label = "plasticity of rows"
    across_ranks = True
    numbers = (Number("mean_row_plasticity", "meta-plasticity: mean alpha of a row"),)

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return whether the configuration turns it on."""
        plasticity = config.plasticity
        return plasticity.use_meta_plasticity and plasticity.meta_row_rate > 0 and config.continual.use_replay

    @classmethod
    def build(cls, config: Any, model: nn.Module) -> "RowPlasticity":  # noqa: ANN401 -- a run's configuration
        """Return it for a run."""
        return cls(config.plasticity, model, seed=config.run.seed)

    def __init__(self, config: PlasticityConfig, model: nn.Module, *, seed: int = 0) -> None:
        self.config = config
        self._seed = seed
        self.replay: Replay | None = None
        """Who knows which rows of a batch are old text."""
        self.log_alpha = {
            name: torch.zeros(weight.shape[0], device=weight.device)
            for name, weight in model.named_parameters()
            if weight.ndim >= 2
        }
        self._sizes = {name: weight[0].numel() for name, weight in model.named_parameters() if weight.ndim >= 2}
        self.num_steps = 0
        """Applied steps since rows were compared."""
        self._prepare_gate()

    def meet(self, others: Sequence[Method]) -> None:
        """Find the replay of the run."""
        self.replay = next(other for other in others if isinstance(other, Replay))

    def observe(self, gradients: dict[str, Tensor]) -> None:
        """Note nothing: what is learned from comes after the step."""

    @torch.no_grad()
    def gate(self, before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights with each row's update times its alpha; a row with alpha 1 keeps its bits."""
        scaled = {}
        for name, weight in after.items():
            alpha = self._alpha.get(name)
            if alpha is not None and self._moves:
                alpha = alpha.view(-1, *[1] * (weight.ndim - 1)).to(weight)
                weight = torch.where(alpha == 1, weight, before[name] + alpha * (weight - before[name]))
            scaled[name] = weight
        return scaled

    def after_step(self, view: StepView) -> StepChange:
        """Compare new and old text, every 20 steps; shows the mean of alpha over all weights that have one."""
        assert self.replay is not None, "it has met the replay"
        if self.replay.task_index > 0 and self.config.meta_control != "decay":
            self.num_steps += 1
            if self.num_steps >= INTERVAL:
                self.num_steps = 0
                self._learn(view)
        return StepChange({"mean_row_plasticity": self.mean_alpha})

    def _learn(self, view: StepView) -> None:
        weights = {name: weight for name, weight in view.model.named_parameters() if name in self.log_alpha}
        sums = [[torch.zeros_like(weight) for weight in weights.values()] for _ in range(2)]
        for totals, rows in zip(sums, self._new_and_old(view), strict=True):
            if rows is not None:
                torch._foreach_copy_(totals, list(self._gradients(view.model, list(weights.values()), rows)))
        view.ranks.sum_(*sums[0], *sums[1])
        for name, new, old in zip(weights, *sums, strict=True):
            cosine = torch.nn.functional.cosine_similarity(new.flatten(1), old.flatten(1), dim=1, eps=1e-12)
            self.log_alpha[name].add_(cosine, alpha=self.config.meta_row_rate).clamp_(LEAST, MOST)
        self._prepare_gate()

    def _new_and_old(self, view: StepView) -> tuple[MicroBatch | None, MicroBatch | None]:
        """Return the new and the replayed rows of the last micro-batch on this rank; None where there are none."""
        assert self.replay is not None, "it has met the replay"
        if not view.micro_batches:
            return None, None
        batch = view.micro_batches[-1]
        is_old_B = self.replay.replays(self.replay.buffer.fingerprints_of(batch).cpu()).to(batch.inputs_BT.device)
        parts = (batch.rows(which_B) for which_B in (~is_old_B, is_old_B))
        new, old = (part if part.num_targets else None for part in parts)
        return new, old

    @staticmethod
    def _gradients(model: nn.Module, weights: list[nn.Parameter], batch: MicroBatch) -> Sequence[Tensor]:
        """Return the gradient of the summed loss of some sequences; zero for weights that it does not reach."""
        with evaluation_mode(model), torch.enable_grad():
            loss = model(batch.inputs_BT, resets_BT=batch.resets_BT, targets_BT=batch.targets_BT).nats_BT.sum()
            return torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)

    def _prepare_gate(self) -> None:
        alpha = {name: log_alpha.exp() for name, log_alpha in self.log_alpha.items()}
        total = sum(float(alpha[name].sum(dtype=torch.float64)) * size for name, size in self._sizes.items())
        self.mean_alpha = total / max(1, sum(self._sizes[name] * len(alpha[name]) for name in alpha))
        self._moves = any(bool(log_alpha.any()) for log_alpha in self.log_alpha.values())
        if self.config.meta_control == "uniform" and self._moves:
            alpha = {name: torch.full_like(each, self.mean_alpha) for name, each in alpha.items()}
        if self.config.meta_control == "permuted":
            alpha = {name: permuted(each, seed=self._seed, name=name) for name, each in alpha.items()}
        self._alpha = alpha

    def state_dict(self) -> dict[str, Any]:
        """Return log alpha by parameter name, and the steps since rows were compared."""
        return {"log_alpha": dict(self.log_alpha), "num_steps": self.num_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; raises ValueError when they belong to another model."""
        shapes = {name: tensor.shape for name, tensor in state["log_alpha"].items()}
        if shapes != {name: tensor.shape for name, tensor in self.log_alpha.items()}:
            raise ValueError("the saved plasticity of rows is that of another model")
        for name, tensor in self.log_alpha.items():
            tensor.copy_(state["log_alpha"][name])
        self.num_steps = state["num_steps"]
        self._prepare_gate()
