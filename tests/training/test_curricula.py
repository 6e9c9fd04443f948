"""Curricula, orders and reference text through the command line, as a user has them."""

import json
import shutil

import pytest

from mambrane.app.cli import main, parse_train
from tests.contract.main_job import write_domains

SIZE = (
    "--preset tiny --tokenizer bytes --num-tasks 3 --epochs 3 --hidden-dim 16 --num-layers 1 --spiking-units 8 "
    "--mamba-d-state 4 --sequence-length 32 --batch-size 8 --save-every 1000 --max-heldout-bytes 400"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("curriculum", "num_rows", "defined"),
    [("joint", 2, {"final_average"}), ("single-task", 4, {"learned_average"})],
)
def test_a_bound_is_trained_in_another_order_beside_a_reference_text(
    curriculum, num_rows, defined, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    data = write_domains(tmp_path / "texts")
    words = (
        f"train {SIZE} --data {data} --curriculum {curriculum} --task-order domain4 2 --output-dir {tmp_path / 'run'}"
    )
    reference = tmp_path / "reference.txt"
    reference.write_text("what is never trained on\n" * 40)
    assert main([*words.split(), "--reference-text", str(reference)]) == 0
    matrix = json.loads((tmp_path / "run" / "matrix.json").read_text())
    assert matrix["domains"] == ["domain4", "domain1", "domain0"]
    assert len(matrix["bits_per_byte"]) == num_rows
    assert len([value for value in matrix["reference"]["reference"] if value is not None]) == num_rows
    found = {name for name, metric in matrix["metrics"].items() if metric["value"] is not None}
    assert found - {"reference_drift"} == defined
    assert f"{curriculum} curriculum" in capsys.readouterr().out


@pytest.mark.parametrize("curriculum", ["joint", "single-task"])
def test_a_preset_turns_off_what_keeps_earlier_tasks_where_there_are_none(curriculum):
    config = parse_train(["--preset", "tiny", "--use-stdp", "--curriculum", curriculum])
    assert not config.continual.use_replay
    assert config.plasticity.use_stdp
    assert parse_train(["--preset", "tiny", "--curriculum", "cumulative"]).continual.use_replay


@pytest.mark.slow
@pytest.mark.parametrize("num_tasks", [1, 2])
def test_the_only_task_left_of_a_run_is_kept_and_told_when_it_gains_too_little(
    num_tasks, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    data = write_domains(tmp_path / "texts")
    tasks = f"--num-tasks {num_tasks} --epochs {num_tasks}"
    words = f"train {SIZE} --data {data} {tasks} --min-gain 100 --output-dir {tmp_path / 'run'}"
    assert main(words.split()) == (0 if num_tasks == 1 else 3)
    assert main(words.split()) == 0
    assert "less than --min-gain 100; it is kept, as it is the only task" in " ".join(capsys.readouterr().out.split())
    assert len(json.loads((tmp_path / "run" / "matrix.json").read_text())["bits_per_byte"]) == 2


@pytest.mark.slow
def test_single_tasks_begin_with_the_initial_weights_of_the_run_after_a_stop_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    data = write_domains(tmp_path / "texts")
    assert main(f"train {SIZE} --data {data} --num-tasks 1 --epochs 1 --output-dir {tmp_path / 'first'}".split()) == 0
    start = (
        f"train {SIZE} --data {data} --num-tasks 2 --epochs 2 --curriculum single-task --init-from {tmp_path / 'first'}"
    )
    whole, stopped = (f"{start} --output-dir {tmp_path / name}".split() for name in ("whole", "stopped"))
    assert main(whole) == 0
    assert main([*stopped, "--max-steps", "3"]) == 0
    assert main(stopped) == 0
    matrices = [json.loads((tmp_path / name / "matrix.json").read_text()) for name in ("whole", "stopped")]
    assert matrices[0] == matrices[1]
    # The weights to begin with are gone while a task is left that needs them.
    again = [*stopped[:-1], str(tmp_path / "again")]
    assert main([*again, "--max-steps", "3"]) == 0
    shutil.rmtree(tmp_path / "first")
    capsys.readouterr()
    assert main(again) == 2
    assert str(tmp_path / "first") in capsys.readouterr().err
