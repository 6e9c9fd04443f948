"""A mark on parameters whose meaning a pull towards zero would change; the optimizer reads it."""

from torch import Tensor


def exempt_from_weight_decay(parameter: Tensor) -> None:
    """Mark a parameter that must not decay, as `parameter.no_weight_decay = True` does."""
    parameter.no_weight_decay = True  # type: ignore[attr-defined]  # a name that torch does not know
