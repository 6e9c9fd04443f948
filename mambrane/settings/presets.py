"""Whole recipes as functions: sizes, and what docs/experiments.md found to help switched on.

A preset fills in every default; flags on the command line change single settings. STDP and meta-plasticity are off:
beside replay the first does nothing and the second harms (docs/experiments/forgetting.md, "five domains, each switch
alone and together"; at the preset's own length "replay alone against everything").
`--use-stdp` and `--use-meta-plasticity` turn them on.
"""

from collections.abc import Callable
from dataclasses import replace

from mambrane.continual.config import ContinualConfig
from mambrane.models.config import ModelConfig
from mambrane.settings.config import RunConfig


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
        continual=ContinualConfig(continual_learning=True, use_replay=True),
    )


def large() -> RunConfig:
    """About 350 M parameters, for a GPU of 80 GB and text of your own: 32 layers of width 1024.

    The width is that of GPT-3 Medium and Mamba 370M. Sequences of 2,048 tokens, half a million tokens in a step, decay
    0.1, betas 0.9 and 0.95, clipping at 1 and 16 states are those of the Mamba paper. The learning rate is half for
    twice the width, as in the smaller presets, and lies between those of the two. Text is read four times at most.

    Sources: Brown et al. 2020, arXiv 2005.14165, table 2.1; Gu & Dao 2023, arXiv 2312.00752, appendix E.2; four times:
    Muennighoff et al. 2023, arXiv 2305.16264, section 6.
    """
    config = base()
    return replace(
        config,
        run=replace(config.run, epochs=20),
        data=replace(config.data, tokenizer="bpe:32768", sequence_length=2048, batch_size=8),
        model=replace(
            config.model,
            hidden_dim=1024,
            num_layers=32,
            spiking_units=256,
            liquid_units=256,
            mamba_d_state=16,
            num_gate_heads=16,
            cross_attn_heads=8,
        ),
        engine=replace(config.engine, learning_rate=5e-4, adam_beta2=0.95, accumulation_steps=32),
    )


def xl() -> RunConfig:
    """About 1.3 B parameters, for a GPU of 140 GB: twice the width of `large`, a million tokens in a step."""
    config = large()
    return replace(
        config,
        model=replace(
            config.model,
            hidden_dim=2048,
            spiking_units=512,
            liquid_units=512,
            num_gate_heads=32,
            cross_attn_heads=16,
        ),
        engine=replace(config.engine, learning_rate=2.5e-4, accumulation_steps=64, checkpoint_activations=True),
    )


PRESETS: dict[str, Callable[[], RunConfig]] = {"tiny": tiny, "small": small, "base": base, "large": large, "xl": xl}
COSTS = {
    "tiny": "0.5 M parameters, 0.7 GB of memory, about 5 minutes",
    "small": "3 M parameters, 1.2 GB of memory, about 4 hours",
    "base": "21 M parameters, 2.5 GB of memory, about 3 days (made for a GPU)",
    "large": "350 M parameters, for a GPU of 80 GB and text of your own",
    "xl": "1.3 B parameters, for a GPU of 140 GB and text of your own",
}
"""What each preset takes on the built-in text on two cores of an AMD EPYC; `train --dry-run` measures it anew."""


def smaller_presets(config: RunConfig) -> list[str]:
    """Return the presets whose model is smaller than that of the run, the largest first."""
    size = config.model.hidden_dim**2 * config.model.num_layers
    models = {name: preset().model for name, preset in PRESETS.items()}
    sizes = {name: model.hidden_dim**2 * model.num_layers for name, model in models.items()}
    return sorted((name for name in sizes if sizes[name] < size), key=sizes.__getitem__, reverse=True)
