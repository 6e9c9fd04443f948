"""Numbers that a device has computed, brought over to the host in one copy.

Asking a GPU for a number empties its queue: the host waits for all that was asked for before. So the numbers of a step
stay on the device until all of them are there.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def to_host(*groups: Mapping[str, float | Tensor]) -> list[dict[str, float]]:
    """Return the numbers of each group as Python floats; those that are scalars on a device come over together."""
    scalars = [each for group in groups for each in group.values() if isinstance(each, Tensor)]
    values = iter(torch.stack([each.detach().double().reshape(()) for each in scalars]).tolist() if scalars else [])
    return [
        {name: next(values) if isinstance(each, Tensor) else each for name, each in group.items()} for group in groups
    ]
