"""The language-modelling kind of task, and how kinds are found."""

import math

import numpy as np
import pytest
import torch

from mambrane.continual.stream import Task
from mambrane.core.errors import UserError
from mambrane.data.config import DataConfig
from mambrane.data.tokens import TokenFile
from mambrane.settings.config import RunOptions
from mambrane.tasks import task_kind, task_kinds

CPU = torch.device("cpu")


def test_every_file_of_the_folder_is_a_kind():
    assert task_kinds() == ["llm", "vision"]
    for name in task_kinds():
        kind = task_kind(name)(DataConfig(), seed=0, device=CPU)
        assert kind.measure.name


def test_a_kind_that_there_is_not_is_refused_where_it_is_read():
    with pytest.raises(UserError, match="--task speech"):
        RunOptions(task="speech")


def test_bits_per_byte_of_training_follow_from_the_tokens_per_byte():
    text = TokenFile(np.zeros(30, dtype=np.uint16), 0, num_bytes=60, num_documents=1, content_hash="text")
    task = Task(index=0, name="text", train=(text,), num_epochs=1)
    numbers = task_kind("llm")(DataConfig(), seed=0, device=CPU).training_numbers(math.log(2), task)
    # One bit a token, half a token a byte.
    assert numbers == {"bits_per_byte": pytest.approx(0.5)}


def text_of(num_tokens: int) -> TokenFile:
    tokens = np.zeros(num_tokens, dtype=np.uint16)
    return TokenFile(tokens, 0, num_bytes=num_tokens, num_documents=1, content_hash=f"{num_tokens} zeros")


@pytest.mark.parametrize("epoch_tokens", [0, 128, 480])
def test_all_domains_at_once_see_as_many_tokens_as_one_after_another(epoch_tokens):
    texts = [text_of(num_tokens) for num_tokens in (320, 640, 960)]
    kind = task_kind("llm")(DataConfig(sequence_length=32, epoch_tokens=epoch_tokens), seed=0, device=CPU)
    alone = [kind.make_loader(Task(index=0, name="text", train=(text,), num_epochs=2)) for text in texts]
    joint = kind.make_loader(Task(index=0, name="joint", train=tuple(texts), num_epochs=6))
    # To a step an epoch.
    assert abs(6 * joint.num_tokens - sum(2 * loader.num_tokens for loader in alone)) < 6 * 32
