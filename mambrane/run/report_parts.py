"""What a report shows of a run's model, beside what the run left on the disk."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mambrane.data.domains import Domain
from mambrane.data.tokenizer import Tokenizer
from mambrane.measure.energy import estimate_energy
from mambrane.measure.probe import probe_model
from mambrane.models.cost import count_costs
from mambrane.models.language_model import LanguageModel
from mambrane.plasticity.windows import window_of
from mambrane.report.data import Importance
from mambrane.run.saved import SavedRun
from mambrane.storage.checkpoint import Checkpoints

PROBED_TOKENS = 1024


def model_parts(saved: SavedRun) -> dict[str, Any]:
    """Return time constants, STDP window and importance by layer as fields of `ReportData`."""
    plasticity = saved.config.plasticity
    checkpoint = Checkpoints(saved.folder.checkpoints_folder).load_newest()
    states = {} if checkpoint is None else checkpoint.parts["extensions"]
    return {
        "time_constants": {
            _population(name): parameter.detach().exp().cpu().numpy()
            for name, parameter in saved.model.named_parameters()
            if name.endswith(".log_tau")
        },
        "ticks_per_token": saved.config.model.num_spike_steps,
        "window": window_of(plasticity) if plasticity.use_stdp else None,
        "importance": importance_by_layer(saved.model, states, kappa=plasticity.meta_kappa),
    }


def probed_parts(model: LanguageModel, tokenizer: Tokenizer, domain: Domain) -> dict[str, Any]:
    """Return what the neurons do on held-out text, and the energy that it would take, as fields of `ReportData`."""
    probe = probe_model(model, domain.heldout.tokens[:PROBED_TOKENS], tokenizer)
    return {"probe": probe, "energy": estimate_energy(count_costs(model, probe.firing_rates))}


def importance_by_layer(model: nn.Module, states: Mapping[str, Any], *, kappa: float) -> Importance | None:
    """Return how much the tasks so far lean on each layer, as the regularizer or meta-plasticity has it, if any."""
    parameters = dict(model.named_parameters())
    regularizer = states.get("regularizer", {}).get("importance")
    if regularizer:
        return Importance(
            "mean importance of a weight",
            _means(parameters, {name: values.double() for name, values in regularizer.items()}),
            "What the regularizer holds in place: 1 is the mean over all weights of the model, per task learned.",
        )
    gate = states.get("meta_plasticity", {}).get("importance")
    if gate and kappa > 0:
        return Importance(
            "share of weights held back by half or more",
            _means(parameters, {name: (kappa * values >= 1).double() for name, values in gate.items()}),
            "Where meta-plasticity holds on to the earlier tasks: weights whose way from the anchor is halved or "
            "shorter (f at most 1/2).",
        )
    return None


def _means(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the mean by layer over all its weights; those without a value count as 0."""
    sums: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for name, parameter in parameters.items():
        layer = _layer(name)
        sizes[layer] = sizes.get(layer, 0) + parameter.numel()
        sums[layer] = sums.get(layer, 0.0) + (float(values[name].sum()) if name in values else 0.0)
    return {layer: sums[layer] / sizes[layer] for layer in sizes}


def _layer(name: str) -> str:
    first, _, rest = name.partition(".")
    return f"block {int(rest.split('.')[0]) + 1}" if first == "blocks" else first.replace("_", " ")


def _population(name: str) -> str:
    parts = name.split(".")
    return f"{_layer(name)}, {parts[-2].replace('_', ' ')}"
