"""Each kind of block as instructions does to the residual stream what the block does."""

import pytest
import torch

from mambrane.models.blocks import hybrid, mamba, mamba2, spiking
from mambrane.models.config import ModelConfig
from mambrane.models.token_program import numba_cpu as vp
from mambrane.models.token_program.blocks import write_block
from mambrane.models.token_program.layout import Layout
from tests.models.modes import SMALL

CONFIG = ModelConfig(**{**SMALL, "cross_attn_window": 5}, use_mamba=True, use_cross_attention=True, num_spike_steps=2)
KINDS = {"hybrid": hybrid, "mamba": mamba, "mamba2": mamba2, "spiking": spiking}


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_stream_behind_the_block_is_the_same_also_where_the_window_is_full(kind):
    generator, block = torch.Generator().manual_seed(0), KINDS[kind].build(CONFIG).eval()
    for parameter in block.parameters():
        if parameter.dim() > 1 or not parameter.any():
            parameter.normal_(0.0, 0.3, generator=generator)
    x_BTD = torch.randn(1, 14, CONFIG.hidden_dim, generator=generator)
    expected_TD = block(x_BTD)[0][0]
    layout = Layout()
    x = layout.space(CONFIG.hidden_dim)
    write_block(layout, block, x)
    memory, program = layout.memory(), layout.program()
    for t in range(14):
        memory[x : x + CONFIG.hidden_dim] = x_BTD[0, t].numpy()
        vp.run_program(memory, program, 0)
        got = torch.from_numpy(memory[x : x + CONFIG.hidden_dim].copy())
        torch.testing.assert_close(got, expected_TD[t], rtol=1e-4, atol=1e-4)
