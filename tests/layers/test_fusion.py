"""The mixture of both paths, number by number."""

import math

import pytest
import torch

from mambrane.layers.fusion import GatedFusion

SPIKING = torch.tensor([[[3.0, 4.0, 0.5, 0.5]]])
MAMBA = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def normalised(values):
    size = math.sqrt(sum(value**2 for value in values) / len(values))
    return [value / size for value in values]


S, M = normalised([3.0, 4.0, 0.5, 0.5]), normalised([1.0, -1.0, 1.0, -1.0])


@pytest.mark.parametrize("adaptive", [False, True])
@torch.no_grad()
def test_at_birth_the_mamba_path_makes_up_88_percent_of_every_head(adaptive):
    mixed, gate = GatedFusion(4, heads=2, adaptive=adaptive)(SPIKING, MAMBA)
    assert gate.flatten().tolist() == pytest.approx([0.1192029] * 2, rel=1e-5)
    expected = [0.1192029 * s + 0.8807971 * m for s, m in zip(S, M, strict=True)]
    assert mixed.flatten().tolist() == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_each_head_mixes_its_own_slice_by_its_own_bias():
    fusion = GatedFusion(4, heads=2, adaptive=False)
    fusion.bias.copy_(torch.tensor([0.0, 1.5]))
    mixed, gate = fusion(SPIKING, MAMBA)
    shares = [0.5, 0.5, sigmoid(1.5), sigmoid(1.5)]
    assert gate.tolist() == pytest.approx([0.5, sigmoid(1.5)], rel=1e-5)
    expected = [g * s + (1 - g) * m for g, s, m in zip(shares, S, M, strict=True)]
    assert mixed.flatten().tolist() == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_an_adaptive_gate_reads_the_spiking_path_first_and_the_mamba_path_behind_it():
    fusion = GatedFusion(4, heads=2, adaptive=True)
    fusion.weight[0, 1], fusion.weight[1, 4 + 3] = 0.7, 0.9
    _, gate = fusion(SPIKING, MAMBA)
    assert gate.flatten().tolist() == pytest.approx([sigmoid(0.7 * S[1] - 2), sigmoid(0.9 * M[3] - 2)], rel=1e-4)
