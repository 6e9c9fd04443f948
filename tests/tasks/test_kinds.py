"""A kind of task that is not measured by a loss goes through training, matrix, tables and report."""

import sys
from types import ModuleType
from typing import NamedTuple

import pytest
import torch

from mambrane.app.cli import main
from mambrane.continual.measure import Measure
from mambrane.data.loader import heldout_batches
from mambrane.engine.snapshot import evaluation_mode
from mambrane.run.run import Run
from mambrane.tasks import llm
from tests.contract.main_job import train_words, write_domains


class Accuracy(NamedTuple):
    value: float
    details: dict[str, float]


class Kind(llm.Kind):
    """Next tokens, measured by how many are guessed right."""

    measure = Measure(name="accuracy", title="accuracy", unit="of 1", is_lower_better=False)

    def training_numbers(self, loss, task):
        return {}

    def evaluate(self, model, domain):
        num_right = num_counted = 0
        with evaluation_mode(model), torch.inference_mode():
            for batch in heldout_batches(domain.heldout, self._data.sequence_length, self._data.batch_size):
                guesses_BT = model(batch.inputs_BT, resets_BT=batch.resets_BT).logits_BTV.argmax(dim=-1)
                counted_BT = batch.targets_BT >= 0
                num_right += int((guesses_BT == batch.targets_BT)[counted_BT].sum())
                num_counted += int(counted_BT.sum())
        return Accuracy(num_right / num_counted, {})


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    module = ModuleType("mambrane.tasks.accuracy")
    module.Kind = Kind
    monkeypatch.setitem(sys.modules, "mambrane.tasks.accuracy", module)
    monkeypatch.setattr("mambrane.tasks.task_kinds", lambda: ["accuracy", "llm"])
    data = write_domains(tmp_path / "texts")
    words = train_words(data, tmp_path / "run", "--num-tasks", "2", "--epochs", "2", "--task", "accuracy")
    assert main(words[2:]) == 0
    return tmp_path / "run"


def test_an_accuracy_goes_through_matrix_tables_and_report(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    told = capsys.readouterr()
    assert "cannot be read" not in told.err
    assert "of 1" in told.out
    assert "final average" in told.out
    matrix = Run.open(run).matrix
    assert matrix.measure == Kind.measure
    assert all(0 <= cell <= 1 for row in matrix.values for cell in row)
    page = (run / "report.html").read_text()
    assert "Held-out accuracy" in page
    assert "bits per byte" not in page.split("What was kept")[1].split("</section>")[0]
