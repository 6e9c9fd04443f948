"""matrix.json, read back: what was written, what earlier versions wrote, and what is damaged."""

import json

import pytest

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.matrix_file import load_matrix
from mambrane.continual.measure import BITS_PER_BYTE, Measure
from mambrane.core.errors import UserError
from tests.continual.matrices import FORGETS, filled
from tests.measured import Accuracy


def test_matrix_json_gives_the_same_matrix_back(tmp_path):
    matrix = filled(FORGETS)
    matrix.save(tmp_path / "matrix.json")
    again = load_matrix(tmp_path / "matrix.json")
    assert again.state_dict() == matrix.state_dict()
    assert again.metrics() == matrix.metrics()
    assert [path.name for path in tmp_path.iterdir()] == ["matrix.json"]


def test_a_matrix_of_another_measure_is_read_back_with_it(tmp_path):
    accuracy = Measure(name="accuracy", title="accuracy", unit="of 1", is_lower_better=False)
    matrix = ForgettingMatrix(("digits",), 1, accuracy)
    matrix.record(0, 0, Accuracy(0.1))
    matrix.record(1, 0, Accuracy(0.9))
    matrix.save(tmp_path / "matrix.json")
    read = load_matrix(tmp_path / "matrix.json")
    assert (read.measure, read.values, read.details) == (accuracy, [[0.1], [0.9]], {})


def test_a_matrix_of_an_earlier_version_is_one_of_bits_per_byte(tmp_path):
    path = tmp_path / "matrix.json"
    old = {"domains": ["prose"], "num_tasks": 1, "bits_per_byte": [[8.0], [2.0]], "perplexity": [[256.0], [4.0]]}
    path.write_text(json.dumps(old))
    read = load_matrix(path)
    assert (read.measure, read.values, read.details) == (
        BITS_PER_BYTE,
        [[8.0], [2.0]],
        {"perplexity": [[256.0], [4.0]]},
    )


@pytest.mark.parametrize("columns", [[[0], [5]], [[0]], [[0], ["prose"]], [[0], [True]], 3])
def test_columns_of_tasks_that_do_not_fit_are_damage(tmp_path, columns):
    path = tmp_path / "matrix.json"
    filled([[8.0, 8.0], [2.0, 7.0], [3.0, 1.0]], ("prose", "code")).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "task_columns": columns}))
    with pytest.raises(UserError, match="is damaged"):
        load_matrix(path)
