"""The size of the replay buffer where it is a part of the text: known once the text is.

A checkpoint says it (`SAVED_SIZE`): tasks go on with the memory that they began with, though some text may be gone, or
a task was taken back since.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mambrane.continual.stream import Stream, distinct_tokens
from mambrane.core.errors import UserError
from mambrane.settings.config import RunConfig

SAVED_SIZE = "replay_buffer_size"
"""Its name in the runner's part of a checkpoint."""


def with_replay_size(config: RunConfig, stream: Stream, saved: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the configuration with the number of sequences that --replay-share stands for, if there is one.

    Args:
        config: settings of the tasks that are left.
        stream: every task, with those that are being added.
        saved: the runner's part of the checkpoint that a run goes on from; None where tasks are new.

    Raises:
        UserError: the share is of a text whose length is not known.
    """
    continual = config.continual
    if continual.replay_share == 0:
        return config
    size = (saved or {}).get(SAVED_SIZE) or _num_sequences(config, stream)
    return replace(config, continual=replace(continual, replay_buffer_size=size))


def _num_sequences(config: RunConfig, stream: Stream) -> int:
    learned = {column for task in stream.tasks for column in task.columns}
    unknown = [
        stream.domains[column].name for column in sorted(learned) if stream.domains[column].num_train_tokens == 0
    ]
    if unknown:
        raise UserError(
            f"--replay-share {config.continual.replay_share:g} of a text that is gone: {', '.join(unknown)}",
            wanted="the number of its tokens, which checkpoints of today hold",
            way_out="put the text back where the run found it, or give --replay-share 0 and --replay-buffer-size",
        )
    tokens = distinct_tokens(stream, config.data.epoch_tokens)
    return max(1, round(config.continual.replay_share * tokens / config.data.sequence_length))
