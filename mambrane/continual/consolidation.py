"""Consolidation: online elastic weight consolidation, a spring on each weight as stiff as the weight was important.

    penalty = strength / 2  sum_k F_k (w_k - w*_k)^2                          in nats per token, once a window
    F <- decay F + unit(F_task),   w* <- w                                    when a task ends
    F_task = mean over sequences of (d/dw sum_t log p(y_t | tokens up to t))^2,   y_t drawn from the model itself

unit divides by the mean over all weights of the model, so the strength has the same meaning for every model and task:
moving every weight by d costs strength / 2 d^2 times the number of weights, spread according to importance.

Which Fisher: labels are sampled from the model's own distribution and the gradient of one sequence at a time is
squared, which estimates the true Fisher information. True labels would give the empirical Fisher, and squaring the
gradient of a batch mean would shrink it by the batch size (van de Ven, arXiv 2502.11756).

Sources: Kirkpatrick et al., PNAS 114 (2017); online form: Schwarz et al., Progress and Compress (arXiv 1805.06370).
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.continual.config import ContinualConfig
from mambrane.core.seeding import make_generator
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.engine.epoch import Loader
from mambrane.engine.extensions import BoundaryView


class _Springs(torch.autograd.Function):
    """strength / 2 sum F (w - w*)^2 as one node of the graph; its gradient is strength F (w - w*)."""

    @staticmethod
    def forward(ctx: Any, strength: float, *springs: Tensor) -> Tensor:  # noqa: ANN401
        fishers, anchors, weights = (list(springs[part::3]) for part in range(3))
        drifts = torch._foreach_sub(weights, anchors)
        forces = torch._foreach_mul(fishers, drifts)
        torch._foreach_mul_(forces, strength)
        ctx.save_for_backward(*forces)
        energies = [force.flatten() @ drift.flatten() for force, drift in zip(forces, drifts, strict=True)]
        return 0.5 * torch.stack(energies).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        forces = torch._foreach_mul(list(ctx.saved_tensors), gradient)
        return (None, *(part for force in forces for part in (None, None, force)))


class Consolidation:
    """Window penalty and boundary: holds the weights where the earlier tasks left them."""

    name = "consolidation"

    def __init__(self, config: ContinualConfig, model: nn.Module, *, seed: int) -> None:
        self.config = config
        self.model = model
        self.fisher: dict[str, Tensor] = {}
        """F by parameter name; empty during the first task."""
        self.anchor: dict[str, Tensor] = {}
        """w*: weights at the last boundary."""
        self._generator = make_generator(seed, "fisher")

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the penalty, or None while there is no earlier task or no strength."""
        if not self.fisher or self.config.consolidation_strength == 0:
            return None
        names = list(self.fisher)
        springs = [(self.fisher[name], self.anchor[name], model.get_parameter(name)) for name in names]
        return _Springs.apply(self.config.consolidation_strength, *(tensor for spring in springs for tensor in spring))

    def boundary(self, view: BoundaryView) -> None:
        """Add the Fisher information of the ended task, and anchor the weights where they are."""
        sequences = coming_windows(view.loader, self.config.fisher_sequences)
        new = sampled_fisher(view.model, sequences, generator=self._generator, device=view.device)
        new, older = normalised(new), self.fisher
        parameters = dict(view.model.named_parameters())
        # In the model's order, here and after a restart: the order of a sum changes its last bits.
        self.fisher = {
            name: new.get(name, 0.0)
            + self.config.consolidation_decay * older.get(name, torch.zeros_like(weight.detach()))
            for name, weight in parameters.items()
            if name in new or name in older
        }
        self.anchor = {name: parameters[name].detach().clone() for name in self.fisher}

    def state_dict(self) -> dict[str, Any]:
        """Return Fisher information, anchor and the generator of the sampled labels."""
        return {
            "fisher": dict(self.fisher),
            "anchor": dict(self.anchor),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; raises ValueError when they belong to another model."""
        parameters = dict(self.model.named_parameters())
        for name, tensor in (state["fisher"] | state["anchor"]).items():
            if name not in parameters or parameters[name].shape != tensor.shape:
                raise ValueError(
                    f"saved Fisher information of {name} {tuple(tensor.shape)}: the model has no such weight"
                )
        self.fisher, self.anchor = (
            {
                name: state[part][name].to(parameters[name].device, copy=True)
                for name in parameters
                if name in state[part]
            }
            for part in ("fisher", "anchor")
        )
        self._generator.set_state(state["generator"])


def sampled_fisher(
    model: nn.Module, sequences: Sequence[MicroBatch], *, generator: torch.Generator, device: torch.device
) -> dict[str, Tensor]:
    """Return the mean squared gradient of the log-likelihood of labels that the model itself draws.

    Args:
        model: its gradients are overwritten and dropped.
        sequences: micro-batches of one row; positions without a target do not count.
        generator: draws the labels.
        device: where the model is.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    sums = {name: torch.zeros_like(parameter, requires_grad=False) for name, parameter in parameters.items()}
    for sequence in sequences:
        model.zero_grad(set_to_none=True)
        log_likelihood(model, sequence.to(device), generator).backward()
        for name, parameter in parameters.items():
            if parameter.grad is not None:
                sums[name].addcmul_(parameter.grad, parameter.grad)
    model.zero_grad(set_to_none=True)
    return {name: total / len(sequences) for name, total in sums.items()}


def log_likelihood(model: nn.Module, sequence: MicroBatch, generator: torch.Generator) -> Tensor:
    """Return the log-likelihood, summed over counted positions, of next tokens that the model itself draws."""
    logits_BTV = model(sequence.inputs_BT, resets_BT=sequence.resets_BT).logits_BTV
    log_probabilities_NV = logits_BTV.float().log_softmax(dim=-1)[sequence.targets_BT != IGNORED_TARGET]
    probabilities_NV = log_probabilities_NV.detach().exp().cpu()
    labels_N1 = torch.multinomial(probabilities_NV, 1, generator=generator).to(logits_BTV.device)
    return log_probabilities_NV.gather(1, labels_N1).sum()


def normalised(fisher: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the Fisher information over its mean over all weights; parameters without any are left out."""
    informed = {name: values for name, values in fisher.items() if values.any()}
    mean = sum(float(values.double().sum()) for values in fisher.values()) / sum(map(Tensor.numel, fisher.values()))
    return {name: values / mean for name, values in informed.items()}


def coming_windows(loader: Loader, num_windows: int) -> list[MicroBatch]:
    """Return the first windows of the coming epoch, one a micro-batch; the loader's cursor stays where it is."""
    windows = (
        MicroBatch(*(part[row : row + 1] for part in batch))
        for batch in loader.epoch_batches()
        for row in range(batch.inputs_BT.shape[0])
    )
    try:
        return list(islice(windows, num_windows))
    finally:
        loader.rewind()
