"""Which methods of a run know weights in pieces, and which are refused by name."""

from dataclasses import replace

import pytest

from mambrane.core.errors import UserError
from mambrane.engine.shards import refuse_without_shards
from mambrane.settings import presets
from mambrane.settings.methods import METHODS, methods_of

KNOWING = {"stdp", "replay", "activity", "meta_plasticity", "regularizer", "reptile", "image_augmentation"}


def sharded(config, **continual):
    changed = replace(config.continual, **continual)
    return replace(config, engine=replace(config.engine, shard=True), continual=changed)


def test_the_methods_that_know_pieces_are_those_that_the_manual_names():
    assert {method.name for method in METHODS if method.across_shards} == KNOWING


def test_a_run_with_another_method_is_refused_by_its_name():
    config = sharded(presets.tiny(), distillation_strength=1.0)
    with pytest.raises(UserError, match="--shard with distillation:"):
        refuse_without_shards(methods_of(config))
    refuse_without_shards(methods_of(sharded(presets.tiny(), regularizer_strength=1.0, reptile_strength=0.1)))


@pytest.mark.parametrize("source", ["generated", "both"])
def test_a_model_in_pieces_does_not_write_its_replay(source):
    sharded(presets.tiny(), replay_source="memory")
    with pytest.raises(UserError, match=f"--shard with --replay-source {source}"):
        sharded(presets.tiny(), replay_source=source)
