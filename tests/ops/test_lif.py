"""Leaky integrate-and-fire: spikes equal the reference's bit for bit, gradients are close."""

import inspect
import itertools
from functools import partial

import pytest
import torch

import mambrane.ops.lif.numba_cpu  # noqa: F401 -- registers torch.ops.mambrane.lif
from mambrane.core.seeding import make_generator
from mambrane.ops import lif
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close

BATCH, UNITS = 2, 5
DTYPES = [torch.float32, torch.float64, torch.bfloat16]
OPTIONS = [
    {"reset": reset, "surrogate": surrogate, "detach_reset": detach_reset}
    for reset, surrogate, detach_reset in itertools.product(
        ("subtract", "zero"), ("fast_sigmoid", "atan"), (True, False)
    )
]


def make_inputs(tokens, *, units=UNITS, batch=BATCH, dtype=torch.float32, per_token=False):
    generator = make_generator(0, "lif")
    decay_shape = (batch, tokens, units) if per_token else (units,)
    return {
        "current_BTS": torch.randn(batch, tokens, units, generator=generator).mul(0.7).to(dtype),
        "decay": torch.rand(decay_shape, generator=generator).to(dtype),
        "state_BS": torch.randn(batch, units, generator=generator).to(dtype),
    }


def make_resets(tokens, *where):
    resets_BT = torch.zeros(BATCH, tokens, dtype=torch.bool)
    resets_BT[0, list(where)] = True
    return resets_BT


def assert_kernel_equals_reference(inputs, dtype, **options):
    """Outputs equal bit for bit, spikes above all; gradients are close."""
    reference = outputs_and_gradients(lif, inputs, backend="reference", keep_membranes=True, **options)
    got = outputs_and_gradients(lif, inputs, backend="numba", keep_membranes=True, **options)
    assert 0 < reference["output 0"].sum() < reference["output 0"].numel() or inputs["current_BTS"].shape[1] == 1
    for name in reference:
        if name.startswith("output"):
            assert torch.equal(reference[name], got[name]), name
        else:
            assert_close(name, reference[name], got[name], RATIO[dtype])


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("per_token", [False, True], ids=["decay-per-unit", "decay-per-token"])
@pytest.mark.parametrize("tokens", [1, 63, 64, 100])
def test_kernel_equals_reference_for_every_option(tokens, per_token, options):
    assert_kernel_equals_reference(make_inputs(tokens, per_token=per_token), torch.float32, **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("per_token", [False, True], ids=["decay-per-unit", "decay-per-token"])
def test_kernel_equals_reference_in_every_type(per_token, dtype):
    inputs = make_inputs(40, dtype=dtype, per_token=per_token)
    assert_kernel_equals_reference(inputs, dtype, threshold=0.8, surrogate_slope=3.0)


@pytest.mark.parametrize("per_token", [False, True], ids=["decay-per-unit", "decay-per-token"])
@pytest.mark.parametrize("units", [1, 16, 20, 64, 131, 1024, 1024 + 20])
def test_any_number_of_units_gives_the_reference(units, per_token):
    # Single neurons, narrow and wide strips, strips that overlap, a second block.
    assert_kernel_equals_reference(make_inputs(40, units=units, per_token=per_token), torch.float32)


@pytest.mark.parametrize("per_token", [False, True], ids=["decay-per-unit", "decay-per-token"])
@pytest.mark.parametrize("where", [(0,), (17, 18), (0, 30, 39)], ids=str)
def test_resets_give_the_reference(where, per_token):
    inputs = make_inputs(40, per_token=per_token) | {"resets_BT": make_resets(40, *where)}
    assert_kernel_equals_reference(inputs, torch.float32)


@pytest.mark.parametrize("output", [0, 1, 2], ids=["spikes", "membrane", "state"])
def test_each_output_alone_gives_the_gradients_of_the_reference(output):
    inputs = make_inputs(20, dtype=torch.float64)
    found = {
        backend: outputs_and_gradients(
            lambda **tensors: (lif(**tensors, backend=backend, keep_membranes=True)[output],),  # noqa: B023
            inputs,
        )
        for backend in ("reference", "numba")
    }
    for name, reference in found["reference"].items():
        assert_close(name, reference, found["numba"][name], RATIO[torch.float64])


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_membranes_come_on_request_and_asking_changes_no_other_bit(backend):
    inputs = make_inputs(40)
    assert lif(**inputs, backend=backend).membrane_BTS is None
    asked, unasked = (
        outputs_and_gradients(
            lambda **tensors: lif(**tensors, backend=backend, keep_membranes=is_asked)[::2],  # noqa: B023
            inputs,
        )
        for is_asked in (True, False)
    )
    assert all(torch.equal(asked[name], unasked[name]) for name in asked)


def test_a_neuron_fires_at_the_threshold_exactly():
    spikes = lif(torch.tensor([[[1.0], [0.999], [1.0]]]), torch.zeros(1)).spikes_BTS
    assert spikes.flatten().tolist() == [1.0, 0.0, 1.0]


def test_a_spike_subtracts_the_threshold_or_clears_the_membrane():
    current, decay = torch.tensor([[[2.5]]]), torch.ones(1)
    assert lif(current, decay, reset="subtract").state_BS.item() == 1.5
    assert lif(current, decay, reset="zero").state_BS.item() == 0.0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_split_sequence_equals_the_whole_bit_for_bit(dtype):
    inputs = make_inputs(50, dtype=dtype)
    run = partial(lif, keep_membranes=True)
    whole = run(**inputs)
    first = run(inputs["current_BTS"][:, :21], inputs["decay"], state_BS=inputs["state_BS"])
    second = run(inputs["current_BTS"][:, 21:], inputs["decay"], state_BS=first.state_BS)
    assert torch.equal(whole.spikes_BTS, torch.cat([first.spikes_BTS, second.spikes_BTS], dim=1))
    assert torch.equal(whole.membrane_BTS, torch.cat([first.membrane_BTS, second.membrane_BTS], dim=1))
    assert torch.equal(whole.state_BS, second.state_BS)


def test_strided_inputs_give_the_same_bits():
    inputs = make_inputs(33, per_token=True)
    strided = {name: torch.stack([tensor, tensor], dim=-1)[..., 0] for name, tensor in inputs.items()}
    run = partial(lif, keep_membranes=True)
    expected, got = outputs_and_gradients(run, inputs), outputs_and_gradients(run, strided)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_any_number_of_threads_gives_the_same_bits(num_threads):
    inputs = make_inputs(64, units=300, batch=3)
    found = []
    for threads in (1, 2, 3, 5):
        num_threads(threads)
        found.append(outputs_and_gradients(lif, inputs, keep_membranes=True))
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in other)


def test_a_wrong_shape_is_refused_with_both_shapes():
    unchecked = inspect.unwrap(lif)
    with pytest.raises(ValueError, match=r"decay has shape \[4\]; wanted \[5\]"):
        unchecked(make_inputs(3)["current_BTS"], torch.ones(4))


def test_operators_are_registered_correctly():
    inputs = make_inputs(6, per_token=True)
    forward = [tensor.requires_grad_() for tensor in inputs.values()]
    options = (1.0, True, False, True, 5.0)
    for keeps_membranes in (True, False):
        torch.library.opcheck(torch.ops.mambrane.lif, (*forward, make_resets(6, 3), *options, keeps_membranes))
    current, decay, state = (tensor.detach() for tensor in forward)
    torch.library.opcheck(
        torch.ops.mambrane.lif_backward,
        (current, current, state, current, decay, make_resets(6, 3), state[:, None], *options),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )
