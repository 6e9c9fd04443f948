"""Synaptic intelligence: how much each weight contributed to the fall of the loss during a task.

    path <- path - g (w_next - w)                         after each step, g the gradient of the loss alone
    importance = max(path, 0) / ((w_end - w_start)^2 + damping)

Source: Zenke, Poole, Ganguli, Continual Learning through Synaptic Intelligence (arXiv 1703.04200), equations 3 to 5.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mambrane.engine.shards import as_pieces, own_copies, own_numbers

DAMPING = 1e-3
"""Keeps a weight that hardly moved from having an endless importance: about (0.03)^2, a usual change within a task."""


class PathIntegral:
    """Watches gradients and weights from step to step; called when gradients are in place, before penalties.

    It holds what this process holds of them: all, or a piece of each.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.path: dict[str, Tensor] = {}
        self.start = _weights(model)
        """Weights at the beginning of the task."""
        self._end: dict[str, Tensor] = {}
        """Weights at the end of the path, where others have taken their place since."""
        self._previous: dict[str, Tensor] = {}
        """Weights at the last call."""
        self._gradients: dict[str, Tensor] = {}
        """Gradients at the last call."""

    @torch.no_grad()
    def watch(self, model: nn.Module) -> None:
        """Add the last step's contribution to the path, and note gradients and weights of this one."""
        self._walk(model)
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        self._gradients = {name: own_numbers(gradient).clone() for name, gradient in gradients.items()}
        self._previous = {name: _weight(model, name).clone() for name in self._gradients}

    @torch.no_grad()
    def close(self, model: nn.Module) -> None:
        """End the path here, before other weights are put in the place of these: no gradient led there."""
        self._walk(model)
        self._end, self._previous, self._gradients = _weights(model), {}, {}

    @torch.no_grad()
    def finish(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the importance of each weight that was trained, and begin a new path."""
        self._walk(model)
        weights = _weights(model)
        end = self._end or weights
        importance = {
            name: path.clamp(min=0.0) / ((end[name] - self.start[name]).square() + DAMPING)
            for name, path in self.path.items()
        }
        self.start, self.path, self._end, self._previous, self._gradients = weights, {}, {}, {}, {}
        return importance

    def _walk(self, model: nn.Module) -> None:
        for name, gradient in self._gradients.items():
            way = _weight(model, name) - self._previous[name]
            # A skipped step moved nothing, and its gradient may be infinite.
            step = torch.where(way == 0, 0.0, -gradient * way)
            self.path[name] = self.path[name] + step if name in self.path else step

    def state_dict(self) -> dict[str, Any]:
        """Return the path so far and what the next step of it needs, of the whole of each weight."""
        parts = {"path": self.path, "start": self.start, "previous": self._previous, "gradients": self._gradients}
        return {part: as_pieces(tensors, self._model) for part, tensors in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back, to where the weights are."""
        self.path, self.start, self._previous, self._gradients = (
            own_copies(state[part], self._model) for part in ("path", "start", "previous", "gradients")
        )


def _weight(model: nn.Module, name: str) -> Tensor:
    return own_numbers(model.get_parameter(name).detach())


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: _weight(model, name).clone() for name, _ in model.named_parameters()}
