"""Whole runs as functions. A preset fills in every default; flags on the command line change single settings."""

from collections.abc import Callable
from dataclasses import replace

from mambrane.run.config import RunConfig


def tiny() -> RunConfig:
    """Readable text within minutes on two CPU cores."""
    config = base()
    return replace(
        config,
        data=replace(
            config.data,
            sequence_length=128,
            batch_size=8,
            epoch_tokens=72_000,
            max_domain_bytes=560_000,
            max_heldout_bytes=8_192,
        ),
        model=replace(config.model, hidden_dim=128, num_layers=2, spiking_units=64, liquid_units=64),
        engine=replace(config.engine, learning_rate=4e-3, accumulation_steps=1, save_every=100),
        continual=replace(config.continual, replay_buffer_size=256, fisher_sequences=32),
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
    return RunConfig()


PRESETS: dict[str, Callable[[], RunConfig]] = {"tiny": tiny, "small": small, "base": base}
