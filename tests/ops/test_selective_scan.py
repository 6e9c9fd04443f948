"""Selective scan: the kernel equals the reference, forward and backward."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import mambrane.ops.selective_scan.numba_cpu  # noqa: F401 -- registers torch.ops.mambrane.selective_scan
from mambrane.core.seeding import make_generator
from mambrane.ops import selective_scan
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close

BATCH, CHANNELS, STATES = 2, 5, 3
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def make_inputs(tokens, *, channels=CHANNELS, states=STATES, dtype=torch.float32, batch=BATCH):
    generator = make_generator(0, "scan")

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    return {
        "x_BTE": normal(batch, tokens, channels),
        "delta_BTE": normal(batch, tokens, channels).exp() * 0.3,
        "A_EN": -normal(channels, states).exp(),
        "B_BTN": normal(batch, tokens, states),
        "C_BTN": normal(batch, tokens, states),
        "state_BEN": normal(batch, channels, states),
    }


def make_resets(tokens, *where):
    resets_BT = torch.zeros(BATCH, tokens, dtype=torch.bool)
    resets_BT[0, list(where)] = True
    return resets_BT


def assert_kernel_equals_reference(inputs, dtype):
    reference = outputs_and_gradients(selective_scan, inputs, backend="reference")
    got = outputs_and_gradients(selective_scan, inputs, backend="numba")
    for name in reference:
        assert_close(name, reference[name], got[name], RATIO[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tokens", [1, 16, 63, 64, 100])
def test_kernel_equals_reference_forward_and_backward(tokens, dtype):
    assert_kernel_equals_reference(make_inputs(tokens, dtype=dtype), dtype)


@pytest.mark.parametrize("channels", [1, 128, 130])
def test_any_number_of_channels_gives_the_reference(channels):
    assert_kernel_equals_reference(make_inputs(20, channels=channels), torch.float32)


@pytest.mark.parametrize("where", [(0,), (15,), (16,), (17, 18), (0, 30, 39)], ids=str)
def test_resets_give_the_reference(where):
    assert_kernel_equals_reference(make_inputs(40) | {"resets_BT": make_resets(40, *where)}, torch.float32)


def test_a_reset_equals_a_fresh_start_bit_for_bit():
    inputs = make_inputs(40)
    whole, state = selective_scan(**inputs, resets_BT=make_resets(40, 25))
    tail = {name: tensor[:1, 25:] if "T" in name else tensor[:1] for name, tensor in inputs.items()}
    tail |= {"A_EN": inputs["A_EN"], "state_BEN": torch.zeros(1, CHANNELS, STATES)}
    fresh, fresh_state = selective_scan(**tail)
    assert torch.equal(whole[:1, 25:], fresh)
    assert torch.equal(state[:1], fresh_state)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cuts", [(37,), (16, 32), (1, 2, 3)], ids=str)
def test_a_split_sequence_equals_the_whole_bit_for_bit(cuts, dtype):
    inputs = make_inputs(50, dtype=dtype)
    state = inputs.pop("state_BEN")
    whole, last = selective_scan(**inputs, state_BEN=state)
    pieces = []
    for start, stop in zip((0, *cuts), (*cuts, 50), strict=True):
        part = {name: tensor if name == "A_EN" else tensor[:, start:stop] for name, tensor in inputs.items()}
        y, state = selective_scan(**part, state_BEN=state)
        pieces.append(y)
    assert torch.equal(whole, torch.cat(pieces, dim=1))
    assert torch.equal(last, state)


def test_gradients_pass_through_a_split_as_through_the_whole():
    def in_two(x_BTE, delta_BTE, A_EN, B_BTN, C_BTN, state_BEN):
        early = [each[:, :21] for each in (x_BTE, delta_BTE, B_BTN, C_BTN)]
        late = [each[:, 21:] for each in (x_BTE, delta_BTE, B_BTN, C_BTN)]
        first, state = selective_scan(early[0], early[1], A_EN, early[2], early[3], state_BEN=state_BEN)
        second, state = selective_scan(late[0], late[1], A_EN, late[2], late[3], state_BEN=state)
        return torch.cat([first, second], dim=1), state

    inputs = make_inputs(50, dtype=torch.float64)
    whole, split = outputs_and_gradients(selective_scan, inputs), outputs_and_gradients(in_two, inputs)
    for name in whole:
        assert_close(name, whole[name], split[name], RATIO[torch.float64])


def test_strided_inputs_give_the_same_bits():
    inputs = make_inputs(33)
    strided = {name: torch.stack([tensor, tensor], dim=-1)[..., 0] for name, tensor in inputs.items()}
    assert not strided["x_BTE"].is_contiguous()
    expected, got = outputs_and_gradients(selective_scan, inputs), outputs_and_gradients(selective_scan, strided)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


@pytest.mark.parametrize("batch", [1, 3])
def test_any_number_of_threads_gives_the_same_bits(num_threads, batch):
    inputs = make_inputs(64, channels=300, states=4, batch=batch)
    found = []
    for threads in (1, 2, 3, 5):
        num_threads(threads)
        found.append(outputs_and_gradients(selective_scan, inputs))
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in other)


def test_gradients_are_those_of_finite_differences():
    inputs = make_inputs(18, channels=2, states=2, dtype=torch.float64)
    resets_BT = make_resets(18, 9)
    leaves = [tensor.requires_grad_() for tensor in inputs.values()]

    def scan(*tensors):
        return selective_scan(**dict(zip(inputs, tensors, strict=True)), resets_BT=resets_BT, backend="numba")

    assert torch.autograd.gradcheck(scan, leaves)


def test_a_single_sequence_is_cut_into_blocks_and_gives_the_reference():
    assert_kernel_equals_reference(make_inputs(20, channels=300, batch=1), torch.float32)


def test_a_step_size_of_zero_keeps_the_state():
    inputs = make_inputs(5)
    _, state = selective_scan(**inputs | {"delta_BTE": torch.zeros_like(inputs["x_BTE"])})
    assert torch.equal(state, inputs["state_BEN"])


def test_very_fast_decay_forgets_completely_and_stays_finite():
    inputs = make_inputs(5) | {"A_EN": torch.full((CHANNELS, STATES), -1e6)}
    found = outputs_and_gradients(selective_scan, inputs, backend="numba")
    assert all(torch.isfinite(tensor).all() for tensor in found.values())
    assert torch.equal(found["gradient of state_BEN"], torch.zeros_like(inputs["state_BEN"]))


def test_not_a_number_is_not_hidden():
    inputs = make_inputs(5)
    inputs["delta_BTE"][0, 2, 1] = torch.nan
    y, _ = selective_scan(**inputs, backend="numba")
    assert y[0, 2:, 1].isnan().all()
    assert torch.isfinite(y[1]).all()
    assert torch.isfinite(y[0, :2]).all()


def test_operators_are_registered_correctly():
    x, delta, A, B, C, state = make_inputs(20).values()
    forward = [each.contiguous().requires_grad_() for each in (x, delta, A.t(), B, C, state.transpose(1, 2))]
    resets_BT = make_resets(20, 3)
    torch.library.opcheck(torch.ops.mambrane.selective_scan, (*forward, resets_BT, True))
    y, last, boundaries = torch.ops.mambrane.selective_scan(*forward, resets_BT, True)
    saved = (y, last, *forward[:5], resets_BT, boundaries)
    torch.library.opcheck(
        torch.ops.mambrane.selective_scan_backward,
        tuple(each.detach() for each in saved),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )


def test_checkpointing_gives_the_same_bits():
    def checkpointed(**tensors):
        return checkpoint(selective_scan, **tensors, use_reentrant=False)

    inputs = make_inputs(20)
    expected, got = outputs_and_gradients(selective_scan, inputs), outputs_and_gradients(checkpointed, inputs)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
