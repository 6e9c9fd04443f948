"""What the engine does not train."""

import pytest
import torch
from torch import nn

from mambrane.core.errors import UserError
from mambrane.engine.config import EngineConfig
from mambrane.engine.extensions import Extensions
from mambrane.engine.ranks import ONE_RANK
from mambrane.engine.refusals import (
    load_weights,
    refuse_another_average,
    refuse_half_weights,
    refuse_sight_of_one_rank,
)
from tests.engine.recorder import Recorder


class Unseeing:
    """Adds to the loss alone, which the engine sums over processes."""

    name = "unseeing"

    def penalty(self, model):
        return None

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_weights_are_refused_by_the_name_of_the_first(dtype):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).to(dtype))
    with pytest.raises(UserError, match=r"the weight 1\.weight is torch\."):
        refuse_half_weights(model)
    refuse_half_weights(model.float())


def test_what_sees_the_rows_of_one_process_is_refused_by_name_unless_it_sums_them_over_all():
    class Summing(Recorder):
        across_ranks = True

    with pytest.raises(UserError, match="together with recorder, which would see one process only"):
        refuse_sight_of_one_rank(Extensions.of(Recorder()), ONE_RANK)
    refuse_sight_of_one_rank(Extensions.of(Unseeing()), ONE_RANK)
    refuse_sight_of_one_rank(Extensions.of(Summing()), ONE_RANK)


@pytest.mark.parametrize(("saved", "decay", "words"), [(["ema"], 0.0, "an average"), ([], 0.9, "no average")])
def test_an_average_that_only_one_of_them_has_is_refused_with_the_setting(saved, decay, words):
    with pytest.raises(UserError, match=f"--ema-decay {decay}, and the saved run has {words}"):
        refuse_another_average(dict.fromkeys(saved), EngineConfig(ema_decay=decay))
    refuse_another_average(dict.fromkeys(saved), EngineConfig(ema_decay=0.9 - decay))


def test_weights_of_another_model_are_refused_and_its_own_are_taken():
    model, saved = nn.Linear(2, 2), nn.Linear(2, 2).state_dict()
    load_weights(model, saved)
    assert torch.equal(model.weight, saved["weight"])
    with pytest.raises(UserError, match="do not fit this model"):
        load_weights(nn.Linear(3, 2), saved)
