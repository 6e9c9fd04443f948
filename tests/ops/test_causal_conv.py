"""Causal convolution: the kernel equals the reference, forward and backward."""

import inspect

import pytest
import torch
import torch.nn.functional as F

import mambrane.ops.causal_conv.numba_cpu  # noqa: F401 -- registers torch.ops.mambrane.causal_conv
from mambrane.core.seeding import make_generator
from mambrane.ops import causal_conv
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close

BATCH, CHANNELS, TAPS = 2, 5, 4
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def make_inputs(tokens, *, channels=CHANNELS, taps=TAPS, batch=BATCH, dtype=torch.float32):
    generator = make_generator(0, "conv")
    shapes = {
        "x_BTE": (batch, tokens, channels),
        "weight_EK": (channels, taps),
        "bias_E": (channels,),
        "state_BEK": (batch, channels, taps - 1),
    }
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def make_resets(tokens, *where):
    resets_BT = torch.zeros(BATCH, tokens, dtype=torch.bool)
    resets_BT[0, list(where)] = True
    return resets_BT


def assert_kernel_equals_reference(inputs, dtype, **options):
    reference = outputs_and_gradients(causal_conv, inputs, backend="reference", **options)
    got = outputs_and_gradients(causal_conv, inputs, backend="numba", **options)
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[dtype])


@pytest.mark.parametrize("activation", ["silu", None])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tokens", [1, 2, 63, 64, 100])
def test_kernel_equals_reference_forward_and_backward(tokens, dtype, activation):
    assert_kernel_equals_reference(make_inputs(tokens, dtype=dtype), dtype, activation=activation)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_the_filter_is_that_of_a_padded_conv1d(backend):
    x, weight, bias, _ = make_inputs(20, dtype=torch.float64).values()
    y, _ = causal_conv(x, weight, bias, activation=None, backend=backend)
    expected = F.conv1d(x.transpose(1, 2), weight[:, None], bias, padding=TAPS - 1, groups=CHANNELS)[..., :20]
    assert_close("y", expected.transpose(1, 2), y, RATIO[torch.float64])


@pytest.mark.parametrize(("channels", "taps"), [(1, 1), (3, 2), (128, 4), (130, 10)])
def test_any_number_of_channels_and_taps_gives_the_reference(channels, taps):
    assert_kernel_equals_reference(make_inputs(20, channels=channels, taps=taps), torch.float32)


@pytest.mark.parametrize("where", [(0,), (17, 18), (0, 30), (37,), (38,), (39,)], ids=str)
def test_resets_give_the_reference(where):
    assert_kernel_equals_reference(make_inputs(40) | {"resets_BT": make_resets(40, *where)}, torch.float32)


@pytest.mark.parametrize("tokens", [1, 2])
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_a_short_piece_keeps_the_older_inputs_and_a_reset_drops_them(backend, tokens):
    inputs = make_inputs(tokens)
    _, kept = causal_conv(**inputs, backend=backend)
    assert torch.equal(kept[..., : 3 - tokens], inputs["state_BEK"][..., tokens:])
    _, dropped = causal_conv(**inputs, resets_BT=make_resets(tokens, 0), backend=backend)
    assert torch.equal(dropped[0, :, : 3 - tokens], torch.zeros(CHANNELS, 3 - tokens))
    assert torch.equal(dropped[..., 3 - tokens :], inputs["x_BTE"].transpose(1, 2))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cuts", [(37,), (1, 2, 3, 4)], ids=str)
def test_a_split_sequence_equals_the_whole_bit_for_bit(cuts, dtype):
    x, weight, bias, state = make_inputs(50, dtype=dtype).values()
    whole, last = causal_conv(x, weight, bias, state_BEK=state)
    pieces = []
    for start, stop in zip((0, *cuts), (*cuts, 50), strict=True):
        y, state = causal_conv(x[:, start:stop], weight, bias, state_BEK=state)
        pieces.append(y)
    assert torch.equal(whole, torch.cat(pieces, dim=1))
    assert torch.equal(last, state)


def test_strided_inputs_give_the_same_bits():
    inputs = make_inputs(33)
    strided = {name: torch.stack([tensor, tensor], dim=-1)[..., 0] for name, tensor in inputs.items()}
    expected, got = outputs_and_gradients(causal_conv, inputs), outputs_and_gradients(causal_conv, strided)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    inputs = make_inputs(64, channels=300, batch=3)
    found = []
    for threads in (1, 2, 3, 5):
        num_threads(threads)
        found.append(outputs_and_gradients(causal_conv, inputs))
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in other)


@pytest.mark.parametrize("activation", ["silu", None])
def test_gradients_are_those_of_finite_differences(activation):
    inputs = make_inputs(7, channels=2, dtype=torch.float64)

    def conv(x, weight, bias, state):
        return causal_conv(
            x, weight, bias, state_BEK=state, resets_BT=make_resets(7, 5), activation=activation, backend="numba"
        )

    assert torch.autograd.gradcheck(conv, [tensor.requires_grad_() for tensor in inputs.values()])


def test_large_inputs_stay_finite():
    inputs = make_inputs(5)
    inputs["x_BTE"] = inputs["x_BTE"] * 1e4
    assert_kernel_equals_reference(inputs, torch.float32)


def test_a_wrong_shape_is_refused_with_both_shapes():
    inputs = make_inputs(3) | {"bias_E": torch.ones(4)}
    with pytest.raises(ValueError, match=r"bias_E has shape \[4\]; wanted \[5\]"):
        inspect.unwrap(causal_conv)(**inputs)


def test_operators_are_registered_correctly():
    x, weight, bias, state = make_inputs(6).values()
    forward = [each.contiguous().requires_grad_() for each in (x, weight.t(), bias, state.transpose(1, 2))]
    torch.library.opcheck(torch.ops.mambrane.causal_conv, (*forward, make_resets(6, 3), True))
    x, weight, bias, state = (each.detach() for each in forward)
    torch.library.opcheck(
        torch.ops.mambrane.causal_conv_backward,
        (x, state, x, weight, bias, state, make_resets(6, 3), True),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )
