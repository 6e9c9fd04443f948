"""What the engine does not train."""

import pytest
import torch
from torch import nn

from mambrane.core.errors import UserError
from mambrane.engine.extensions import Extensions
from mambrane.engine.ranks import ONE_RANK
from mambrane.engine.refusals import refuse_half_weights, refuse_sight_of_one_rank
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
