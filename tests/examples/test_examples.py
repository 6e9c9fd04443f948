"""Every example runs to its end, at the smallest sizes."""

import importlib.util
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mambrane
from mambrane.settings.config import RunConfig
from tests.contract.main_job import write_domains

FOLDER = Path(__file__).parents[2] / "examples"
LONGEST = 40


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def smallest(run_folder) -> RunConfig:
    """Return the configuration of the small run that all tests share, for a run of its own."""
    return mambrane.Run.open(run_folder).config


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_an_example_is_short_and_says_what_it_is(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONGEST
    assert lines[0].startswith('"""')


def test_a_loop_of_ones_own_learns(capsys):
    loss = example("own_loop").main(steps=12)
    first = float(capsys.readouterr().out.split("step 1: ")[1].split()[0])
    assert loss < first


def test_a_rule_of_ones_own_is_part_of_a_run(run_folder, tmp_path):
    config = smallest(run_folder)
    config = replace(config, run=replace(config.run, output_dir=str(tmp_path / "run"), max_steps=2))
    config = replace(config, plasticity=replace(config.plasticity, use_stdp=False))
    run = mambrane.train(config, extensions=[example("own_rule").Wither(rate=0.1)])
    steps = [event for event in run.events() if event["event"] == "step"]
    assert all(event["numbers"]["wither/mean_rate"] >= 0 for event in steps)


def test_text_of_ones_own_is_learned_and_one_more_behind_it(run_folder, tmp_path, capsys):
    config = smallest(run_folder)
    config = replace(config, run=replace(config.run, epochs=2))
    more = write_domains(tmp_path / "more")
    run = example("own_data").main(
        str(write_domains(tmp_path / "texts")), str(next(more.iterdir())), config, str(tmp_path / "run")
    )
    assert run.outcome.is_finished
    assert "taken back:" in capsys.readouterr().out


def test_a_spiking_layer_keeps_the_shape_of_its_input_and_lets_gradients_through():
    layer = example("spikes_in_transformers").SpikingLayer(16)
    x_BTD = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    added_BTD = layer(x_BTD)
    assert added_BTD.shape == x_BTD.shape
    added_BTD.square().mean().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in layer.parameters())


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
def test_a_spiking_layer_learns_inside_a_model_of_transformers():
    try:
        from transformers import GPT2LMHeadModel  # noqa: F401 -- asked for once
    # Beside a missing package: a torchvision that belongs to another torch.
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no transformers here: {error}")
    main = example("spikes_in_transformers").main
    assert main(steps=6) < main(steps=1)


def test_the_server_of_a_few_lines_writes_what_the_run_writes(run_folder):
    run = mambrane.Run.open(run_folder)
    written = run.generate("ab", max_tokens=9)
    with example("server").make_server(run, port=0, max_tokens=9) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/?prompt=ab", timeout=30) as answer:
            assert answer.read().decode() == written
        thread.join()
