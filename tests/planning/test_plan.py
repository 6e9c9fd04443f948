"""The plan: what a run keeps for each parameter."""

from dataclasses import replace

import pytest
import torch

from mambrane.continual.config import ContinualConfig
from mambrane.core.events import EventLog
from mambrane.data.loader import SequenceLoader
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.data.tokens import token_file_from
from mambrane.engine.config import EngineConfig
from mambrane.engine.trainer import Trainer
from mambrane.models.config import ModelConfig
from mambrane.planning.plan import kept_by_parameter, make_plan
from mambrane.plasticity.config import PlasticityConfig
from mambrane.run.build import build_model
from mambrane.run.run import Run
from mambrane.settings.config import RunConfig
from mambrane.settings.methods import build_extensions


def kept_numbers(value):
    """Return how many float32 numbers are in a tree of a state."""
    if isinstance(value, torch.Tensor):
        return value.numel() if value.dtype == torch.float32 else 0
    return sum(map(kept_numbers, value.values())) if isinstance(value, dict) else 0


TASKS = {"continual_learning": True, "num_tasks": 2}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"engine": EngineConfig(ema_decay=0.9)},
        {"plasticity": PlasticityConfig(use_meta_plasticity=True)},
        {"plasticity": PlasticityConfig(use_meta_plasticity=True), "continual": ContinualConfig(**TASKS)},
        *(
            {"continual": ContinualConfig(**TASKS, regularizer_strength=1.0, regularizer=method)}
            for method in ("ewc", "mas", "si")
        ),
        {"continual": ContinualConfig(**TASKS, distillation_strength=1.0)},
    ],
)
def test_the_plan_counts_what_a_run_keeps_for_each_parameter(options):
    options = {"engine": EngineConfig(accumulation_steps=1), **options}
    config = RunConfig(model=ModelConfig(hidden_dim=16, num_layers=1, spiking_units=8), **options)
    tokenizer = BytesTokenizer()
    model = build_model(config, tokenizer.vocab_size)
    trainer = Trainer(
        model,
        config.engine,
        device=torch.device("cpu"),
        events=EventLog(),
        extensions=build_extensions(config, model),
    )
    text = token_file_from([bytes(range(32, 127)) * 8], tokenizer)
    loader = SequenceLoader([text], sequence_length=32, batch_size=4, seed=0, name="text")
    for task in range(2 if config.has_earlier_tasks else 1):
        if task:
            trainer.end_task(loader, task - 1)
        trainer.begin_task(4)
        list(trainer.steps(loader))
    state = trainer.state_dict()
    held = kept_numbers({name: state[name] for name in ("weights", "optimizer", "extensions")})
    # Not in a checkpoint: gradients; with meta-plasticity 1 - f from the second task on, and the weights before a step.
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    held += num_parameters * (1 + config.plasticity.use_meta_plasticity * (1 + config.has_earlier_tasks))
    assert held / num_parameters == pytest.approx(sum(kept_by_parameter(config).values()), rel=0.03)


def test_a_plan_adds_up_and_leaves_nothing_in_the_folder_of_the_run(run_folder, tmp_path):
    saved = Run.open(run_folder).config
    config = replace(saved, run=replace(saved.run, output_dir=str(tmp_path / "run")))
    plan = make_plan(config, torch.device("cpu"), EventLog())
    shown = plan.to_dict(["a warning"])
    assert [task.name for task in plan.tasks] == ["domain0", "domain1"]
    assert shown["steps"] == sum(task.steps for task in plan.tasks)
    assert shown["parameters"] == sum(p.numel() for p in Run.open(run_folder).model.parameters())
    assert shown["memory_bytes"] == sum(plan.memory_bytes.values())
    assert shown["warnings"] == ["a warning"]
    assert not (tmp_path / "run").exists()
