"""Each Mamba as instructions is its layer, token by token."""

import pytest
import torch

from mambrane.layers.mamba import Mamba
from mambrane.layers.mamba2 import Mamba2
from mambrane.models.token_program import numba_cpu as vp
from mambrane.models.token_program.layout import Layout
from mambrane.models.token_program.mixers import mixer_of

DIM = 20
MIXERS = {
    "first": lambda: Mamba(DIM, expand=2, d_state=5, d_conv=4, dt_rank=3),
    "first of one tap": lambda: Mamba(DIM, expand=1, d_state=1, d_conv=1, dt_rank=1),
    "second": lambda: Mamba2(DIM, expand=2, d_state=5, d_conv=4),
    "second of two groups": lambda: Mamba2(DIM, expand=2, d_state=5, d_conv=3, head_dim=5, groups=2),
}


@pytest.mark.parametrize("selects", [False, True])
@pytest.mark.parametrize("kind", MIXERS)
@torch.no_grad()
def test_outputs_are_those_of_the_layer(kind, selects):
    generator, mixer, units = torch.Generator().manual_seed(0), MIXERS[kind](), 7
    mixer.reset_parameters(generator)
    u_BTD, selecting = torch.randn(1, 9, DIM, generator=generator), torch.randn(units, generator=generator)
    channels = mixer.channels(u_BTD)
    y_BTE, _ = mixer.scan(channels, selecting_BTS=selecting.expand(1, 9, units) if selects else None)
    expected_TD = mixer.out_proj(mixer.gated(y_BTE, channels))[0]

    layout = Layout()
    u = layout.space(DIM)
    instructions = mixer_of(layout, mixer, u)
    y = instructions.scan(layout.constant(selecting) if selects else None, units if selects else 0)
    out = layout.linear(mixer.out_proj, instructions.finish(y))
    memory, program = layout.memory(), layout.program()
    for t in range(9):
        memory[u : u + DIM] = u_BTD[0, t].numpy()
        vp.run_program(memory, program, 0)
        got = torch.from_numpy(memory[out : out + DIM].copy())
        torch.testing.assert_close(got, expected_TD[t], rtol=1e-4, atol=1e-6)
