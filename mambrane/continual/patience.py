"""Patience: a task ends when its held-out text has stopped improving, with the best weights that it had.

    after each epoch      L = mean loss on the held-out text of the task's domains
    it is at rest         when no epoch of the last `patience` ones was better than the best before them

The weights of the best epoch, and their average if there is one, are put back when the task ends; what else training
changed (moments, memory, traces, counts of random draws) goes on from where it is. An extension that measures the way
of the weights from step to step is told before (`PutBackWatcher`): the jump back is no step.
Source: Prechelt, Early Stopping - But When?, 1998, criterion UP, with epochs for strips.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from mambrane.continual.measure import Measure
from mambrane.engine.extensions import Extension
from mambrane.engine.trainer import Trainer


@runtime_checkable
class PutBackWatcher(Extension, Protocol):
    """Measures the way of the weights over more than one step; not required of an extension."""

    def before_put_back(self, weights: Mapping[str, Tensor]) -> None:
        """Close what is measured at the model's weights as they are, and go on from other ones.

        Args:
            weights: what the model is about to be given, by the names of its parameters.
        """
        ...


class Patience:
    """What is known of the epochs of the task that is being learned."""

    def __init__(self, num_epochs: int) -> None:
        self.num_epochs = num_epochs
        """Epochs without a better loss after which a task is at rest; 0 is off."""
        self.begin_task()

    @property
    def is_on(self) -> bool:
        """Whether a task may end before its last epoch."""
        return self.num_epochs > 0

    def begin_task(self) -> None:
        """Forget the task before."""
        self.num_measured = 0
        """Epochs after which the held-out text was measured."""
        self.best_epoch = 0
        self.best_loss: float | None = None
        self._weights: dict[str, Tensor] = {}
        self._average: dict[str, Tensor] = {}

    @property
    def is_at_rest(self) -> bool:
        """Whether the task has stopped improving."""
        return self.is_on and self.num_measured - self.best_epoch >= self.num_epochs

    def note(self, value: float, measure: Measure, trainer: Trainer) -> dict[str, Any]:
        """Take in the value after one more epoch, and keep the weights if it is the best; returns what to say of it."""
        self.num_measured += 1
        loss = measure.sign * value
        is_best = self.best_loss is None or loss < self.best_loss
        words = f"after epoch {self.num_measured}: held-out {value:.3f} {measure.unit}"
        if is_best:
            self.best_epoch, self.best_loss = self.num_measured, loss
            self._weights = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
            average = {} if trainer.ema is None else trainer.ema.average
            self._average = {name: tensor.clone() for name, tensor in average.items()}
        else:
            words += f", epoch {self.best_epoch} was better"
        return {"epoch": self.num_measured - 1, "value": value, "is_best": is_best, "message": words}

    def rest_event(self, task_name: str) -> dict[str, Any]:
        """Return what to say of a task that has stopped improving."""
        epochs = self.num_measured
        message = f"{task_name} stops after epoch {epochs}: epoch {self.best_epoch} was the best"
        return {"epochs": epochs, "message": message}

    @torch.no_grad()
    def put_back(self, trainer: Trainer) -> bool:
        """Give the model the best weights; returns whether they are others than it has."""
        if not self._weights or self.best_epoch == self.num_measured:
            return False
        for extension in trainer.extensions.by_name().values():
            if isinstance(extension, PutBackWatcher):
                extension.before_put_back(self._weights)
        for name, weight in trainer.model.named_parameters():
            weight.copy_(self._weights[name])
        if trainer.ema is not None:
            for name, tensor in self._average.items():
                trainer.ema.average[name].copy_(tensor)
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return what is known, and the best weights."""
        return {
            "num_measured": self.num_measured,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "weights": dict(self._weights),
            "average": dict(self._average),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.num_measured, self.best_epoch = state["num_measured"], state["best_epoch"]
        self.best_loss = state["best_loss"]
        self._weights, self._average = dict(state["weights"]), dict(state["average"])
