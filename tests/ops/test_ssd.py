"""State-space duality: the chunked matrix form equals the recurrence, forward and backward, and never looks ahead."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.ops import choose_backend, ssd
from mambrane.ops.ssd.chunked import CHUNK_TOKENS, running_sum_by_product, ssd_chunked
from tests.ops.gradients import outputs_and_gradients
from tests.ops.tolerances import RATIO, assert_close

BATCH, HEADS, CHANNELS, STATES = 2, 3, 4, 5
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def make_inputs(tokens, *, dtype=torch.float32, heads=HEADS, channels=CHANNELS, states=STATES):
    generator = make_generator(0, "scan")

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    return {
        "x_BTHP": normal(BATCH, tokens, heads, channels),
        "delta_BTH": normal(BATCH, tokens, heads).exp() * 0.3,
        "A_H": -normal(heads).exp(),
        "B_BTN": normal(BATCH, tokens, states),
        "C_BTN": normal(BATCH, tokens, states),
        "state_BHPN": normal(BATCH, heads, channels, states),
    }


def make_resets(tokens, *where):
    resets_BT = torch.zeros(BATCH, tokens, dtype=torch.bool)
    resets_BT[0, list(where)] = True
    return resets_BT


def assert_backends_equal_reference(inputs, dtype):
    reference = outputs_and_gradients(ssd, inputs, backend="reference")
    for backend in ("chunked", "numba"):
        got = outputs_and_gradients(ssd, inputs, backend=backend)
        for name in reference:
            assert_close(f"{backend}: {name}", reference[name], got[name], RATIO[dtype])


each_form = pytest.mark.parametrize("backend", ["chunked", "numba"])


def in_pieces(inputs, cuts, tokens, backend="auto"):
    inputs = dict(inputs)
    state = inputs.pop("state_BHPN")
    pieces = []
    for start, stop in zip((0, *cuts), (*cuts, tokens), strict=True):
        part = {name: tensor if name == "A_H" else tensor[:, start:stop] for name, tensor in inputs.items()}
        y, state = ssd(**part, state_BHPN=state, backend=backend)
        pieces.append(y)
    return torch.cat(pieces, dim=1), state


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tokens", [1, 2, 63, 64, 65, 100, 200])
def test_every_backend_equals_reference_forward_and_backward(tokens, dtype):
    assert_backends_equal_reference(make_inputs(tokens, dtype=dtype), dtype)


@pytest.mark.parametrize("where", [(0,), (63,), (64,), (70, 71), (0, 30, 64, 99)], ids=str)
def test_resets_give_the_reference(where):
    assert_backends_equal_reference(make_inputs(100) | {"resets_BT": make_resets(100, *where)}, torch.float32)


def test_one_head_of_one_channel_and_one_state_gives_the_reference():
    assert_backends_equal_reference(make_inputs(70, heads=1, channels=1, states=1), torch.float32)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tokens", [1, 70])
def test_a_skip_adds_its_part_of_the_input(tokens, dtype):
    inputs = make_inputs(tokens, dtype=dtype) | {"skip_H": torch.tensor([0.0, 1.0, -2.5], dtype=dtype)}
    assert_backends_equal_reference(inputs, dtype)
    with_skip, without = ssd(**inputs)[0], ssd(**{name: x for name, x in inputs.items() if name != "skip_H"})[0]
    assert torch.equal(with_skip[:, :, 0], without[:, :, 0])
    assert_close("y", without[:, :, 2] - 2.5 * inputs["x_BTHP"][:, :, 2], with_skip[:, :, 2], 2 * RATIO[dtype])


def test_a_reset_equals_a_fresh_start():
    inputs = make_inputs(100, dtype=torch.float64)
    whole, state = ssd(**inputs, resets_BT=make_resets(100, 75))
    tail = {name: tensor[:1, 75:] for name, tensor in inputs.items() if "T" in name}
    fresh, fresh_state = ssd(**tail, A_H=inputs["A_H"])
    assert_close("y", fresh, whole[:1, 75:], RATIO[torch.float64])
    assert_close("state", fresh_state, state[:1], RATIO[torch.float64])


@each_form
def test_nothing_before_a_reset_moves_a_bit_behind_it(backend):
    inputs = make_inputs(100)
    resets_BT = make_resets(100, 75)
    changed = {name: tensor.clone() for name, tensor in inputs.items()}
    for name in ("x_BTHP", "delta_BTH", "B_BTN", "C_BTN"):
        changed[name][0, :75] *= 1.5
    changed["state_BHPN"] += 1.0
    for before, after in zip(
        ssd(**inputs, resets_BT=resets_BT, backend=backend),
        ssd(**changed, resets_BT=resets_BT, backend=backend),
        strict=True,
    ):
        kept = slice(75, None) if before.ndim == inputs["x_BTHP"].ndim and before.shape[1] == 100 else slice(None)
        assert torch.equal(before[0, kept], after[0, kept])


@each_form
@pytest.mark.parametrize("token", [1, 40, 63, 64, 99])
@pytest.mark.parametrize("name", ["x_BTHP", "delta_BTH", "B_BTN", "C_BTN"])
def test_a_token_changes_no_output_before_it_bit_for_bit(name, token, backend):
    inputs = make_inputs(100, heads=2, channels=48, states=16)
    changed = inputs[name].clone()
    changed[:, token] += 1.0
    before, after = ssd(**inputs, backend=backend)[0], ssd(**inputs | {name: changed}, backend=backend)[0]
    assert torch.equal(before[:, :token], after[:, :token])
    assert not torch.equal(before[:, token], after[:, token])


@each_form
def test_an_overflow_in_a_later_token_does_not_reach_an_earlier_one(backend):
    inputs = make_inputs(40)
    changed = {name: tensor.clone() for name, tensor in inputs.items()}
    changed["B_BTN"][:, 30] = 1e30
    changed["C_BTN"][:, :30] *= 1e10
    small = inputs | {"C_BTN": changed["C_BTN"].clone()}
    assert torch.equal(ssd(**small, backend=backend)[0][:, :30], ssd(**changed, backend=backend)[0][:, :30])


CUTS = pytest.mark.parametrize("cuts", [(37,), (64,), (1, 2, 3, 90)], ids=str)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@CUTS
def test_a_split_sequence_equals_the_whole_in_chunks(cuts, dtype):
    inputs = make_inputs(100, dtype=dtype)
    whole, split = ssd(**inputs, backend="chunked"), in_pieces(inputs, cuts, 100, "chunked")
    for name, expected, got in zip(("y", "state"), whole, split, strict=True):
        assert_close(name, expected, got, RATIO[dtype])


@CUTS
def test_on_a_cpu_a_split_sequence_gives_the_bits_of_the_whole(cuts):
    inputs = make_inputs(100)
    assert all(map(torch.equal, ssd(**inputs), in_pieces(inputs, cuts, 100)))


def test_on_a_cpu_single_steps_give_the_bits_of_the_whole():
    inputs = make_inputs(20)
    assert all(map(torch.equal, ssd(**inputs), in_pieces(inputs, range(1, 20), 20)))


def test_gradients_pass_through_a_split_as_through_the_whole():
    def split(**tensors):
        return in_pieces(tensors, (21, 90), 100)

    inputs = make_inputs(100, dtype=torch.float64)
    whole, pieces = outputs_and_gradients(ssd, inputs), outputs_and_gradients(split, inputs)
    for name in whole:
        assert_close(name, whole[name], pieces[name], RATIO[torch.float64])


def test_gradients_are_those_of_finite_differences():
    # Chunks of 4, so that few tokens meet every case: whole chunks, padding, a reset within.
    inputs = make_inputs(10, heads=2, channels=2, states=2, dtype=torch.float64)
    resets_BT = make_resets(10, 6)
    leaves = [tensor.requires_grad_() for tensor in inputs.values()]

    def scan(*tensors):
        return ssd_chunked(**dict(zip(inputs, tensors, strict=True)), resets_BT=resets_BT, chunk_tokens=4)

    assert torch.autograd.gradcheck(scan, leaves)


def test_a_decay_long_after_the_start_of_a_chunk_keeps_its_digits():
    # A difference of sums near 6000 would know the last decay, exp(-1e-3), to three digits at most.
    inputs = make_inputs(CHUNK_TOKENS)
    inputs |= {"A_H": torch.full((HEADS,), -1.0), "delta_BTH": torch.full((BATCH, CHUNK_TOKENS, HEADS), 100.0)}
    inputs["delta_BTH"][:, -3:] = 1e-3
    reference, got = (ssd(**inputs, backend=backend)[0] for backend in ("reference", "chunked"))
    assert_close("y", reference[:, -3:], got[:, -3:], RATIO[torch.float32])


@each_form
def test_a_step_size_of_zero_keeps_the_state(backend):
    inputs = make_inputs(70)
    _, state = ssd(**inputs | {"delta_BTH": torch.zeros_like(inputs["delta_BTH"])}, backend=backend)
    assert torch.equal(state, inputs["state_BHPN"])


def test_very_fast_decay_forgets_completely_and_stays_finite():
    inputs = make_inputs(70) | {"A_H": torch.full((HEADS,), -1e6)}
    found = outputs_and_gradients(ssd, inputs, backend="chunked")
    assert all(torch.isfinite(tensor).all() for tensor in found.values())
    assert torch.equal(found["gradient of state_BHPN"], torch.zeros_like(inputs["state_BHPN"]))


def test_not_a_number_is_not_hidden_and_stays_in_its_sequence():
    inputs = make_inputs(70)
    inputs["delta_BTH"][0, 66, 1] = torch.nan
    y, _ = ssd(**inputs, backend="chunked")
    assert y[0, 66:, 1].isnan().all()
    assert torch.isfinite(y[1]).all()
    assert torch.isfinite(y[0, :CHUNK_TOKENS]).all()


def test_autocast_leaves_the_products_in_float32():
    inputs = make_inputs(70)
    expected = ssd(**inputs, backend="chunked")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = ssd(**inputs, backend="chunked")
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


def test_a_cpu_runs_the_kernels_of_the_selective_scan_and_other_devices_chunks():
    assert choose_backend("ssd", torch.device("cpu")) == "numba"
    assert choose_backend("ssd", torch.device("mps")) == "chunked"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_gives_the_reference_of_the_cpu():
    inputs = make_inputs(100)
    on_device = {name: tensor.cuda() for name, tensor in inputs.items()}
    for name, expected, got in zip(("y", "state"), ssd(**inputs, backend="reference"), ssd(**on_device), strict=True):
        assert_close(name, expected, got.cpu(), RATIO[torch.float32])


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_sums_up_to_each_place_are_the_same_by_a_product(dim):
    x = torch.randn(3, 5, 4, generator=make_generator(0, "x"), dtype=torch.float64)
    torch.testing.assert_close(running_sum_by_product(x, dim), x.cumsum(dim=dim))
