"""What a step asks of a GPU beside arithmetic, counted on the meta device with every switch on."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from mambrane.core.events import EventLog
from mambrane.data.batch import MicroBatch
from mambrane.engine.objective import fused_next_token_objective
from mambrane.engine.optimizer import build_optimizer
from mambrane.engine.trainer import Trainer
from mambrane.engine.transaction import StepState
from mambrane.run.build import build_model
from mambrane.run.config import RunConfig
from mambrane.run.methods import build_extensions
from mambrane.run.presets import tiny
from tests.contract.meta_device import META, Transfers, counted_transfers

MICRO_BATCHES = 2
TOKENS = 5
VOCAB_SIZE = 257


class Text:
    """A loader on the host whose epoch never ends; its rows are padded."""

    def epoch_batches(self) -> Iterator[MicroBatch]:
        while True:
            tokens_BT = torch.randint(0, VOCAB_SIZE, (4, TOKENS + 1))
            targets_BT = tokens_BT[:, 1:].clone()
            targets_BT[-1, -3:] = -100
            yield MicroBatch(tokens_BT[:, :-1].clone(), targets_BT, tokens_BT[:, :-1] == 0)

    def commit(self) -> None:
        pass

    def rewind(self) -> None:
        pass


def everything_on(**continual: Any) -> RunConfig:
    """Return a run of the smallest sizes with every method."""
    config = tiny()
    on = {"regularizer_strength": 1.0, "distillation_strength": 1.0, "reptile_strength": 0.1, "fisher_sequences": 2}
    return replace(
        config,
        data=replace(config.data, sequence_length=TOKENS),
        model=replace(config.model, hidden_dim=32, num_layers=1, spiking_units=16),
        engine=replace(config.engine, accumulation_steps=MICRO_BATCHES, ema_decay=0.99),
        continual=replace(config.continual, **on | continual),
    )


def trainer_of(config: RunConfig) -> Trainer:
    model = build_model(config, VOCAB_SIZE).to(META)
    trainer = Trainer(
        model,
        config.engine,
        device=META,
        events=EventLog(),
        extensions=build_extensions(config, model),
        objective=fused_next_token_objective,
        optimizers=(build_optimizer(model, config.engine, fused=False),),
    )
    trainer.begin_task(10)
    return trainer


def step_transfers(trainer: Trainer, transfers: Transfers) -> dict[tuple[str, str], int]:
    """Return what the second step of the task transfers: the first one makes what stays."""
    steps = trainer.steps(Text())
    assert next(steps).state is StepState.COMMITTED
    transfers.taken()
    assert next(steps).state is StepState.COMMITTED
    return transfers.taken()


def in_second_task(config: RunConfig) -> dict[tuple[str, str], int]:
    with counted_transfers() as transfers, torch.fx.experimental._config.patch(meta_nonzero_assume_all_nonzero=True):
        trainer = trainer_of(config)
        step_transfers(trainer, transfers)
        trainer.end_task(Text(), 0)
        trainer.begin_task(10)
        return step_transfers(trainer, transfers)


EXPECTED = {("cpu to meta", "data/batch.py"): MICRO_BATCHES, ("read", "engine/transfer.py"): 2}
"""One copy for each micro-batch, and two for the numbers of a step: one before the update, which depends on whether the
gradient is finite, and one after it."""


@pytest.mark.parametrize(
    ("regularizer", "rule"), [("ewc", "classical"), ("mas", "triplet"), ("si", "bcm"), ("ewc", "homeostatic")]
)
def test_a_step_copies_each_micro_batch_once_and_reads_back_twice(regularizer: str, rule: str):
    config = everything_on(regularizer=regularizer)
    assert in_second_task(replace(config, plasticity=replace(config.plasticity, stdp_type=rule))) == EXPECTED


def test_replay_by_importance_reads_the_losses_of_a_step_at_once():
    found = in_second_task(everything_on(replay_strategy="importance"))
    assert found == EXPECTED | {("meta to cpu", "continual/replay.py"): 1}
