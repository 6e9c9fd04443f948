"""Which kernels a run needs, compiled before it needs them."""

import torch

from mambrane.core.events import EventLog
from mambrane.models.block import operations_of_model
from mambrane.ops.warm_up import compile_kernels
from mambrane.run.config import RunConfig
from mambrane.run.methods import methods_of


def compile_kernels_of(config: RunConfig, device: torch.device, events: EventLog) -> None:
    """Read the kernels of a run from the disk, or compile them and emit "compiling"; a GPU needs none."""
    if device.type == "cpu":
        compile_kernels(lambda message: events.emit("compiling", message=message), operations_of(config))


def all_operations_of(config: RunConfig) -> list[str]:
    """Return the operations that a run uses, those without kernels of their own included."""
    return [*operations_of(config), "linear", "linear_cross_entropy"]


def operations_of(config: RunConfig) -> list[str]:
    """Return the operations with kernels that a run uses, as its blocks and its rules name them."""
    operations = list(operations_of_model(config.model))
    for method in methods_of(config):
        operations += method.operations
    return list(dict.fromkeys(operations))
