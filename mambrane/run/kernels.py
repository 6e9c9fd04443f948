"""Which kernels a run needs, compiled before it needs them."""

import torch

from mambrane.core.events import EventLog
from mambrane.models.block import operations_of_model
from mambrane.ops.warm_up import compile_kernels
from mambrane.run.config import RunConfig

STDP_OPERATIONS = ("spike_pairs", "causal_trace")
"""Operations with kernels that the rules of STDP call."""


def compile_kernels_of(config: RunConfig, device: torch.device, events: EventLog) -> None:
    """Read the kernels of a run from the disk, or compile them and emit "compiling"; a GPU needs none."""
    if device.type == "cpu":
        compile_kernels(lambda message: events.emit("compiling", message=message), operations_of(config))


def operations_of(config: RunConfig) -> list[str]:
    """Return the operations with kernels that a run uses."""
    operations = list(operations_of_model(config.model))
    if config.plasticity.use_stdp:
        operations += STDP_OPERATIONS
    if config.plasticity.use_meta_plasticity:
        operations.append("update_gate")
    return list(dict.fromkeys(operations))
