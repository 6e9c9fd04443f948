"""The switches of a run: which are on, and which of a preset's go off when what they need is taken away."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from typing import Any

from mambrane.continual.config import KEEPING_CURRICULA
from mambrane.core.launch import num_processes
from mambrane.run.config import RunConfig

Values = Mapping[str, Any]


def _has_several_tasks(values: Values) -> bool:
    return values["continual_learning"] and values["num_tasks"] != 1 and values["curriculum"] in KEEPING_CURRICULA


def _has_hybrid_blocks(values: Values) -> bool:
    return "hybrid" in values["block_pattern"].split(",")


DEPENDS_ON: dict[tuple[str, str], Callable[[Values], bool]] = {
    ("model", "use_cross_attention"): lambda v: (
        _has_hybrid_blocks(v) and v["use_mamba"] and v["integration_mode"] == "bidirectional"
    ),
    ("model", "use_adaptive_gating"): lambda v: _has_hybrid_blocks(v) and v["use_mamba"],
    # Behind the two that need it: a configuration is checked after each change.
    ("model", "use_mamba"): _has_hybrid_blocks,
    ("plasticity", "use_stdp"): lambda v: _has_hybrid_blocks(v) and v["liquid_backbone"] == "lif",
    ("plasticity", "use_meta_plasticity"): _has_several_tasks,
    ("continual", "use_replay"): _has_several_tasks,
    ("continual", "regularizer_strength"): _has_several_tasks,
    ("continual", "distillation_strength"): _has_several_tasks,
}
"""For each switch that needs other settings, whether they are there."""

PREREQUISITES = (
    "block_pattern",
    "use_mamba",
    "integration_mode",
    "liquid_backbone",
    "continual_learning",
    "num_tasks",
    "curriculum",
)
"""The settings that others need."""


def without_unmet_switches(base: RunConfig, chosen: Values) -> RunConfig:
    """Return a preset whose switches go off where the user's choices, by name, take away what they need.

    A switch that the user has chosen stays: the configuration is then refused with the reason.
    """
    values = {f.name: getattr(section, f.name) for section in _sections(base) for f in fields(section)}
    values |= {name: chosen[name] for name in PREREQUISITES if name in chosen}
    for (section, name), is_there in DEPENDS_ON.items():
        if name not in chosen and values[name] and not is_there(values):
            off = type(values[name])(0)
            base = replace(base, **{section: replace(getattr(base, section), **{name: off})})
    return base


def with_fitting_heads(base: RunConfig, hidden_dim: int, chosen: Values, given: Collection[str]) -> RunConfig:
    """Return a preset of that width, with as many heads as divide it; heads that the user has chosen stay.

    `given` are those of the user's settings that are flags.
    """
    heads = {"num_gate_heads": hidden_dim, "cross_attn_heads": max(hidden_dim // 2, 1)}
    fitting: dict[str, Any] = {
        name: max(count for count in range(1, getattr(base.model, name) + 1) if width % count == 0)
        for name, width in heads.items()
        if name not in chosen
    }
    # Flags set their heads again; until then they must not stand in the way of the width.
    unset: dict[str, Any] = {name: 1 for name in heads if name in given}
    return replace(base, model=replace(base.model, hidden_dim=hidden_dim, **fitting, **unset))


def on_and_off(config: RunConfig, num_tasks: int | None = None) -> tuple[list[str], list[str]]:
    """Return, as text, what is switched on in a run and what is switched off.

    Args:
        config: of the run.
        num_tasks: how many tasks it has by now; as many as it began with where not given.
    """
    num_tasks = num_tasks or config.continual.num_tasks
    model, plasticity, continual = config.model, config.plasticity, config.continual
    tasks = f"continual learning ({num_tasks} task{'s' * (num_tasks > 1)})"
    mamba = f"Mamba {model.mamba_version} ({model.integration_mode})" if model.use_mamba else "Mamba"
    second = "liquid cells" if model.liquid_backbone == "lif" else f"liquid cells ({model.liquid_backbone})"
    switches = {} if model.block_pattern == "hybrid" else {f"blocks {model.block_pattern}": True}
    if "hybrid" in model.block_kinds:
        switches |= {
            mamba: model.use_mamba,
            "adaptive gating": model.use_adaptive_gating,
            "cross-attention": model.use_cross_attention,
            second: model.liquid_backbone != "lif",
        }
    if continual.continual_learning and continual.curriculum != "sequential":
        switches[f"{continual.curriculum} curriculum"] = True
    switches |= {
        tasks if continual.continual_learning else "continual learning": continual.continual_learning,
        "replay": continual.use_replay,
        "dark replay": continual.use_replay and continual.dark_replay_strength > 0,
        "plasticity of rows": plasticity.use_meta_plasticity and plasticity.meta_row_rate > 0,
        "STDP": plasticity.use_stdp,
        "meta-plasticity": plasticity.use_meta_plasticity,
        f"regularizer ({continual.regularizer})": continual.regularizer_strength > 0,
        "Reptile": continual.reptile_strength > 0,
        "distillation": continual.distillation_strength > 0,
        "averaged weights": config.engine.ema_decay > 0,
    }
    # How it is computed is worth a word only where it is not as usual.
    unusual = {
        "sums in one order": config.run.deterministic,
        "compiled blocks": config.engine.compile,
        "weights in pieces": config.engine.shard and num_processes() > 1,
        "checkpointed activations": config.engine.checkpoint_activations,
    }
    switches |= {name: True for name, is_on in unusual.items() if is_on}
    return [name for name, is_on in switches.items() if is_on], [name for name, is_on in switches.items() if not is_on]


def _sections(config: RunConfig) -> list[Any]:
    return [getattr(config, f.name) for f in fields(config)]
