"""Curricula, orders and reference text through the command line, as a user has them."""

import json

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
