"""Every combination of modes, small enough to run through all of them."""

import itertools

import torch

from mambrane.core.seeding import make_generator
from mambrane.models.config import ModelConfig, block_kind_names
from mambrane.models.language_model import LanguageModel

VOCAB_SIZE = 40
SMALL = {
    "hidden_dim": 32,
    "num_layers": 2,
    "spiking_units": 24,
    "liquid_units": 12,
    "mamba_d_state": 8,
    "num_gate_heads": 4,
    "cross_attn_heads": 4,
    "cross_attn_window": 8,
}


def all_modes() -> list[ModelConfig]:
    """Return one configuration for every combination of mode, adapter, gate, attention, population and ticks.

    With Mamba version 2, one for each mode and number of ticks; of every other kind of block, a few patterns.
    """
    configs = []
    choices = itertools.product(("rate", "temporal", "potential"), ("lif", "cfc", "ltc"), (1, 2))
    for method, backbone, num_ticks in choices:
        common = {
            **SMALL,
            "spike_to_mamba_method": method,
            "liquid_backbone": backbone,
            "num_spike_steps": num_ticks,
        }
        configs.append(ModelConfig(**common))
        for mode, gating in itertools.product(("sequential", "parallel", "bidirectional"), (False, True)):
            with_mamba = {**common, "use_mamba": True, "integration_mode": mode, "use_adaptive_gating": gating}
            configs.append(ModelConfig(**with_mamba))
            if mode == "bidirectional":
                configs.append(ModelConfig(**with_mamba, use_cross_attention=True))
    # Version 2 only takes the place of version 1: each mode once is enough. Expand 3 gives it two heads.
    for mode, num_ticks in itertools.product(("sequential", "parallel", "bidirectional"), (1, 2)):
        second = {"mamba_version": 2, "mamba_expand": 3, "integration_mode": mode, "num_spike_steps": num_ticks}
        configs.append(ModelConfig(**SMALL, use_mamba=True, **second))
    # Every other kind of block alone, below a hybrid one with all couplings, and above one whose population is liquid.
    for kind in (name for name in block_kind_names() if name != "hybrid"):
        for pattern, more in (
            (kind, {}),
            (f"hybrid,{kind}", {"use_mamba": True, "use_cross_attention": True}),
            (f"{kind},hybrid", {"liquid_backbone": "cfc", "num_spike_steps": 2}),
        ):
            configs.append(ModelConfig(**SMALL, block_pattern=pattern, **more))
    return configs


def describe(config: ModelConfig) -> str:
    """Return a readable test name."""
    if "hybrid" not in config.block_kinds:
        return f"only-{config.block_pattern}"
    mode = config.integration_mode if config.use_mamba else "spiking"
    parts = [mode, config.spike_to_mamba_method, config.liquid_backbone, f"{config.num_spike_steps}tick"]
    parts += [config.block_pattern.replace(",", "+")] * ("," in config.block_pattern)
    parts += ["mamba2"] * (config.mamba_version == 2)
    parts += ["gate"] * config.use_adaptive_gating + ["attention"] * config.use_cross_attention
    return "-".join(parts)


def build_awake(config: ModelConfig, seed: int = 0) -> LanguageModel:
    """Return a float64 model in which no coupling is still at its zero start, so that every path is alive."""
    model = LanguageModel(config, VOCAB_SIZE, make_generator(seed, "weights")).double()
    generator = make_generator(seed, "couplings")
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0.0, 0.2, generator=generator)
    return model


def random_tokens(batch_size: int, num_tokens: int, seed: int = 0) -> torch.Tensor:
    """Return token numbers [B, T]."""
    return torch.randint(0, VOCAB_SIZE, (batch_size, num_tokens), generator=make_generator(seed, "tokens"))
