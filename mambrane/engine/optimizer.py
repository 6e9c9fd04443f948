"""AdamW with decoupled decay on matrices only, and its state by parameter name.

    m <- b1 m + (1 - b1) g      v <- b2 v + (1 - b2) g^2      w <- w - rate (m^ / (sqrt(v^) + eps) + decay w)

Vectors, embeddings, convolution taps, the log-rates A_log and the skip D have no decay: pulling them to zero changes
what they mean. A parameter with the attribute `no_weight_decay = True` has none either.
Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from mambrane.engine.config import EngineConfig
from mambrane.engine.shards import piece_of

WITHOUT_DECAY = ("A_log", "D")
"""Last part of the names that never decay."""


def takes_decay(name: str, parameter: nn.Parameter, owner: nn.Module) -> bool:
    """Return whether a parameter of that name, which belongs to the module `owner`, is pulled towards zero."""
    return (
        parameter.ndim >= 2
        and not vars(parameter).get("no_weight_decay", False)
        and not isinstance(owner, (nn.Embedding, nn.Conv1d))
        and not any("conv" in part for part in name.split("."))
        and name.split(".")[-1] not in WITHOUT_DECAY
    )


def build_optimizer(model: nn.Module, config: EngineConfig, *, fused: bool = True) -> Optimizer:
    """Return AdamW over every parameter of the model, frozen ones included: they may be thawed later.

    Fused is the fastest backend on a CPU and on CUDA, and agrees with the others (tests/engine/test_optimizer.py).
    """
    decaying, plain = _split(model, set())
    return AdamW(
        [{"params": decaying, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(config.adam_beta1, config.adam_beta2),
        fused=fused,
    )


def add_new_parameters(optimizers: Sequence[Optimizer], model: nn.Module) -> list[str]:
    """Give parameters that the model has gained, and no optimizer knows, to the first one; returns their names."""
    known = {
        id(parameter) for optimizer in optimizers for group in optimizer.param_groups for parameter in group["params"]
    }
    decaying, plain = _split(model, known)
    if decaying:
        optimizers[0].add_param_group({"params": decaying})
    if plain:
        optimizers[0].add_param_group({"params": plain, "weight_decay": 0.0})
    return [name for name, parameter in model.named_parameters() if id(parameter) not in known]


def set_learning_rate(optimizers: Sequence[Optimizer], learning_rate: float) -> None:
    """Set the learning rate of every group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate


def optimizer_state_by_name(optimizers: Sequence[Optimizer], model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the state of each parameter that was ever stepped, by the parameter's name."""
    return {
        name: dict(optimizer.state[parameter])
        for name, parameter in model.named_parameters()
        for optimizer in optimizers
        if parameter in optimizer.state
    }


def load_optimizer_state(optimizers: Sequence[Optimizer], model: nn.Module, state: dict[str, dict[str, Any]]) -> None:
    """Take the state of each parameter back; parameters without a saved state start fresh.

    Raises:
        ValueError: a saved name or shape is not one of the model's.
    """
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for name, entry in state.items():
        for key, value in entry.items():
            if isinstance(value, Tensor) and value.ndim > 0 and value.shape != shapes.get(name):
                raise ValueError(f"{key} of {name}: shape {tuple(value.shape)}, the model has {shapes.get(name)}")
    parameters = dict(model.named_parameters())
    names = {id(parameter): name for name, parameter in parameters.items()}
    for optimizer in optimizers:
        own = optimizer.state_dict()
        ordered = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
        own["state"] = {
            number: _copied(state[name], parameters[name]) for number, name in enumerate(ordered) if name in state
        }
        optimizer.load_state_dict(own)


def _copied(entry: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
    """Return the state of a parameter, copied; what has a number for each weight lies where the weights lie."""
    return {key: _copy(value, parameter) if isinstance(value, Tensor) else value for key, value in entry.items()}


def _copy(value: Tensor, parameter: Tensor) -> Tensor:
    return (piece_of(value, like=parameter) if value.ndim > 0 else value).clone()


def _split(model: nn.Module, known: set[int]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters whose id is not in `known`: those that decay, and the others."""
    decaying: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    seen = set(known)
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix=prefix, recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                (decaying if takes_decay(name, parameter, module) else plain).append(parameter)
    return decaying, plain
