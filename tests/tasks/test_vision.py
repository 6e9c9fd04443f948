"""Images as a kind of task: what is read, what is predicted, what is measured."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mambrane.app.cli import main, parse_train
from mambrane.continual.stream import Task
from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.config import DataConfig
from mambrane.data.domains import load_domains
from mambrane.data.image_tasks import label_bytes
from mambrane.run.run import Run
from mambrane.tasks.vision import Kind
from tests.data.idx import write_images

CPU = torch.device("cpu")


@pytest.fixture
def config(tmp_path):
    return DataConfig(data=(str(write_images(tmp_path / "shapes")),), sequence_length=3, batch_size=5)


@pytest.fixture
def domains(config, tmp_path):
    return load_domains(config, tmp_path / "cache", EventLog())[1]


def kind_of(config):
    return Kind(config, seed=0, device=CPU)


def task_of(*domains):
    return Task(index=0, name="task", train=tuple(domain.train for domain in domains), num_epochs=1)


def test_every_image_is_read_once_an_epoch_and_only_its_label_is_predicted(config, domains):
    loader = kind_of(config).make_loader(task_of(domains[0]))
    seen = []
    for batch in loader.epoch_batches():
        assert (batch.inputs_BT[:, 0] == 256).all()
        assert batch.resets_BT[:, 0].all()
        assert (batch.targets_BT[:, :-1] == IGNORED_TARGET).all()
        assert set(batch.targets_BT[:, -1].tolist()) <= set(label_bytes(2))
        seen += torch.cat([batch.inputs_BT[:, 1:], batch.targets_BT[:, -1:]], dim=1).tolist()
    tokens = domains[0].train.tokens[:].reshape(-1, 4)[:, 1:].tolist()
    assert sorted(seen) == sorted(tokens)


def test_a_position_in_the_images_is_taken_up_again(config, domains):
    kind = kind_of(config)
    whole = [batch.inputs_BT for batch in kind.make_loader(task_of(*domains)).epoch_batches()]
    loader = kind.make_loader(task_of(*domains))
    batches = loader.epoch_batches()
    next(batches)
    loader.commit()
    resumed = kind.make_loader(task_of(*domains))
    resumed.load_state_dict(loader.state_dict())
    rest = [batch.inputs_BT for batch in resumed.epoch_batches()]
    assert torch.equal(torch.cat(rest), torch.cat(whole[1:]))


def test_a_later_visit_reads_the_images_in_another_order_and_the_first_in_that_of_its_name(config, domains):
    def images_of(**task):
        loader = kind_of(config).make_loader(replace(task_of(domains[0]), **task))
        return torch.cat([batch.inputs_BT for batch in loader.epoch_batches()]).tolist()

    first, again = images_of(visit=0), images_of(visit=1)
    assert first != again
    assert sorted(first) == sorted(again)
    assert again == images_of(name="task/1")


def test_a_length_that_is_not_that_of_an_image_is_refused_with_the_right_one(config, domains):
    with pytest.raises(UserError) as error:
        kind_of(replace(config, sequence_length=8)).make_loader(task_of(domains[0]))
    assert error.value.way_out == "--sequence-length 3"


def test_text_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"some line {number}\n" for number in range(60)))
    config = DataConfig(data=(str(tmp_path / "a.txt"),))
    _, domains = load_domains(config, tmp_path / "cache", EventLog())
    with pytest.raises(UserError, match="no images"):
        kind_of(config).make_loader(task_of(domains[0]))


class Says(nn.Module):
    """Says one token with most weight everywhere, and another next."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.weights = torch.zeros(257)
        self.weights[first], self.weights[second] = 2.0, 1.0

    def forward(self, tokens_BT, *, resets_BT):
        return SimpleNamespace(logits_BTV=self.weights.expand(*tokens_BT.shape, 257))


def test_accuracy_is_the_part_of_right_labels_among_those_that_there_are(config, domains):
    zero, one = label_bytes(2)
    measured = kind_of(config).evaluate(Says(7, one), domains[0])
    # What is no label is not guessed, however likely; half of the images have label 1.
    assert (measured.num_right, measured.num_images, measured.value) == (4, 8, 0.5)
    assert kind_of(config).evaluate(Says(zero, 7), domains[1]).value == 0.5


def test_in_the_class_scenario_the_labels_of_all_tasks_are_guessed(config, tmp_path):
    config = replace(config, scenario="class")
    _, domains = load_domains(config, tmp_path / "cache", EventLog())
    three = label_bytes(4)[3]
    assert [kind_of(config).evaluate(Says(three, 7), domain).value for domain in domains] == [0.0, 0.5]


def test_the_command_line_fits_lengths_tasks_and_text_to_the_images(tmp_path):
    data = str(write_images(tmp_path / "shapes", num_classes=6))
    config = parse_train(["--preset", "tiny", "--task", "vision", "--data", data])
    assert (config.data.sequence_length, config.continual.num_tasks, config.data.tokenizer) == (3, 3, "bytes")
    assert (config.data.epoch_tokens, config.data.max_heldout_bytes) == (0, 0)
    config = parse_train(["--task", "vision", "--data", data, "--classes-per-task", "3", "--image-tokens", "pixels"])
    assert (config.data.sequence_length, config.continual.num_tasks) == (17, 2)


@pytest.mark.slow
def test_a_hybrid_model_learns_two_tasks_of_images_and_is_measured_by_accuracy(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    data = write_images(tmp_path / "shapes", per_class=40)
    words = (
        f"train --preset tiny --task vision --data {data} --output-dir {tmp_path / 'run'} --epochs 12 --hidden-dim 16 "
        "--num-layers 1 --spiking-units 8 --mamba-d-state 4 --batch-size 8 --learning-rate 0.02 --save-every 20"
    )
    assert main(words.split()) == 0
    matrix = Run.open(tmp_path / "run").matrix
    assert matrix.measure.name == "accuracy"
    assert matrix.values[1][0] >= 0.9, "the first task is learned"
    assert matrix.values[2][1] >= 0.9, "the second task is learned"
    told = capsys.readouterr()
    assert "What the model writes" not in told.out
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "accuracy" in json.loads((tmp_path / "run" / "matrix.json").read_text())["unit"]
