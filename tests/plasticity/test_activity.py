"""The numbers that are shown of firing and of the gate, by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mambrane.models.state import BlockActivity, ModelOutput
from mambrane.plasticity.activity import ActivityProbe
from tests.plasticity.conftest import act


class Told(nn.Module):
    """A model whose blocks fire and listen as they are told, one list of blocks for each micro-batch."""

    def __init__(self, *told: list[tuple[float, float | None, list[float] | None]]) -> None:
        super().__init__()
        self.told = iter(told)

    def forward(self, inputs_BT: torch.Tensor, resets_BT: torch.Tensor) -> ModelOutput:
        blocks = tuple(
            BlockActivity(
                torch.zeros(1, 1, 1),
                None if second is None else torch.zeros(1, 1, 1),
                torch.tensor(first),
                None if second is None else torch.tensor(second),
                None if gate is None else torch.tensor(gate),
            )
            for first, second, gate in next(self.told)
        )
        return ModelOutput(None, (), blocks)


def numbers_of(model: nn.Module, view_of: Callable, *batches: object) -> dict[str, float]:
    return act(ActivityProbe(), view_of(model, *batches))


def test_the_firing_rate_is_the_mean_over_all_populations_and_leaves_the_gate_out(view_of: Callable, text: Callable):
    model = Told([(0.1, 0.3, [0.8, 1.0]), (0.2, 0.6, [0.4, 0.6])])
    assert numbers_of(model, view_of, text(0)) == pytest.approx(
        {
            "firing_rate": 0.3,
            "first_rate_0": 0.1,
            "second_rate_0": 0.3,
            "gate_0": 0.9,
            "first_rate_1": 0.2,
            "second_rate_1": 0.6,
            "gate_1": 0.5,
        }
    )


def test_every_number_is_the_mean_over_the_micro_batches(view_of: Callable, text: Callable):
    model = Told([(0.1, 0.3, [0.2])], [(0.3, 0.5, [0.6])])
    numbers = numbers_of(model, view_of, text(0), text(1))
    assert numbers == pytest.approx({"firing_rate": 0.3, "first_rate_0": 0.2, "second_rate_0": 0.4, "gate_0": 0.4})


def test_a_liquid_cell_and_a_model_of_one_path_have_no_number_for_what_they_lack(view_of: Callable, text: Callable):
    numbers = numbers_of(Told([(0.1, None, None)]), view_of, text(0))
    assert numbers == pytest.approx({"firing_rate": 0.1, "first_rate_0": 0.1})
