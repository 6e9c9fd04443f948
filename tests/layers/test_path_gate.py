"""The gate of the second path, number by number."""

import math

import pytest
import torch

from mambrane.layers.path_gate import PathGate

PATH = torch.tensor([[[3.0, 4.0, 0.5, -0.5]]])
INPUT = torch.tensor([[[1.0, -1.0, 2.0, 0.5]]])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("adaptive", [False, True])
@torch.no_grad()
def test_at_birth_half_of_the_path_passes_in_every_head(adaptive):
    gated, gate = PathGate(4, heads=2, adaptive=adaptive)(PATH, INPUT)
    assert gate.flatten().tolist() == [0.5, 0.5]
    assert gated.flatten().tolist() == [1.5, 2.0, 0.25, -0.25]


@torch.no_grad()
def test_each_head_gates_its_own_slice_by_its_own_bias():
    path_gate = PathGate(4, heads=2, adaptive=False)
    path_gate.bias.copy_(torch.tensor([0.0, 1.5]))
    gated, gate = path_gate(PATH, INPUT)
    assert gate.tolist() == pytest.approx([0.5, sigmoid(1.5)], rel=1e-5)
    assert gated.flatten().tolist() == pytest.approx([1.5, 2.0, 0.5 * sigmoid(1.5), -0.5 * sigmoid(1.5)], rel=1e-5)


@torch.no_grad()
def test_an_adaptive_gate_reads_the_input_in_the_slice_of_its_head():
    path_gate = PathGate(4, heads=2, adaptive=True)
    path_gate.weight.copy_(torch.tensor([[0.7, 0.2], [0.0, 0.9]]))
    path_gate.bias.copy_(torch.tensor([0.1, -1.0]))
    _, gate = path_gate(PATH, INPUT)
    assert gate.flatten().tolist() == pytest.approx([sigmoid(0.7 - 0.2 + 0.1), sigmoid(0.9 * 0.5 - 1.0)], rel=1e-5)
