"""Causal trace: the kernel equals the reference, forward and backward."""

import inspect

import pytest
import torch

import mambrane.ops.causal_trace.numba_cpu  # noqa: F401 -- registers torch.ops.mambrane.causal_trace
from mambrane.core.seeding import make_generator
from mambrane.ops import causal_trace
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close

BATCH, UNITS = 2, 5
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def make_inputs(tokens, *, units=UNITS, batch=BATCH, dtype=torch.float32):
    generator = make_generator(0, "trace")
    return {
        "x_BTS": torch.randn(batch, tokens, units, generator=generator).to(dtype),
        "decay": torch.rand(units, generator=generator).to(dtype),
        "state_BS": torch.randn(batch, units, generator=generator).to(dtype),
    }


def make_resets(tokens, *where):
    resets_BT = torch.zeros(BATCH, tokens, dtype=torch.bool)
    resets_BT[0, list(where)] = True
    return resets_BT


def assert_kernel_equals_reference(inputs, dtype, **options):
    reference = outputs_and_gradients(causal_trace, inputs, backend="reference", **options)
    got = outputs_and_gradients(causal_trace, inputs, backend="numba", **options)
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tokens", [1, 63, 64, 100])
def test_kernel_equals_reference_forward_and_backward(tokens, dtype):
    assert_kernel_equals_reference(make_inputs(tokens, dtype=dtype), dtype)


def test_one_number_for_all_units_equals_one_for_each():
    inputs = make_inputs(20)
    inputs["decay"] = torch.full((UNITS,), 0.75)
    expected = outputs_and_gradients(causal_trace, inputs)
    del inputs["decay"]
    got = outputs_and_gradients(causal_trace, inputs, decay=0.75)
    assert all(torch.equal(expected[name], got[name]) for name in got)


@pytest.mark.parametrize("units", [1, 128, 131])
def test_any_number_of_units_gives_the_reference(units):
    assert_kernel_equals_reference(make_inputs(20, units=units), torch.float32)


@pytest.mark.parametrize("where", [(0,), (17, 18), (0, 30, 39)], ids=str)
def test_resets_give_the_reference(where):
    assert_kernel_equals_reference(make_inputs(40) | {"resets_BT": make_resets(40, *where)}, torch.float32)


def test_a_constant_input_is_reached_within_a_time_constant_as_the_exponential_says():
    tau_tokens = 20
    trace, _ = causal_trace(torch.ones(1, tau_tokens, 1), float(torch.tensor(-1 / tau_tokens).exp()))
    assert trace[0, -1, 0].item() == pytest.approx(1 - 1 / torch.e, rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_split_sequence_equals_the_whole_bit_for_bit(dtype):
    x, decay, state = make_inputs(50, dtype=dtype).values()
    whole, last = causal_trace(x, decay, state_BS=state)
    first, middle = causal_trace(x[:, :21], decay, state_BS=state)
    second, end = causal_trace(x[:, 21:], decay, state_BS=middle)
    assert torch.equal(whole, torch.cat([first, second], dim=1))
    assert torch.equal(last, end)


def test_strided_inputs_give_the_same_bits():
    inputs = make_inputs(33)
    strided = {name: torch.stack([tensor, tensor], dim=-1)[..., 0] for name, tensor in inputs.items()}
    expected, got = outputs_and_gradients(causal_trace, inputs), outputs_and_gradients(causal_trace, strided)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    inputs = make_inputs(64, units=300, batch=3)
    found = []
    for threads in (1, 2, 3, 5):
        num_threads(threads)
        found.append(outputs_and_gradients(causal_trace, inputs))
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in other)


def test_gradients_are_those_of_finite_differences():
    inputs = make_inputs(9, units=3, dtype=torch.float64)

    def trace(x_BTS, decay, state_BS):
        return causal_trace(x_BTS, decay, state_BS=state_BS, resets_BT=make_resets(9, 4), backend="numba")

    assert torch.autograd.gradcheck(trace, [tensor.requires_grad_() for tensor in inputs.values()])


def test_a_wrong_shape_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"decay has shape \[4\]; wanted \[5\]"):
        inspect.unwrap(causal_trace)(make_inputs(3)["x_BTS"], torch.ones(4))


def test_operators_are_registered_correctly():
    forward = [tensor.requires_grad_() for tensor in make_inputs(6).values()]
    torch.library.opcheck(torch.ops.mambrane.causal_trace, (*forward, make_resets(6, 3)))
    x, decay, state = (tensor.detach() for tensor in forward)
    torch.library.opcheck(
        torch.ops.mambrane.causal_trace_backward,
        (x, state, x, x, decay, state, make_resets(6, 3)),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )
