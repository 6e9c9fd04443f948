"""EWC, MAS, SI, ISI-CV: a quadratic penalty on each weight, as strong as it was important for the earlier tasks.

    penalty = strength / 2  sum_k F_k (w_k - w*_k)^2                          in nats per token, once a step
    F <- decay F + unit(importance in the task),   w* <- w                    when a task ends

unit divides by the mean over the weights that the method looks at: all that are trained, or with isi-cv the plastic
synapses alone. So the strength has the same meaning for every model and task, and for ewc, mas and si: moving each of
these weights by d costs about strength / 2 d^2 times their number, which with isi-cv is far smaller.

    method    importance
    ewc       Fisher information of sampled labels (importance.py): online elastic weight consolidation
    mas       sensitivity of the logits (importance.py): memory aware synapses
    si        path integral of the loss (path_integral.py): synaptic intelligence
    isi-cv    regular spike intervals of both neurons (spike_regularity.py), of plastic synapses only

Source of the online form with one anchor and a decay: Schwarz et al., Progress and Compress (arXiv 1805.06370).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.continual.config import ContinualConfig
from mambrane.continual.importance import normalised, output_sensitivity, peek_sequences, sampled_fisher
from mambrane.continual.path_integral import PathIntegral
from mambrane.continual.quadratic_penalty import quadratic_penalty
from mambrane.continual.spike_regularity import spike_regularity
from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.engine.extensions import BoundaryView, TakeUpView
from mambrane.engine.method import Method
from mambrane.engine.shards import as_pieces, own_copies, own_numbers

ESTIMATES = {"ewc": sampled_fisher, "mas": output_sensitivity, "isi-cv": spike_regularity}
"""Methods that look back at the end of a task."""


class Regularizer(Method):
    """Penalty and boundary: holds the weights where the earlier tasks left them."""

    name = "regularizer"
    across_ranks = True
    across_shards = True

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return whether the configuration turns it on."""
        return config.continual.regularizer_strength > 0

    @classmethod
    def label_in(cls, config: Any) -> str:  # noqa: ANN401 -- a run's configuration
        """Return how a run's summary names it."""
        return f"regularizer ({config.continual.regularizer})"

    @classmethod
    def build(cls, config: Any, model: nn.Module) -> "Regularizer":  # noqa: ANN401 -- a run's configuration
        """Return it for a run."""
        return cls(config.continual, model, seed=config.run.seed)

    @classmethod
    def kept_per_parameter(cls, config: Any) -> int:  # noqa: ANN401 -- a run's configuration
        """Return importance and anchor; si also walks with start, path, last weights and last gradients."""
        return 2 * config.has_earlier_tasks + 4 * (config.continual.regularizer == "si")

    def __init__(self, config: ContinualConfig, model: nn.Module, *, seed: int) -> None:
        if config.regularizer == "isi-cv" and not _spikes_on_both_sides(model):
            raise UserError(
                "--regularizer isi-cv: the model has no synapse between two populations that spike",
                wanted="hybrid or spiking blocks with --liquid-backbone lif",
                way_out="--regularizer ewc",
            )
        self.config = config
        self.model = model
        self.importance: dict[str, Tensor] = {}
        """F by parameter name, in the model's order, of what this process holds; empty during the first task."""
        self.anchor: dict[str, Tensor] = {}
        """w*: weights at the last boundary."""
        self.path = PathIntegral(model) if config.regularizer == "si" else None
        self._generator = make_generator(seed, "fisher")

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the penalty, or None while there is no earlier task or no strength."""
        if self.path is not None:
            self.path.watch(model)
        if not self.importance or self.config.regularizer_strength == 0:
            return None
        return quadratic_penalty(self.config.regularizer_strength, self.importance, self.anchor, model)

    def boundary(self, view: BoundaryView) -> None:
        """Add the importance of the ended task, and anchor the weights where they are."""
        new = normalised(self._estimate(view), dict(view.model.named_parameters()))
        older, decay = self.importance, self.config.regularizer_decay
        parameters = {name: own_numbers(parameter.detach()) for name, parameter in view.model.named_parameters()}
        # In the model's order, here and after a restart: the order of a sum changes its last bits.
        self.importance = {
            name: new.get(name, 0.0) + decay * older.get(name, torch.zeros_like(weight))
            for name, weight in parameters.items()
            if name in new or name in older
        }
        self.anchor = {name: parameters[name].clone() for name in self.importance}

    def take_up(self, view: TakeUpView) -> None:
        """Anchor what was important before at the weights as they are now, and begin a new path."""
        parameters = dict(view.model.named_parameters())
        self.anchor = {name: own_numbers(parameters[name].detach()).clone() for name in self.importance}
        if self.path is not None:
            self.path = PathIntegral(self.model)
        if not self.importance:
            view.tell(
                f"--regularizer {self.config.regularizer} holds no weight in this task: it knows nothing of the "
                f"{view.num_learned} that were learned without it"
            )

    def before_put_back(self, weights: Mapping[str, Tensor]) -> None:
        """End the path at the weights as they are: importance is that of the steps, and the jump is none."""
        if self.path is not None:
            self.path.close(self.model)

    def _estimate(self, view: BoundaryView) -> dict[str, Tensor]:
        if self.path is not None:
            return self.path.finish(view.model)
        sequences = peek_sequences(view.loader, self.config.fisher_sequences)
        estimate = ESTIMATES[self.config.regularizer]
        return estimate(view.model, sequences, generator=self._generator, device=view.device, ranks=view.ranks)

    def state_dict(self) -> dict[str, Any]:
        """Return importance, anchor, the path of the task and the generator of sampled labels."""
        return {
            "importance": as_pieces(self.importance, self.model),
            "anchor": as_pieces(self.anchor, self.model),
            "path": None if self.path is None else self.path.state_dict(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; raises ValueError when they belong to another model."""
        parameters = dict(self.model.named_parameters())
        for name, tensor in (state["importance"] | state["anchor"]).items():
            if name not in parameters or parameters[name].shape != tensor.shape:
                raise ValueError(f"saved importance of {name} {tuple(tensor.shape)}: the model has no such weight")
        self.importance, self.anchor = (
            own_copies({name: state[part][name] for name in parameters if name in state[part]}, self.model)
            for part in ("importance", "anchor")
        )
        if self.path is not None:
            # The tasks before may have estimated importance in another way.
            self.path = PathIntegral(self.model)
            if state["path"] is not None:
                self.path.load_state_dict(state["path"])
        self._generator.set_state(state["generator"])


def _spikes_on_both_sides(model: Any) -> bool:  # noqa: ANN401 -- a language model
    return bool(model.plastic_synapses()) and model.config.liquid_backbone == "lif"
