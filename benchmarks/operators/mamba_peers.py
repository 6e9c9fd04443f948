"""Selective scan and Mamba blocks against mambapy and transformers."""

import torch
from torch import Tensor, nn

from benchmarks.operators.contest import Contest, Side
from mambrane.core.seeding import make_generator
from mambrane.layers.mamba import Mamba
from mambrane.layers.mamba2 import Mamba2
from mambrane.ops.selective_scan import selective_scan

BATCH, TOKENS = 8, 256
DIM, EXPAND, STATES, TAPS = 512, 2, 32, 4
EXPANDED = EXPAND * DIM


def draw(*shape: int) -> Tensor:
    """Return normal numbers, the same ones for each shape."""
    return torch.randn(*shape, generator=make_generator(0, "operators", *shape))


def scan_against_mambapy() -> Contest:
    """The operator alone, against `selective_scan` of mambapy's block: its parallel scan, with D = 0."""
    from mambapy.mamba import MambaBlock

    leaves = {
        "x": draw(BATCH, TOKENS, EXPANDED),
        "delta": 0.05 * draw(BATCH, TOKENS, EXPANDED).abs() + 1e-3,
        "A": -torch.arange(1.0, STATES + 1).expand(EXPANDED, -1).clone(),
        "B": draw(BATCH, TOKENS, STATES),
        "C": draw(BATCH, TOKENS, STATES).flip(1),
    }
    leaves = {name: tensor.requires_grad_() for name, tensor in leaves.items()}
    no_skip_E = torch.zeros(EXPANDED)
    grad_output = draw(BATCH, TOKENS, EXPANDED).flip(1)
    return Contest(
        Side(lambda: selective_scan(*leaves.values())[0], leaves, grad_output),
        Side(lambda: MambaBlock.selective_scan(None, *leaves.values(), no_skip_E), leaves, grad_output),
    )


def block_against_mambapy() -> Contest:
    """The whole Mamba block, against mambapy's with its parallel scan."""
    from mambapy.mamba import MambaBlock, MambaConfig

    config = MambaConfig(d_model=DIM, n_layers=1, d_state=STATES, expand_factor=EXPAND, d_conv=TAPS, pscan=True)
    return _blocks(_our_mamba(), MambaBlock(config))


def block_against_transformers() -> Contest:
    """The whole Mamba block, against transformers' as it runs on a CPU unless told otherwise."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    config = MambaConfig(hidden_size=DIM, expand=EXPAND, state_size=STATES, conv_kernel=TAPS, num_hidden_layers=1)
    return _blocks(_our_mamba(), MambaMixer(config, layer_idx=0))


def mamba2_against_transformers() -> Contest:
    """The whole Mamba-2 block, against transformers' as it runs on a CPU."""
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    ours = Mamba2(DIM, expand=EXPAND, d_state=STATES, d_conv=TAPS)
    ours.reset_parameters(make_generator(0, "weights"))
    config = Mamba2Config(
        hidden_size=DIM,
        expand=EXPAND,
        num_heads=EXPANDED // ours.head_channels,
        head_dim=ours.head_channels,
        n_groups=1,
        state_size=STATES,
        conv_kernel=TAPS,
        num_hidden_layers=1,
    )
    return _blocks(ours, Mamba2Mixer(config, layer_idx=0))


def _our_mamba() -> Mamba:
    ours = Mamba(DIM, expand=EXPAND, d_state=STATES, d_conv=TAPS, dt_rank=DIM // 16)
    ours.reset_parameters(make_generator(0, "weights"))
    return ours


def _blocks(ours: nn.Module, theirs: nn.Module) -> Contest:
    """Compare two blocks with the same weights, under the same names."""
    theirs.load_state_dict(ours.state_dict())
    input_BTD, grad_output = draw(BATCH, TOKENS, DIM).requires_grad_(), draw(BATCH, TOKENS, DIM).flip(1)
    return Contest(
        Side(lambda: ours(input_BTD)[0], {"input": input_BTD, **dict(ours.named_parameters())}, grad_output),
        Side(lambda: theirs(input_BTD), {"input": input_BTD, **dict(theirs.named_parameters())}, grad_output),
    )
