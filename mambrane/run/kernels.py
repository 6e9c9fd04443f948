"""Which kernels a run needs, compiled before it needs them."""

import torch

from mambrane.core.events import EventLog
from mambrane.kernels.compiler_process import notices
from mambrane.models.block import operations_of_model
from mambrane.models.token_program.program import warm_up
from mambrane.ops.warm_up import compile_kernels
from mambrane.settings.config import RunConfig
from mambrane.settings.methods import methods_of


def compile_kernels_of(config: RunConfig, device: torch.device, events: EventLog) -> None:
    """Read the kernels of a run from the disk, or compile them and emit "compiling"; a GPU needs none."""
    if device.type == "cpu":
        compile_kernels(lambda message: events.emit("compiling", message=message), operations_of(config))


def compile_token_program(events: EventLog) -> None:
    """Read the kernels that write and score text from the disk, or compile them and emit "compiling"."""
    with notices.to(lambda message: events.emit("compiling", message=message)):
        warm_up()


def all_operations_of(config: RunConfig) -> list[str]:
    """Return the operations that a run uses, those without kernels of their own included."""
    return [*operations_of(config), "linear"]


def operations_of(config: RunConfig) -> list[str]:
    """Return the operations with kernels that a run uses, as its blocks and its rules name them."""
    operations = list(operations_of_model(config.model))
    for method in methods_of(config):
        operations += method.operations
    return list(dict.fromkeys(operations))
