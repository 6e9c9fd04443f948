"""The size of the replay buffer where it is a part of the text: known once the text is."""

from dataclasses import replace

from mambrane.continual.stream import Stream, distinct_tokens
from mambrane.run.config import RunConfig


def with_replay_size(config: RunConfig, stream: Stream) -> RunConfig:
    """Return the configuration with the number of sequences that --replay-share stands for, if there is one."""
    continual = config.continual
    if continual.replay_share == 0:
        return config
    tokens = distinct_tokens(stream, config.data.epoch_tokens)
    size = max(1, round(continual.replay_share * tokens / config.data.sequence_length))
    return replace(config, continual=replace(continual, replay_buffer_size=size))
