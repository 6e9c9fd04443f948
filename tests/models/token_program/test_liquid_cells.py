"""A tick of a liquid cell within a program is that of the operation, at sizes that fill no whole vector."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.layers.liquid import LiquidPopulation
from mambrane.models.token_program import numba_cpu as vp
from mambrane.models.token_program.blocks import _liquid
from mambrane.models.token_program.layout import Layout


@pytest.mark.parametrize("kind", ["cfc", "ltc"])
@pytest.mark.parametrize("units", [1, 7, 33])
@pytest.mark.parametrize("is_steered", [False, True])
@torch.no_grad()
def test_ticks_are_those_of_the_operation(kind, units, is_steered):
    generator = make_generator(units, kind)
    population = LiquidPopulation(units, kind=kind)
    population.reset_parameters(generator)
    current_BTL = torch.randn(1, 4, units, generator=generator)
    scale_BTL = 0.5 + torch.rand(1, 1, units, generator=generator) if is_steered else None
    layout = Layout()
    state = layout.state_of(units)
    scale = layout.constant(scale_BTL) if scale_BTL is not None else vp.NOWHERE
    hidden = _liquid(layout, population, [layout.constant(tick) for tick in current_BTL[0]], state, scale)
    memory = layout.memory()
    for _ in range(2):
        vp.run_program(memory, layout.program(), 0)
    scale_BTL = None if scale_BTL is None else scale_BTL.expand(1, 8, units)
    expected = population(current_BTL.repeat(1, 2, 1), time_scale_BTS=scale_BTL)
    found = torch.stack([torch.from_numpy(memory[start : start + units].copy()) for start in hidden.ticks()])
    torch.testing.assert_close(found, expected.hidden_BTL[0, 4:], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[-1], torch.from_numpy(memory[state : state + units].copy()), rtol=0, atol=0)
