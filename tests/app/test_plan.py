"""The plan says what a run would do, and touches nothing."""

import json

import pytest
import torch

from mambrane.app.cli import main
from mambrane.continual.config import ContinualConfig
from mambrane.core.events import EventLog
from mambrane.data.loader import SequenceLoader
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.data.tokens import token_file_from
from mambrane.engine.config import EngineConfig
from mambrane.engine.trainer import Trainer
from mambrane.models.config import ModelConfig
from mambrane.plasticity.config import PlasticityConfig
from mambrane.run.build import build_extensions, build_model
from mambrane.run.config import RunConfig
from mambrane.run.plan import kept_by_parameter
from mambrane.run.timing import now_s
from tests.contract.main_job import SIZE, SWITCHES, write_domains


def test_a_dry_run_prints_tasks_parameters_memory_and_time_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    data = write_domains(tmp_path / "texts")
    output = tmp_path / "run"
    words = ["train", *SIZE.split(), *SWITCHES.split(), "--data", str(data), "--output-dir", str(output), "--dry-run"]
    asked = []

    def compile_kernels(announce, operations):
        announce("compiling CPU kernels")
        asked.extend(operations)

    monkeypatch.setattr("mambrane.run.kernels.compile_kernels", compile_kernels)
    assert main([*words, "--liquid-units", "64"]) == 0
    told, beside = capsys.readouterr()
    assert beside == "compiling CPU kernels\n"
    assert {"lif", "causal_trace", "selective_scan", "windowed_attention"} <= set(asked)
    for word in (
        "--liquid-units 64 has no effect without --liquid-backbone cfc or ltc",
        "domain0",
        "domain4",
        "total",
        "parameters",
        "cross-attention",
        "memory",
        "MiB",
        "time",
        "about",
        "in fp32",
        "--precision bf16",
    ):
        assert word in told
    assert not output.exists()


def test_the_plan_as_json_is_one_object_and_nothing_beside_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("mambrane.run.kernels.compile_kernels", lambda announce, operations: announce("compiling"))
    data = write_domains(tmp_path / "texts")
    words = ["train", *SIZE.split(), *SWITCHES.split(), "--data", str(data), "--dry-run", "--json"]
    assert main([*words, "--liquid-units", "64"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["config"]["model"]["hidden_dim"] == 32
    assert [domain["name"] for domain in plan["domains"]] == [f"domain{index}" for index in range(5)]
    assert plan["domains"][0].keys() >= {"bytes_there", "bytes_read", "heldout_bytes", "overlap_ratio"}
    assert plan["steps"] == sum(task["steps"] for task in plan["tasks"]) > 0
    assert min(plan[name] for name in ("parameters", "memory_bytes", "seconds")) > 0
    assert any("--liquid-units 64 has no effect" in sentence for sentence in plan["warnings"])
    assert main([word for word in words if word != "--dry-run"]) == 2


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_clock_is_read_when_the_gpu_has_done_all_that_was_asked():
    device = torch.device("cuda")
    matrix = torch.ones(8192, 8192, device=device)
    for _ in range(50):
        matrix @ matrix
    assert not torch.cuda.current_stream(device).query()
    now_s(device)
    assert torch.cuda.current_stream(device).query()
