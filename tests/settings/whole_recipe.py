"""The recipe of the README's main command: a preset with every switch that it turns on."""

from dataclasses import replace

from mambrane.settings.config import RunConfig
from mambrane.settings.presets import tiny

MAIN_SWITCHES = "--use-stdp --use-meta-plasticity"
"""What the main command turns on beside the preset."""


def whole_recipe() -> RunConfig:
    """Return the tiny preset with STDP and meta-plasticity."""
    config = tiny()
    return replace(config, plasticity=replace(config.plasticity, use_stdp=True, use_meta_plasticity=True))
