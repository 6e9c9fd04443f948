"""Claims about a replay buffer whose size is a part of the text."""

from dataclasses import replace

import pytest

from mambrane.continual.stream import build_stream, distinct_tokens
from mambrane.core.errors import UserError
from mambrane.data.domains import Domain
from mambrane.data.tokens import TokenFile
from mambrane.settings.memory_share import SAVED_SIZE, with_replay_size
from mambrane.settings.named_settings import config_of


def domain(name: str, num_tokens: int) -> Domain:
    import numpy as np

    text = TokenFile(np.zeros(num_tokens, np.uint16), 0, num_bytes=num_tokens, num_documents=1, content_hash=name)
    return Domain(name, text, text, name, {})


@pytest.fixture
def stream():
    domains = [domain("long", 10_000), domain("short", 300)]
    config = config_of({"preset": "tiny", "num_tasks": 2}, source="here")
    return build_stream(domains, config.continual, 4)


@pytest.mark.parametrize(("most", "tokens"), [(0, 10_300), (1_000, 2_300), (200, 700)])
def test_text_counts_once_however_often_it_is_read_and_unread_text_not_at_all(stream, most: int, tokens: int):
    assert distinct_tokens(stream, most) == tokens


def test_a_second_task_on_the_same_text_adds_only_what_is_new(stream):
    again = replace(stream, tasks=(*stream.tasks, replace(stream.tasks[1], index=2, visit=1)))
    assert distinct_tokens(again, 100) == distinct_tokens(stream, 100) + 100
    assert distinct_tokens(again, 0) == distinct_tokens(stream, 0)


def test_a_share_becomes_so_many_sequences_and_none_leaves_the_number(stream):
    settings = {"preset": "tiny", "num_tasks": 2, "epoch_tokens": 1_000, "sequence_length": 50}
    by_share = config_of({**settings, "replay_share": 0.25}, source="here")
    assert with_replay_size(by_share, stream).continual.replay_buffer_size == round(0.25 * 2_300 / 50)
    assert (
        with_replay_size(
            config_of({**settings, "replay_share": 1e-6}, source="here"), stream
        ).continual.replay_buffer_size
        == 1
    )
    by_number = config_of(settings, source="here")
    assert with_replay_size(by_number, stream) == by_number


def test_tasks_that_a_checkpoint_knows_go_on_with_the_memory_that_they_began_with(stream):
    config = config_of({"preset": "tiny", "num_tasks": 2, "replay_share": 0.25}, source="here")
    assert with_replay_size(config, stream, {SAVED_SIZE: 7}).continual.replay_buffer_size == 7
    # Checkpoints of before the size was saved.
    assert with_replay_size(config, stream, {}) == with_replay_size(config, stream)


def test_text_that_is_gone_counts_as_long_as_its_length_is_known(stream):
    config = config_of({"preset": "tiny", "num_tasks": 2, "replay_share": 0.25}, source="here")
    gone = [replace(each, train=domain("", 0).train) for each in stream.domains]
    known = [
        replace(each, known_train_tokens=was.num_train_tokens) for each, was in zip(gone, stream.domains, strict=True)
    ]
    assert with_replay_size(config, replace(stream, domains=tuple(known))) == with_replay_size(config, stream)
    with pytest.raises(UserError, match=r"a text that is gone: long, short"):
        with_replay_size(config, replace(stream, domains=tuple(gone)))


def test_a_number_beside_a_share_is_said_to_do_nothing():
    from mambrane.settings.effects import settings_without_effect

    config = config_of({"preset": "tiny", "replay_share": 0.1, "replay_buffer_size": 7}, source="here")
    (sentence,) = settings_without_effect(config, config, {"replay_buffer_size"})
    assert "--replay-buffer-size 7 has no effect without --replay-share 0" in sentence
