"""Spiking populations as graphs of NIR, the format in which simulators and neuromorphic chips exchange networks.

    spiking block   normed stream -> W_in -> first population -> W_p -> second population -> spikes
    hybrid block    inner channels of Mamba, as the currents that they become -> first population -> ...

A neuron of ours is  v'[t] = beta v[t-1] + i[t],  z = 1 where v' reaches the threshold,  v = v' (1 - z).  NIR says it as
CubaLIF over steps of DT seconds: a synapse without memory (tau_syn = DT), tau_mem = DT / (1 - beta), r = tau_mem / DT,
so that forward Euler gives back the same numbers; readers agree about r in that form only. NIR resets a membrane to a
value: a reset that subtracts the threshold cannot be said, nor time constants that Mamba steers token by token.
Source: Pedersen et al. 2024, Neuromorphic intermediate representation, Nature Communications 15, 8122.
"""

from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambrane.core.errors import UserError
from mambrane.core.optional_package import optional_package
from mambrane.layers.spiking import SpikingPopulation
from mambrane.models.blocks.hybrid import HybridBlock
from mambrane.models.blocks.spiking import SpikingBlock
from mambrane.models.language_model import LanguageModel
from mambrane.storage.atomic_files import make_folder

DT = 1e-4
"""Seconds of a tick in the graph; the step that snnTorch takes for a graph of NIR."""


class WrittenGraphs(NamedTuple):
    """What was written, and what could not be said."""

    files: tuple[Path, ...]
    """One graph for each block that spikes."""
    left_out: tuple[str, ...]
    """A sentence for each population that is not in its block's graph."""


def write_spiking_graphs(model: LanguageModel, folder: Path) -> WrittenGraphs:
    """Write the spiking populations of each block as a graph: block-0.nir, block-1.nir, ...

    Raises:
        UserError: the library is missing, no block spikes, or the reset is one that NIR cannot say.
    """
    nir = optional_package("nir", extra="nir", asked_for="--to nir")
    _refuse_subtracting_reset(model)
    spiking = ((index, block) for index, block in enumerate(model.stack))
    blocks = [(index, block) for index, block in spiking if isinstance(block, (SpikingBlock, HybridBlock))]
    if not blocks:
        raise UserError(
            f"blocks {model.config.block_pattern}: none of them spikes",
            wanted="a model with spiking populations",
            way_out="--to folder or --to transformers",
        )
    make_folder(folder)
    files, left_out = [], []
    for index, block in blocks:
        graph, sentence = _graph_of(nir, block, model.config.num_spike_steps)
        files.append(folder / f"block-{index}.nir")
        nir.write(files[-1], graph)
        if sentence:
            left_out.append(f"block {index}: {sentence}")
    return WrittenGraphs(tuple(files), tuple(left_out))


def _graph_of(nir: ModuleType, block: SpikingBlock | HybridBlock, ticks_per_token: int) -> tuple[Any, str]:
    """Return the graph of a block, and what it leaves out as a sentence."""
    sentence = _why_not_second(block)
    nodes: dict[str, Any] = {}
    if isinstance(block, SpikingBlock):
        nodes["input"] = nir.Input(input_type=np.array([block.input.in_features]))
        nodes["input_weights"] = nir.Linear(weight=_array(block.input.weight))
    else:
        nodes["input"] = nir.Input(input_type=np.array([block.first_bias.numel()]))
    nodes["first"] = _population(nir, block.first)
    if not sentence:
        assert isinstance(block.second, SpikingPopulation), "a liquid one is left out"
        weight = _array(block.plastic.weight)
        bias = _array(block.second_bias) if isinstance(block, HybridBlock) else np.zeros(len(weight), dtype=np.float32)
        nodes["plastic_weights"] = nir.Affine(weight=weight, bias=bias)
        nodes["second"] = _population(nir, block.second)
    last = list(nodes)[-1]
    nodes["output"] = nir.Output(output_type=np.array(nodes[last].output_type["output"]))
    names = list(nodes)
    graph = nir.NIRGraph(nodes=nodes, edges=list(pairwise(names)))
    graph.metadata = {"dt_s": DT, "ticks_per_token": ticks_per_token, "made_by": "mambrane"}
    return graph, sentence


def _why_not_second(block: SpikingBlock | HybridBlock) -> str:
    """Return why the second population cannot be said in NIR; empty where it can."""
    if not isinstance(block.second, SpikingPopulation):
        return "the second population is a liquid cell, for which NIR has no node; it is left out"
    if isinstance(block, SpikingBlock) or block.mode == "parallel" or not bool(block.mamba_to_second.any()):
        return ""
    if block.mode == "sequential":
        return "the second population is driven by Mamba too, which NIR cannot say; it is left out"
    return "Mamba steers the time constants of the second population, which NIR cannot say; it is left out"


def _population(nir: ModuleType, population: SpikingPopulation) -> Any:  # noqa: ANN401 -- a node of NIR
    beta = torch.exp(-1.0 / population.log_tau.detach().double().exp()).cpu().numpy()
    tau_mem, ones = DT / (1.0 - beta), np.ones_like(beta)
    values = {
        "tau_syn": DT * ones,
        "tau_mem": tau_mem,
        "r": tau_mem / DT,
        "v_leak": 0.0 * ones,
        "v_threshold": population.options["threshold"] * ones,
        "v_reset": 0.0 * ones,
        "w_in": ones,
    }
    return nir.CubaLIF(**{name: value.astype(np.float32) for name, value in values.items()})


def _refuse_subtracting_reset(model: LanguageModel) -> None:
    if model.config.spike_reset == "subtract":
        raise UserError(
            "--spike-reset subtract: a spike takes the threshold off the membrane, and NIR can only set it to a value",
            wanted="a model trained with --spike-reset zero",
            way_out="train with --spike-reset zero, or --to folder, which keeps every reset",
        )


def _array(weight: Tensor) -> np.ndarray:
    return weight.detach().cpu().float().numpy()
