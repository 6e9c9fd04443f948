"""What is on and what is off in a run, as its summary says it; a method says its own name."""

from mambrane.core.launch import num_processes
from mambrane.settings.config import RunConfig
from mambrane.settings.methods import METHODS


def on_and_off(config: RunConfig, num_tasks: int | None = None) -> tuple[list[str], list[str]]:
    """Return, as text, what is switched on in a run and what is switched off.

    `num_tasks` is how many tasks it has by now; as many as it began with where not given.
    """
    num_tasks = num_tasks or config.continual.num_tasks
    model, continual = config.model, config.continual
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
        **{label: method.is_used(config) for method in METHODS if (label := method.label_in(config))},
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
