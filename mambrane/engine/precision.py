"""The arithmetic of the forward pass (fp32, tf32, bf16, fp16) and the loss scale that fp16 needs.

fp16 gradients below 6e-8 vanish and above 65504 overflow, so the loss is multiplied by a scale s before the backward
pass and the gradients are divided by it after. Inside a step the engine back-propagates sums over tokens, which
overflow sooner, so the sum is first divided by a constant d (a power of two, hence exact) that stands in for the
number of targets until the step closes:

    backward of  s / d * loss_sum        at close:  gradient *= d / (s * targets)

The scale itself follows torch's GradScaler: half of it after a step that overflowed, twice after 2000 good ones
in a row. The scaler is asked twice in a step, never more: `scale` for each loss, and one `update` at the end.
Source: Micikevicius et al., Mixed Precision Training, 2018; torch.amp.GradScaler.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.engine.config import EngineConfig

SMALLEST_SCALE = 2.0**-14
"""Below it the overflow does not come from fp16: the run has diverged."""


def choose_precision(name: str, *, mixed_precision: bool, device: torch.device) -> str:
    """Return fp32, tf32, bf16 or fp16; "auto" takes what the device is fast at, and only a GPU has TF32."""
    if name == "tf32" and device.type != "cuda":
        return "fp32"
    if name != "auto":
        return name
    if not mixed_precision or device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def dtype_of_products(config: EngineConfig, device: torch.device) -> torch.dtype:
    """Return the type that the products of a forward pass are computed in."""
    kind = choose_precision(config.precision, mixed_precision=config.mixed_precision, device=device)
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(kind, torch.float32)


class Precision:
    """Autocast for the forward pass, and for fp16 a loss scale that is updated once for each step."""

    def __init__(
        self, kind: str, device: torch.device, *, initial_scale: float = 2.0**16, growth_interval: int = 2000
    ) -> None:
        self.kind = kind
        self._device = device
        self._scaler = (
            _LossScaler(device, initial_scale=initial_scale, growth_interval=growth_interval)
            if kind == "fp16"
            else None
        )
        self._state_of_unused_scaler: dict[str, Any] | None = None
        self._divisor = 1.0
        """What stands in for the number of targets until the step closes."""

    def autocast(self, *, keeps_casts: bool = True) -> AbstractContextManager[Any]:
        """Return the context of a forward pass; one of several passes must not keep the weights as it has cast them."""
        if self.kind in ("fp32", "tf32"):
            return nullcontext()
        dtype = torch.bfloat16 if self.kind == "bf16" else torch.float16
        return torch.autocast(self._device.type, dtype, cache_enabled=keeps_casts)

    def autocast_unscaled(self) -> AbstractContextManager[Any]:
        """Return the context of passes whose gradients are not scaled: float32 in place of fp16."""
        return nullcontext() if self.kind == "fp16" else self.autocast(keeps_casts=False)

    @property
    def scale(self) -> float:
        """The loss scale; 1 where none is needed."""
        return 1.0 if self._scaler is None else self._scaler.scale

    @property
    def is_exhausted(self) -> bool:
        """True when the scale has fallen so far that overflow cannot be its fault."""
        return self.scale < SMALLEST_SCALE

    def expect(self, num_targets: int) -> None:
        """Expect about so many targets in the step that opens, the same number on all ranks."""
        self._divisor = 2.0 ** math.ceil(math.log2(max(1, num_targets)))

    def scaled(self, loss_sum: Tensor) -> Tensor:
        """Return what to back-propagate for a summed loss."""
        if self._scaler is None:
            return loss_sum
        return self._scaler.scaled(loss_sum / self._divisor)

    def unscale_factor(self, num_targets: int) -> float:
        """Return what turns the accumulated gradients into the mean over the step's targets."""
        if self._scaler is None:
            return 1.0 / num_targets
        return self._divisor / (self._scaler.scale * num_targets)

    def update(self, *, is_finite: bool) -> None:
        """Tell the scale, once for each step that had gradients, whether all of them were finite."""
        if self._scaler is not None:
            self._scaler.update(is_finite=is_finite)

    def state_dict(self) -> dict[str, Any]:
        """Return the precision and the scaler's state, also of a scaler that an earlier precision needed."""
        state = self._state_of_unused_scaler if self._scaler is None else self._scaler.state_dict()
        return {"kind": self.kind, "scaler": state}

    def load_state_dict(self, state: dict[str, Any], events: EventLog | None = None) -> None:
        """Take the state back. When the precision has changed, a scale is kept for later, or starts anew."""
        if self._scaler is None:
            self._state_of_unused_scaler = state["scaler"]
        elif state["scaler"] is not None:
            self._scaler.load_state_dict(state["scaler"])
        if events is not None and state["kind"] != self.kind:
            events.emit("precision_changed", saved=state["kind"], now=self.kind, scale=self.scale)


class _LossScaler:
    """torch's GradScaler, told of an overflow by the engine's one finite flag.

    The scaler looks for overflow in an optimizer's gradients. It is shown an optimizer of one number whose gradient is
    the flag, so that every optimizer and every rank obeys the same flag, its `unscale_` and `update` are always called
    as a pair, and no order of calls exists in which it could raise.
    """

    def __init__(self, device: torch.device, *, initial_scale: float, growth_interval: int) -> None:
        self._scaler = torch.amp.GradScaler(device.type, init_scale=initial_scale, growth_interval=growth_interval)
        if not self._scaler.is_enabled():
            raise UserError(
                f"--precision fp16: torch has no loss scaling on {device.type} here",
                wanted="a device whose gradients can be scaled",
                way_out="--precision bf16 or fp32",
            )
        self._flag = nn.Parameter(torch.zeros((), device=device))
        # The scaler makes its tensors when it first scales; a rank without data must be able to update it all the same.
        self._scaler.scale(self._flag.detach())
        self._flag_holder = torch.optim.SGD([self._flag], lr=0.0)

    @property
    def scale(self) -> float:
        return self._scaler.get_scale()

    def scaled(self, loss: Tensor) -> Tensor:
        return self._scaler.scale(loss)

    def update(self, *, is_finite: bool) -> None:
        self._flag.grad = torch.full_like(self._flag, 0.0 if is_finite else math.inf)
        self._scaler.unscale_(self._flag_holder)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._scaler.load_state_dict(state)
