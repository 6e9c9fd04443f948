"""What a step asks of a GPU beside arithmetic, counted on the meta device with every switch on."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch

from mambrane.core.events import EventLog
from mambrane.data.batch import MicroBatch
from mambrane.engine.objective import Objective, fused_next_token_objective
from mambrane.engine.trainer import Trainer
from mambrane.engine.transaction import StepState
from mambrane.run.build import build_model
from mambrane.settings.config import RunConfig
from mambrane.settings.methods import build_extensions
from tests.contract.meta_device import META, Transfers, counted_transfers
from tests.engine.tiny_training import training_differences
from tests.settings.whole_recipe import whole_recipe

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
    config = whole_recipe()
    on = {"regularizer_strength": 1.0, "distillation_strength": 1.0, "reptile_strength": 0.1, "fisher_sequences": 2}
    return replace(
        config,
        data=replace(config.data, sequence_length=TOKENS),
        model=replace(config.model, hidden_dim=32, num_layers=1, spiking_units=16),
        engine=replace(config.engine, accumulation_steps=MICRO_BATCHES, ema_decay=0.99),
        continual=replace(config.continual, **on | continual),
    )


@pytest.fixture(autouse=True)
def fused_on_meta():
    """The optimizer's fused kernel has a form for shapes alone; torch only does not offer it."""
    with mock.patch("torch.optim.optimizer._get_fused_kernels_supported_devices", return_value=["meta", "cpu"]):
        yield


def trainer_of(config: RunConfig, device: torch.device = META, objective: Any = fused_next_token_objective) -> Trainer:
    model = build_model(config, VOCAB_SIZE).to(device)
    trainer = Trainer(
        model,
        config.engine,
        device=device,
        events=EventLog(),
        extensions=build_extensions(config, model),
        objective=objective,
    )
    assert trainer.training_step.decides_on_device == (device is META)
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


EXPECTED = {("cpu to meta", "data/batch.py"): MICRO_BATCHES, ("read", "engine/transfer.py"): 1}
"""One copy for each micro-batch, and one for all numbers of a step."""


@pytest.mark.parametrize(
    ("regularizer", "rule"), [("ewc", "classical"), ("mas", "triplet"), ("si", "bcm"), ("ewc", "homeostatic")]
)
def test_a_step_copies_each_micro_batch_once_and_reads_back_once(regularizer: str, rule: str):
    config = everything_on(regularizer=regularizer)
    assert in_second_task(replace(config, plasticity=replace(config.plasticity, stdp_type=rule))) == EXPECTED


def test_replay_by_importance_reads_the_losses_of_a_step_at_once():
    found = in_second_task(everything_on(replay_strategy="importance"))
    assert found == EXPECTED | {("meta to cpu", "continual/seen_losses.py"): 1}


def test_every_method_takes_a_step_back_that_turns_out_not_finite():
    config = everything_on(reptile_interval=1, replay_strategy="importance", regularizer="si")
    config = replace(config, plasticity=replace(config.plasticity, stdp_type="bcm", use_meta_plasticity=True))

    def states_of(decides_on_device: bool) -> list[dict[str, Any]]:
        torch.manual_seed(0)
        factor = [1.0]

        def spoilt(model: Any, batch: MicroBatch) -> Objective:
            loss_sum, output = fused_next_token_objective(model, batch)
            return Objective(loss_sum * factor[0], output)

        trainer = trainer_of(config, torch.device("cpu"), spoilt)
        trainer.training_step.decides_on_device = decides_on_device
        found = []
        for factors in ((1.0,), (1.0, torch.inf, torch.nan, 1.0)):
            steps = trainer.steps(Text())
            for factor[0] in factors:
                result = next(steps)
                assert (result.state is StepState.COMMITTED) == (factor[0] == 1.0), result
                found.append(copy.deepcopy(trainer.state_dict()))
            trainer.end_task(Text(), len(found) > 1)
            trainer.begin_task(10)
        return found

    for asked, told in zip(states_of(decides_on_device=False), states_of(decides_on_device=True), strict=True):
        assert training_differences(asked, told) == []
