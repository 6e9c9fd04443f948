"""The switches of a preset that go off when what they need is taken away."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from mambrane.continual.config import KEEPING_CURRICULA
from mambrane.settings.config import SECTION_OF, RunConfig

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
    values = {name: getattr(getattr(base, section), name) for name, section in SECTION_OF.items()}
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
