"""Every operation inside what training puts around it: checkpoints, autocast, bfloat16; compiling: test_warm_up.py."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from mambrane.core.seeding import make_generator
from mambrane.ops import CfcWeights, LtcWeights, causal_conv, causal_trace, cfc, lif, ltc, selective_scan, ssd
from tests.ops.gradients import outputs_and_gradients

B, T, W, N, P = 2, 20, 6, 3, 2
CFC_SHAPES = {"backbone_weight": (4, 2 * W), "backbone_bias": (4,)}
CFC_SHAPES |= {
    f"{head}_{part}": (W, 4)[: 2 - (part == "bias")]
    for head in ("ff1", "ff2", "time_a", "time_b")
    for part in ("weight", "bias")
}
LTC_SHAPES = {
    name: (W,) if name in ("input_weight", "input_bias", "cm", "gleak", "vleak") else (W, W)
    for name in LtcWeights._fields
}


def run_cfc(x, **weights):
    return cfc(x, CfcWeights(**weights))


def run_lif(**inputs):
    return lif(**inputs, keep_membranes=True)


def run_ltc(x, **weights):
    return ltc(x, LtcWeights(**weights))


SCAN_SHAPES = {"x_BTE": (B, T, W), "delta_BTE": (B, T, W), "A_EN": (W, N), "B_BTN": (B, T, N), "C_BTN": (B, T, N)}
SSD_SHAPES = {"x_BTHP": (B, T, W, P), "delta_BTH": (B, T, W), "A_H": (W,), "B_BTN": (B, T, N), "C_BTN": (B, T, N)}
OPERATIONS = {
    "causal_conv": (causal_conv, {"x_BTE": (B, T, W), "weight_EK": (W, 4), "bias_E": (W,)}),
    "causal_trace": (causal_trace, {"x_BTS": (B, T, W), "decay": (W,)}),
    "cfc": (run_cfc, {"x": (B, T, W)} | CFC_SHAPES),
    "lif": (run_lif, {"current_BTS": (B, T, W), "decay": (W,)}),
    "ltc": (run_ltc, {"x": (B, T, W)} | LTC_SHAPES),
    "selective_scan": (selective_scan, SCAN_SHAPES),
    "ssd": (ssd, SSD_SHAPES),
}
each_operation = pytest.mark.parametrize("name", OPERATIONS)


def example(name, dtype=torch.float32):
    """Return the operation and inputs of which those that must be positive (and all others but rates) are."""
    run, shapes = OPERATIONS[name]
    generator = make_generator(0, "composition")
    inputs = {key: (0.1 + torch.rand(shape, generator=generator)).to(dtype) for key, shape in shapes.items()}
    return run, {key: -tensor if key in ("A_EN", "A_H") else tensor for key, tensor in inputs.items()}


@each_operation
def test_a_checkpointed_run_gives_the_same_bits(name):
    run, inputs = example(name)

    def checkpointed(**tensors):
        return checkpoint(run, **tensors, use_reentrant=False)

    expected, got = outputs_and_gradients(run, inputs), outputs_and_gradients(checkpointed, inputs)
    assert all(torch.equal(expected[key], got[key]) for key in expected)


@each_operation
def test_autocast_around_an_operation_moves_no_bit(name):
    run, inputs = example(name)

    def autocast(**tensors):
        with torch.autocast("cpu", torch.bfloat16):
            return run(**tensors)

    expected, got = outputs_and_gradients(run, inputs), outputs_and_gradients(autocast, inputs)
    assert all(torch.equal(expected[key], got[key]) for key in expected)


@each_operation
def test_bfloat16_goes_in_and_comes_out_and_the_state_is_float32(name):
    run, inputs = example(name, torch.bfloat16)
    found = outputs_and_gradients(run, inputs)
    *outputs, state = (tensor for key, tensor in found.items() if key.startswith("output"))
    assert {output.dtype for output in outputs} == {torch.bfloat16}
    assert state.dtype == torch.float32
    assert all(found[f"gradient of {key}"].dtype == torch.bfloat16 for key in inputs)


@each_operation
def test_a_tensor_that_is_shared_by_all_sequences_gives_the_bits_of_its_copies(name):
    run, inputs = example(name)
    shared = {key: x[:1].expand_as(x) if x.shape[:2] == (B, T) else x for key, x in inputs.items()}
    copied = {key: tensor.clone() for key, tensor in shared.items()}
    assert all(torch.equal(a, b) for a, b in zip(run(**shared), run(**copied), strict=True))


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that any operator returned."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def test_the_scan_makes_no_tensor_of_batch_by_tokens_by_channels_by_states():
    batch, tokens, channels, states = 2, 256, 64, 32
    shapes = {"x": (batch, tokens, channels), "A": (channels, states), "B": (batch, tokens, states)}
    x, A, B = (torch.rand(shape, generator=make_generator(0, name)).requires_grad_() for name, shape in shapes.items())
    with LargestTensor() as largest:
        y_BTE, state_BEN = selective_scan(x, x, -A, B, B)
        torch.autograd.grad(y_BTE.sum() + state_BEN.sum(), (x, A, B))
    assert 0 < largest.elements <= batch * tokens * channels * states // 16
