"""Whole recipes as functions: sizes, and everything that docs/experiments.md found to help switched on.

A preset fills in every default; flags on the command line change single settings.
"""

from collections.abc import Callable
from dataclasses import replace

from mambrane.continual.config import ContinualConfig
from mambrane.models.config import ModelConfig
from mambrane.plasticity.config import PlasticityConfig
from mambrane.run.config import RunConfig


def tiny() -> RunConfig:
    """Readable text within minutes on two CPU cores."""
    config = base()
    return replace(
        config,
        data=replace(
            config.data,
            tokenizer="bpe:1024",
            sequence_length=128,
            batch_size=8,
            epoch_tokens=68_000,
            max_domain_bytes=1_400_000,
            max_heldout_bytes=16_384,
        ),
        model=replace(
            config.model, hidden_dim=128, num_layers=2, spiking_units=64, liquid_units=64, cross_attn_window=32
        ),
        engine=replace(config.engine, learning_rate=4e-3, accumulation_steps=1, save_every=100),
        continual=replace(config.continual, replay_buffer_size=2048, replay_fraction=0.375, fisher_sequences=32),
    )


def small() -> RunConfig:
    """Hours on a CPU, minutes on a GPU."""
    config = base()
    return replace(
        config,
        data=replace(config.data, epoch_tokens=1_800_000, max_domain_bytes=12_000_000, max_heldout_bytes=65_536),
        model=replace(config.model, hidden_dim=256, num_layers=4),
        engine=replace(config.engine, learning_rate=2e-3),
    )


def base() -> RunConfig:
    """The size of the first system of this kind: 8 layers of width 512."""
    return RunConfig(
        model=ModelConfig(use_mamba=True, mamba_d_state=32, use_adaptive_gating=True, use_cross_attention=True),
        plasticity=PlasticityConfig(use_stdp=True, use_meta_plasticity=True),
        continual=ContinualConfig(continual_learning=True, use_replay=True),
    )


PRESETS: dict[str, Callable[[], RunConfig]] = {"tiny": tiny, "small": small, "base": base}
COSTS = {
    "tiny": "0.5 M parameters, 0.7 GB of memory, about 5 minutes",
    "small": "3 M parameters, 1.2 GB of memory, about 4 hours",
    "base": "21 M parameters, 2.5 GB of memory, about 3 days (made for a GPU)",
}
"""What each preset takes on the built-in text on two cores of an AMD EPYC; `train --dry-run` measures it anew."""


def smaller_presets(config: RunConfig) -> list[str]:
    """Return the presets whose model is smaller than that of the run, the largest first."""
    size = config.model.hidden_dim**2 * config.model.num_layers
    models = {name: preset().model for name, preset in PRESETS.items()}
    sizes = {name: model.hidden_dim**2 * model.num_layers for name, model in models.items()}
    return sorted((name for name in sizes if sizes[name] < size), key=sizes.__getitem__, reverse=True)
